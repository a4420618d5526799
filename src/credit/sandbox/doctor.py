"""What would hold on this machine: the table behind `credit doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from .levels import NEEDS, PROTECTED
from .result import Level
from .worker import Unavailable, Zygote


@dataclass(frozen=True)
class LevelReport:
    """Whether a level was proven here, by what, and if not, why not and what it needs."""

    level: Level
    proven: bool
    reason: str
    """Why it is not available; empty if it is."""
    needs: str
    probe: tuple[tuple[str, bool], ...]
    """(forbidden act, whether it was refused), as tried by a throw-away process; empty if it could not be tried."""


def probe_levels() -> list[LevelReport]:
    """Start every protected level once, strongest first, and report what was proven. `auto` takes the first proven."""
    reports = []
    for level in PROTECTED:
        try:
            zygote = Zygote(level)
        except Unavailable as error:
            reports.append(LevelReport(level, False, error.reason, NEEDS[level], error.probe))
        else:
            zygote.close()
            reports.append(LevelReport(level, True, "", NEEDS[level], zygote.probe))
    return reports
