"""Wait for a program, and stop it when it has used up its time.

Time is the program's own: CPU time, and time spent asleep. Waiting for a busy machine costs it nothing, so a verdict
does not depend on load; wall time is only a backstop.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from . import linux

_TICK_S = 0.02
_LONGEST_TICK_S = 0.1  # when we are late ourselves, who knows what went on in between
_MAX_THREADS = 200


@dataclass(frozen=True)
class Times:
    """Limits in seconds."""

    cpu: float

    @property
    def asleep(self) -> float:
        """How long all threads together may wait for nothing but a clock, a lock or an empty pipe."""
        return self.cpu + 1

    @property
    def wall(self) -> float:
        """The backstop: enough for a machine with twenty times more work than cores."""
        return 20 * self.cpu + 10


@dataclass(frozen=True)
class Ending:
    """How a process ended: its wait status, its CPU seconds, and why it was stopped, if it was."""

    status: int
    cpu: float
    stopped: str | None


def watch(pid: int, times: Times, abandoned: Callable[[], bool] = lambda: False, group: bool = False) -> Ending:
    """Wait for a child process and return how it ended; it is stopped when its time is up or `abandoned()` is true.

    With `group`, the rest of its process group is ended too.
    """
    began, asleep, stopped, before = time.monotonic(), 0.0, None, _Sight(0.0, 0.0, False, 1)
    clock = linux.cpu_clock(pid)
    handle = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while not poll.poll(_TICK_S * 1000):
            now = _look(pid, clock)
            ran, passed = now.cpu - before.cpu, now.at - before.at
            if now.sleeping and before.sleeping and ran < 0.1 * passed:  # a tenth: short naps are sleep too
                asleep += min(passed - ran, _LONGEST_TICK_S)
            before = now
            stopped = stopped or (
                "cpu" if now.cpu > times.cpu
                else "asleep" if asleep > times.asleep
                else "wall" if now.at - began > times.wall
                else "threads" if now.threads > _MAX_THREADS
                else "abandoned" if abandoned()
                else None
            )  # fmt: skip
            if stopped:
                os.kill(pid, signal.SIGKILL)
    finally:
        os.close(handle)
    if group:  # before the child is reaped: until then nobody else can have its number
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return Ending(status, usage.ru_utime + usage.ru_stime, stopped)


@dataclass(frozen=True)
class _Sight:
    at: float
    cpu: float
    sleeping: bool
    threads: int


def _look(pid: int, clock: int) -> _Sight:
    cpu, sleeping, threads = 0.0, False, 1
    with suppress(OSError):  # it may be gone by now
        cpu = time.clock_gettime(clock)
        tasks = os.listdir(f"/proc/{pid}/task")
        threads = len(tasks)
        sleeping = threads <= _MAX_THREADS and all(_sleeps(f"/proc/{pid}/task/{task}/stat") for task in tasks)
    return _Sight(time.monotonic(), cpu, sleeping, threads)


def _sleeps(path: str) -> bool:
    """Whether a thread waits, is stopped or has ended: it neither runs nor queues for a core or a disk."""
    with open(path, "rb") as stat:
        return stat.read().rpartition(b")")[2].split()[0] in b"STtZ"
