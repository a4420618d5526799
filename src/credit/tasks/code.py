"""Grades programs by running them: tests in, score and feedback out. Expected outputs never enter the sandbox."""

from __future__ import annotations

import atexit
import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from credit.sandbox import Result, Sandbox
from credit.tasks.base import Grade
from credit.tasks.code_text import Case, extract_code, feedback, judge

REWARDS = ("sparse", "fraction")
ATTEMPTS = 3
"""Tries of a program whose sandbox failed, before the run stops."""


@dataclass(frozen=True)
class Problem:
    """What a program must pass.

    Attributes:
        cases: its tests, public ones first.
        cpu_s: CPU seconds for each.
        memory_mb: memory for each.
        prelude: one line of imports that every program starts with.
    """

    cases: tuple[Case, ...]
    cpu_s: float = 6.0
    memory_mb: int = 512
    prelude: str = ""


class CodeGrader:
    """Runs answers in one sandbox, started at the first answer and shared by all tasks of a process.

    Args:
        reward: "sparse", 1 when all tests pass (paper, second-hand); "fraction", the share of tests passed (ours).
        level: of the sandbox; "auto" is the strongest that can be proven, and an error where none can.
        workers: programs at once; 0 is one per core.
    """

    def __init__(self, reward: str = "sparse", level: str = "auto", workers: int = 0):
        if reward not in REWARDS:
            raise ValueError(f"reward={reward!r} is unknown. Use one of {', '.join(REWARDS)}.")
        self.reward, self.level, self.workers = reward, level, workers or _cores()

    def grade(self, problem: Problem, completion: str) -> Grade:
        """Grade one answer. Never raises on what a model wrote.

        Raises:
            RuntimeError: the sandbox itself failed `ATTEMPTS` times; no score is made up.
        """
        code, why = extract_code(completion)
        if code is None:
            return Grade(0.0, why, "format_error")
        code = _with_prelude(code, problem.prelude)
        cases: list[Case] = []
        results: list[Result] = []
        outcomes: list[str] = []
        for part in self._parts(problem.cases):
            # A sparse score is decided by the first failure; what comes after the public tests then costs nothing.
            if self.reward == "sparse" and part[0].hidden and set(outcomes) - {"passed"}:
                break
            for case, result in zip(part, self._run(code, part, problem), strict=True):
                outcomes.append(judge(case, result))
                cases.append(case)
                results.append(_kept(case, result))
        failed = [outcome for outcome in outcomes if outcome != "passed"]
        share = 1 - len(failed) / len(problem.cases)
        score = share if self.reward == "fraction" else float(not failed)
        return Grade(score, feedback(cases, results, outcomes), failed[0] if failed else "passed")

    def _parts(self, cases: Sequence[Case]) -> Iterator[list[Case]]:
        """Yield public, then hidden cases, a few at a time: outputs may be large, and only what is shown is kept."""
        for hidden in (False, True):
            chosen = [case for case in cases if case.hidden == hidden]
            for start in range(0, len(chosen), 2 * self.workers):
                yield chosen[start : start + 2 * self.workers]

    def _run(self, code: str, cases: Sequence[Case], problem: Problem) -> list[Result]:
        # Hidden tests run in processes of their own: those of public tests, whose output is shown, never follow them.
        sandbox = shared_sandbox(self.level, self.workers, "hidden" if cases[0].hidden else "public")
        limits = {"cpu_s": problem.cpu_s, "memory_mb": problem.memory_mb}
        jobs = [
            {"code": code, **limits, **({"stdin": case.input} if case.call is None else
                                        {"call": (case.call, list(case.input))})}
            for case in cases
        ]  # fmt: skip
        results = sandbox.run_many(jobs)
        for _ in range(ATTEMPTS - 1):
            broken = [i for i, result in enumerate(results) if result.outcome == "sandbox_error"]
            for i, result in zip(broken, sandbox.run_many([jobs[i] for i in broken]), strict=True):
                results[i] = result
        for result in results:
            if result.outcome == "sandbox_error":
                raise RuntimeError(
                    f"the sandbox failed {ATTEMPTS} times on one program, and no score is made up: "
                    f"{result.stderr[:300]} Look at `credit doctor` and this machine's memory, then resume the run."
                )
        return results


_KEPT = 10_000


def _kept(case: Case, result: Result) -> Result:
    """Drop what no feedback shows: megabytes of output, and everything a program wrote in a hidden test."""
    if case.hidden:
        return replace(result, stdout="", stderr="", value=None)
    shown = result.stdout if case.call is None else json.dumps(result.value)
    return replace(result, stdout=shown[:_KEPT], stderr=result.stderr[-_KEPT:], value=None)


_FUTURE = re.compile(r"^from __future__ import .*$", flags=re.MULTILINE)


def _with_prelude(code: str, prelude: str) -> str:
    """Put a line of imports in front, or after the imports that must come first."""
    if not prelude:
        return code
    ends = [found.end() for found in _FUTURE.finditer(code)]
    return f"{code[: ends[-1]]}; {prelude}{code[ends[-1] :]}" if ends else f"{prelude}\n{code}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_shared: dict[tuple[str, int, str, int], Sandbox] = {}
_lock = threading.Lock()


def shared_sandbox(level: str = "auto", workers: int = 1, purpose: str = "public") -> Sandbox:
    """Return this process's sandbox of a level and purpose, started at the first call and ended at exit."""
    key = (level, workers, purpose, os.getpid())
    with _lock:
        if key not in _shared:
            _shared[key] = Sandbox(level, workers)
            atexit.register(_shared[key].close, cancel=True)
        return _shared[key]
