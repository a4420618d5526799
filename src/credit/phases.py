"""What each phase of a run costs: seconds, peak memory of this process, peak memory on the accelerator."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_MARK = Path("/proc/self/clear_refs")


class Phases:
    """Measures what happens inside `with phases(name):`; phases do not nest.

    A phase entered twice adds its seconds and keeps its larger peak. Where the system lets a process reset its own
    high-water mark (Linux), the host's peak is that of the phase; elsewhere it is the peak since the process started,
    which only grows, and `record` says so.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._host: dict[str, int] = {}
        self._device: dict[str, int] = {}
        self._own_peaks = True

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure one phase, also when it fails."""
        import torch  # not at the top: `credit train --help` needs none of it

        self._own_peaks &= _reset_host_peak()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self._host[name] = max(self._host.get(name, 0), _host_peak())
            if torch.cuda.is_available():
                self._device[name] = max(self._device.get(name, 0), torch.cuda.max_memory_allocated())

    def record(self) -> dict[str, Any]:
        """Return `seconds` by phase and `memory`: `host` and `device` by phase in bytes, and what `host` means.

        `device` is what torch allocated on its current CUDA device, and empty without one.
        """
        return {
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "memory": {
                "host": dict(self._host),
                "device": dict(self._device),
                "host_is": "peak of the phase" if self._own_peaks else "peak since the process started",
            },
        }


class StepClock:
    """Adds up the seconds of the parts of a training step until they are taken; a part inside another counts alone.

    Attributes:
        failed: the part that an error came out of, the inner one of two.
    """

    def __init__(self, *parts: str):
        self.failed: str | None = None
        self._spent = dict.fromkeys(parts, 0.0)
        self._inside = 0.0

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Add what happens inside to `part`."""
        start, (outer, self._inside) = time.perf_counter(), (self._inside, 0.0)
        try:
            yield
        except BaseException:
            self.failed = self.failed or part
            raise
        spent = time.perf_counter() - start
        self._spent[part] += spent - self._inside
        self._inside = outer + spent

    def take(self) -> dict[str, float]:
        """Return the seconds of every part, zero included, and start again."""
        spent, self._spent = self._spent, dict.fromkeys(self._spent, 0.0)
        return spent


def _reset_host_peak() -> bool:
    try:
        _MARK.write_text("5")  # resets the peak resident set size: proc(5)
    except OSError:
        return False
    return True


def _host_peak() -> int:
    """Return the high-water mark of this process's resident memory, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        mark = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if mark:
            return int(mark.split()[1]) * 1024
    import resource  # absent on Windows, which has no VmHWM either

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
