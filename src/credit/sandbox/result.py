"""What a run comes to: the raw facts a zygote or a plain process reports, and the verdict on them."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

Outcome = Literal["ok", "runtime_error", "time_limit", "memory_limit", "output_limit", "sandbox_error"]
Level = Literal["namespaced", "locked", "locked_no_landlock", "process"]

OUTPUT_LIMIT = 16 << 20
"""Bytes a program may write to standard output and to standard error, each."""
STDERR_KEPT = 64 << 10
"""Bytes of standard error that a result keeps, the last ones."""
VALUE_LIMIT = 4 << 20
"""Bytes of a call's value as JSON; parsed, they may grow twentyfold in the caller's memory."""

_MAX_DEPTH = 100


@dataclass(frozen=True)
class Result:
    """What came of one program.

    `stdout`, `stderr` and `value` were chosen by the program: compare them, show them after `sanitise`, and trust
    nothing else about them. `sandbox_error` says nothing about the program: leave such a run out, never score it 0.
    """

    outcome: Outcome
    stdout: str
    stderr: str
    value: Any
    """What the called function returned; None without `call`."""
    cpu_s: float
    """CPU seconds used, all threads together."""
    level: Level
    """The level that confined this run."""


@dataclass(frozen=True)
class Request:
    """One program and its limits, checked."""

    job: bytes
    """The program and the call, as JSON."""
    stdin: bytes
    is_call: bool
    cpu_s: float
    memory: int

    @classmethod
    def of(
        cls, code: str, stdin: str = "", call: tuple[str, list[Any]] | None = None, cpu_s: float = 2.0,
        memory_mb: int = 512,
    ) -> Request:  # fmt: skip
        """Check the arguments of `Sandbox.run`; raise ValueError or TypeError on the first that is wrong."""
        for name, text in {"code": code, "stdin": stdin}.items():
            if not isinstance(text, str):
                raise TypeError(f"{name} must be a str, not {type(text).__name__}. Decode it first.")
        if not 0 < cpu_s <= 3600:
            raise ValueError(f"cpu_s={cpu_s} must lie between 0 and 3600 seconds.")
        if not 16 <= memory_mb <= 1 << 20:
            raise ValueError(f"memory_mb={memory_mb} must lie between 16 and {1 << 20}.")
        job = json.dumps({"code": code, "call": _checked(call)}).encode()
        return cls(job, stdin.encode("utf-8", "surrogatepass"), call is not None, float(cpu_s), int(memory_mb) << 20)

    @property
    def limits(self) -> dict[str, Any]:
        """What the watcher of the program is told; it sees nothing else of it."""
        return {"cpu_s": self.cpu_s, "memory": self.memory, "output": OUTPUT_LIMIT + 1}


def verdict(request: Request, level: Level, facts: dict[str, Any], outputs: list[bytes], sizes: list[int]) -> Result:
    """Judge a run by the facts its watcher reports: {started, status, cpu, stopped}, and its outputs.

    Args:
        request: what was asked.
        level: what confined it.
        facts: from the watcher.
        outputs: stdout, the end of stderr, report, as far as they are kept.
        sizes: bytes of each that were written.
    """
    stdout, stderr, report = outputs
    code = os.waitstatus_to_exitcode(facts["status"])
    value, note = None, ""
    outcome: Outcome
    if not facts["started"]:
        outcome, note = "sandbox_error", "the program could not be confined and was not started"
    elif facts["stopped"] in ("cpu", "asleep", "wall") or facts["cpu"] > request.cpu_s:
        outcome = "time_limit"
        note = f"stopped after {facts['cpu']:.2f} CPU seconds ({facts['stopped'] or 'cpu'} limit)"
    elif code == -signal.SIGXFSZ or max(sizes[:2]) > OUTPUT_LIMIT or sizes[2] > VALUE_LIMIT:
        outcome, note = "output_limit", f"more than {OUTPUT_LIMIT} bytes of output, or {VALUE_LIMIT} of a value"
    elif facts["stopped"] == "threads":
        outcome, note = "runtime_error", "too many threads"
    elif code == -signal.SIGKILL and level != "process":
        # Guarded programs cannot send it, not even to themselves: the machine ran out of memory, or a person meddled.
        outcome, note = "sandbox_error", "killed from outside"
    elif code != 0:
        outcome = "memory_limit" if _parsed(report).get("failed") == "MemoryError" else "runtime_error"
        note = f"killed by {signal.Signals(-code).name}" if code < 0 else ""
    elif not request.is_call:
        outcome = "ok"
    elif "value" in (parsed := _parsed(report)):
        outcome, value = "ok", parsed["value"]
    else:
        outcome, note = "runtime_error", "the call returned no value that is strict JSON, at most 100 deep"
    return Result(outcome, _text(stdout), "\n".join(filter(None, (_text(stderr), note))), value, facts["cpu"], level)


def _checked(call: tuple[str, list[Any]] | None) -> tuple[str, list[Any]] | None:
    if call is None:
        return None
    try:
        name, args = call
        json.dumps(args, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"call={call!r:.200} must be (name, [arguments]) with JSON arguments: {error}") from error
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"call={call!r:.200} must name a function, such as 'f' or 'Solution.f'.")
    return name, list(args)


def _parsed(report: bytes) -> dict[str, Any]:
    """Read what a program's process reported; anything but one strict JSON object counts as no report."""
    try:
        parsed = json.loads(report, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) and _is_shallow(parsed) else {}


def _is_shallow(value: Any) -> bool:
    """Whether the caller can print and compare a value without running into Python's recursion limit."""
    layer = [value]
    for _ in range(_MAX_DEPTH):
        layer = [
            inner
            for item in layer
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return not layer


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _text(data: bytes) -> str:
    return data[:OUTPUT_LIMIT].decode("utf-8", "replace")
