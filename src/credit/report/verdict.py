"""What the evaluation supports: one sentence that says no more than its interval, and the tables' rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from credit.report.text import lookup, number, show, visible

KINDS = ("sampled", "greedy")
"""How answers were drawn; the verdict is about the first one that was measured."""


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval; None where it was not measured."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class Row:
    """One line of a before/after table."""

    name: str
    before: Estimate
    after: Estimate
    difference: Estimate

    @property
    def n(self) -> str:
        """Number of prompts; two numbers if they differ between before and after."""
        counts = dict.fromkeys(str(e.n) for e in (self.before, self.after) if e.n is not None)
        return " / ".join(counts) or "–"


@dataclass(frozen=True)
class Verdict:
    """The sentence, and its tone: "rose", "fell", "unclear" or "none" (nothing to conclude)."""

    sentence: str
    tone: str


def estimate(value: Any) -> Estimate:
    """Read one {"n", "mean", "low", "high"} entry."""
    n = number(lookup(value, "n"))
    ends = sorted(x for x in (number(lookup(value, "low")), number(lookup(value, "high"))) if x is not None)
    low, high = ends if len(ends) == 2 else (None, None)
    return Estimate(number(lookup(value, "mean")), low, high, None if n is None else int(n))


def rows(evaluation: dict[str, Any], kind: str) -> list[Row]:
    """Return the lines for one kind: all prompts first, then every family seen before or after."""
    sides = [lookup(evaluation, side, kind) for side in ("before", "after")]
    if not any(isinstance(side, dict) for side in sides):
        return []
    differences = lookup(evaluation, "difference", kind)
    families = dict.fromkeys(name for side in sides for name in (_families(side) or {}))
    paths = [("all prompts", ("overall",)), *((visible(f), ("families", f)) for f in families)]
    return [_row(name, *(estimate(lookup(t, *path)) for t in (*sides, differences))) for name, path in paths]


def verdict(evaluation: dict[str, Any], status: str | None) -> Verdict:
    """Say in one sentence what the run shows."""
    running = "So far there is" if status in ("running", "failed", "interrupted") else "There is"
    for kind in KINDS:
        table = rows(evaluation, kind)
        if table and (table[0].before.mean is not None or table[0].after.mean is not None):
            break
    else:
        return Verdict(
            f"{running} no result: this run was not evaluated on held-out prompts, so it supports no claim "
            "about accuracy.",
            "none",
        )
    total, what = table[0], f"{kind.capitalize()} accuracy on {_prompts(evaluation, table[0])}"
    label = interval_label(evaluation)
    if total.before.mean is None or total.after.mean is None:
        when, one = ("before", total.before) if total.after.mean is None else ("after", total.after)
        other = "after" if when == "before" else "before"
        measured = f"{what[0].lower()}{what[1:]} was {show(one.mean, 2)}{_interval(one, label, 2, ' (', ')')}"
        return Verdict(
            f"{running} no comparison: {when} training, {measured}; nothing was measured {other} training.",
            "none",
        )
    difference = total.difference
    digits = _digits(total)
    ends = f"from {show(total.before.mean, digits)} to {show(total.after.mean, digits)}"
    change = show(difference.mean, digits, sign=True)
    if difference.interval is None:
        return Verdict(
            f"{what} went {ends} ({change}); no interval of the difference was recorded, so chance is not ruled out.",
            "unclear",
        )
    numbers = f"{ends} ({change}{_interval(difference, label, digits, ', ', '')})"
    low, high = difference.interval
    if low > 0:
        return Verdict(f"{what} rose {numbers}.", "rose")
    if high < 0:
        return Verdict(f"{what} fell {numbers}.", "fell")
    return Verdict(f"{what} went {numbers}: the interval includes zero, so the run shows no clear change.", "unclear")


def interval_label(evaluation: dict[str, Any]) -> str:
    """Return "95% interval" if the settings say so, else "interval"."""
    found = re.match(r"\d+(\.\d+)?\s?%", str(lookup(evaluation, "settings", "interval") or ""))
    return f"{found[0]} interval" if found else "interval"


def _families(side: Any) -> dict[str, Any] | None:
    families = lookup(side, "families")
    return {str(name): value for name, value in families.items()} if isinstance(families, dict) else None


def _row(name: str, before: Estimate, after: Estimate, difference: Estimate) -> Row:
    if difference.mean is None and before.mean is not None and after.mean is not None:
        difference = Estimate(after.mean - before.mean, difference.low, difference.high)
    return Row(name, before, after, difference)


def _prompts(evaluation: dict[str, Any], total: Row) -> str:
    split = lookup(evaluation, "settings", "split")
    count = total.after.n or total.before.n or lookup(evaluation, "settings", "prompts")
    many = f"{count} " if count else ""
    if split is None:
        return f"{many}prompts (split not recorded)"
    named = {"test": "held-out", "train": "training"}.get(str(split), visible(split))
    return f"{many}{named} prompts"


def _interval(value: Estimate, label: str, digits: int, before: str, after: str) -> str:
    if value.interval is None:
        return ""
    low, high = value.interval
    return f"{before}{label} {show(low, digits)} to {show(high, digits)}{after}"


def _digits(total: Row) -> int:
    """Two decimals, or three where two would contradict themselves (0.42 to 0.91 is not +0.48)."""
    before, after, change = total.before.mean, total.after.mean, total.difference.mean
    assert before is not None
    assert after is not None
    assert change is not None
    consistent = round(round(after, 2) - round(before, 2), 2) == round(change, 2)
    ends = total.difference.interval or ()
    return 2 if consistent and all(round(end, 2) or not end for end in ends) else 3
