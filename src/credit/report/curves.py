"""Which curves the page shows, and what they say in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from credit.report.figures import curves
from credit.report.smoothing import Points, window
from credit.report.text import compact, number

PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...], float | None], ...] = (
    ("Reward", "mean score of the training rollouts", (("reward", "reward"),), None),
    ("Credit loss", "per token with a teacher, nats", (("credit/loss", "credit loss"),), None),
    ("Entropy", "of the student, nats per token", (("entropy", "entropy"),), None),
    ("Response length", "mean, tokens", (("completions/mean_length", "length"),), None),
    (
        "Shares",
        "of rollouts; clamped: of entries",
        (
            ("credit/no_teacher", "no teacher"),
            ("credit/no_negative", "no negative"),
            ("credit/clamped", "clamped"),
        ),
        0.0,
    ),
    ("r", "teacher minus student, nats per token", (("credit/r", "r"),), None),
    ("S", "input-specific part of the teacher, nats", (("credit/S", "S"),), None),
    ("G", "input-generic part of the teacher, nats", (("credit/G", "G"),), None),
    ("R", "credit that is trained on, nats", (("credit/R", "R"),), None),
)


@dataclass(frozen=True)
class Panel:
    """One small figure; `lines` holds the label of each line, and its ends and gaps in words.

    `window` is the number of values its smoothed line averages; 0 if it has none.
    """

    title: str
    subtitle: str
    figure: Markup
    lines: list[tuple[str, str]]
    window: int


def panels(metrics: list[dict[str, Any]]) -> tuple[list[Panel], list[str]]:
    """Return the panels that have something to show, and the names of the metrics that were never logged."""
    shown, absent = [], []
    for title, subtitle, names, floor in PANELS:
        series = [(label, points(metrics, name)) for name, label in names]
        absent += [name for (name, _), (_, line) in zip(names, series, strict=True) if not line]
        if not any(line for _, line in series):
            continue
        lines = [(label, _summary(line)) for label, line in series]
        said = "; ".join(f"{label} {summary}" for label, summary in lines)
        size = window(max(len(line) for _, line in series))
        drawn = curves(f"{title} by step: {said}", series, floor, size)
        shown.append(Panel(title, subtitle, drawn, lines, size))
    return shown, absent


def points(metrics: list[dict[str, Any]], name: str) -> Points:
    """Return the values of one metric: steps without it are left out, logged non-numbers are None."""
    return [(float(entry["step"]), number(entry[name])) for entry in metrics if name in entry]


def _summary(line: Points) -> str:
    if not line:
        return "not logged"
    values = [y for _, y in line if y is not None]
    missing = f" ({len(line) - len(values)} missing)" if len(values) < len(line) else ""
    if not values:
        return f"no number{missing}"
    return (
        f"first {compact(values[0])}, last {compact(values[-1])}" if len(values) > 1 else compact(values[0])
    ) + missing
