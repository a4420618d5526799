"""Numbers of a study as text, the same in the terminal and on the page."""

from __future__ import annotations

from typing import Any

from credit.report.text import GAP, show

LABELS = {
    "tune": "Tuning, validation rows",
    "final": "Final, test rows",
    "ablations": "Ablations, test rows",
}


def mean_of(value: dict[str, Any] | None, digits: int = 3, sign: bool = False) -> str:
    """Return the mean alone."""
    return GAP if value is None else show(value["mean"], digits, sign)


def interval(value: dict[str, Any] | None, digits: int = 3, sign: bool = False) -> str:
    """Return mean and interval; one seed has no interval."""
    if value is None:
        return GAP
    said = show(value["mean"], digits, sign)
    if value["low"] is None:
        return said
    return f"{said} [{show(value['low'], digits, sign)}, {show(value['high'], digits, sign)}]"


def signed(value: dict[str, Any] | None) -> str:
    """Return a difference with its interval."""
    return interval(value, sign=True)


def rate_text(rate: float | None) -> str:
    """Return a learning rate."""
    return GAP if rate is None else f"{rate:g}"
