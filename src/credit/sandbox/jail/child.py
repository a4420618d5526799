"""From fork to program: put on every guard, in the one order that works, and hand over."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from . import landlock, limits, linux
from .limits import Limits
from .seccomp import Filter

REPORT, JOB = 3, 4
"""The descriptors on which a program's process reports, and finds the program; 0, 1 and 2 are the usual ones."""


@dataclass
class Guards:
    """What a zygote prepares once for all its programs; no ruleset where every open is refused."""

    filter: Filter
    ruleset: int | None
    zygote: int = field(default_factory=os.getpid)
    occupied: int = field(default_factory=limits.address_space)

    @classmethod
    def of(cls, level: str, roots: list[str]) -> Guards:
        """Prepare the guards of a level; raise OSError or NotImplementedError where the system lacks one."""
        with_landlock = level in ("namespaced", "locked")
        return cls(Filter(may_open=with_landlock), landlock.ruleset(roots) if with_landlock else None)


def confine(guards: Guards, files: Sequence[int], limit: Limits, started: int) -> None:
    """Confine this fork: `files` become descriptors 0 to 4, all others close; `started` is told once all hold."""
    os.setsid()
    linux.prctl(linux.SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guards.zygote:
        os._exit(1)  # it died before it was asked to tell
    linux.prctl(linux.SET_NO_NEW_PRIVS, 1)
    if guards.ruleset is not None:
        landlock.restrict(guards.ruleset)
    for target, source in enumerate(files):
        os.dup2(source, target)
    limits.apply(limit, guards.occupied)
    linux.prctl(linux.SET_DUMPABLE, 0)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # writing too much ends a program at once, whatever it catches
    os.chdir("/")
    guards.filter.install()
    os.eventfd_write(started, 1)  # from here on, whatever happens is the program's doing
    os.closerange(JOB + 1, 4096)
