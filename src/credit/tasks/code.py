"""Grades programs by running them: tests in, score and feedback out. Expected outputs never enter the sandbox."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass

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
    """

    cases: tuple[Case, ...]
    cpu_s: float = 6.0
    memory_mb: int = 512


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
        self.reward, self.level, self.workers = reward, level, workers or os.cpu_count() or 1

    def grade(self, problem: Problem, completion: str) -> Grade:
        """Grade one answer. Never raises on what a model wrote.

        Raises:
            RuntimeError: the sandbox itself failed `ATTEMPTS` times; no score is made up.
        """
        code, why = extract_code(completion)
        if code is None:
            return Grade(0.0, why, "format_error")
        public = [case for case in problem.cases if not case.hidden]
        hidden = [case for case in problem.cases if case.hidden]
        cases, results = public, self._run(code, public, problem)
        outcomes = [judge(case, result) for case, result in zip(cases, results, strict=True)]
        # A sparse score is decided by the first failure; hidden tests then cost nothing.
        step = len(hidden) if self.reward == "fraction" else 4 * self.workers
        for start in range(0, len(hidden), max(step, 1)):
            if self.reward == "sparse" and set(outcomes) - {"passed"}:
                break
            part = hidden[start : start + step]
            found = self._run(code, part, problem)
            cases, results = cases + part, results + found
            outcomes += [judge(case, result) for case, result in zip(part, found, strict=True)]
        failed = [outcome for outcome in outcomes if outcome != "passed"]
        share = 1 - len(failed) / len(problem.cases)
        score = share if self.reward == "fraction" else float(not failed)
        return Grade(score, feedback(cases, results, outcomes), failed[0] if failed else "passed")

    def _run(self, code: str, cases: Sequence[Case], problem: Problem) -> list[Result]:
        sandbox = shared_sandbox(self.level, self.workers)
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


_shared: dict[tuple[str, int, int], Sandbox] = {}
_lock = threading.Lock()


def shared_sandbox(level: str = "auto", workers: int = 1) -> Sandbox:
    """Return this process's sandbox of a level, started at the first call and ended at exit."""
    key = (level, workers, os.getpid())
    with _lock:
        if key not in _shared:
            _shared[key] = Sandbox(level, workers)
            atexit.register(_shared[key].close, cancel=True)
        return _shared[key]
