"""Which curves the page shows, and the health of the run: what taught nothing, what was clamped or cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from credit.report.figures import Points, curves
from credit.report.text import compact, number, percent

PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...], float | None], ...] = (
    ("Reward", "mean score of the training rollouts", (("reward", "reward"),), None),
    ("Credit loss", "mean over tokens that have a teacher", (("credit/loss", "credit loss"),), None),
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

HEALTH = (
    (
        "credit/no_teacher",
        "rollouts without a teacher",
        "no successful sibling and no feedback: they teach nothing",
    ),
    (
        "credit/no_negative",
        "rollouts without a negative",
        "no unrelated input x' fitted: plain self-distillation there",
    ),
    ("credit/clamped", "clamped entries", "G met contrast_floor"),
    ("credit/context_cut", "teacher prompts cut", "feedback or solution was shortened to fit"),
    ("credit/success", "successful rollouts", "reached success_threshold; may serve others as the solution"),
    ("credit/with_solution", "rollouts shown a solution", "a correct answer to the same prompt"),
    ("credit/with_feedback", "rollouts shown feedback", "what the environment said about them"),
    ("credit/support_mass", "support mass", "student probability inside the compared support"),
)


@dataclass(frozen=True)
class Panel:
    """One small figure; `lines` holds the label of each line, and its ends and gaps in words."""

    title: str
    subtitle: str
    figure: Markup
    lines: list[tuple[str, str]]


@dataclass(frozen=True)
class Share:
    """One line of the health table."""

    label: str
    meaning: str
    mean: str
    lowest: str
    highest: str
    last: str


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
        shown.append(Panel(title, subtitle, curves(f"{title} by step: {said}", series, floor), lines))
    return shown, absent


def points(metrics: list[dict[str, Any]], name: str) -> Points:
    """Return the values of one metric: steps without it are left out, logged non-numbers are None."""
    return [(float(entry["step"]), number(entry[name])) for entry in metrics if name in entry]


def health(metrics: list[dict[str, Any]]) -> tuple[str, list[Share]]:
    """Return the health line and its table."""
    table, means = [], {}
    for name, label, meaning in HEALTH:
        values = [y for _, y in points(metrics, name) if y is not None]
        if not values:
            table.append(Share(label, meaning, "not logged", "", "", ""))
            continue
        means[name] = sum(values) / len(values)
        numbers = (means[name], min(values), max(values), values[-1])
        table.append(Share(label, meaning, *map(percent, numbers)))
    if not means:
        return "No share was logged, so nothing can be said about how many rollouts were taught.", []
    said = [f"{label} {percent(means[name])}" for name, label, _ in HEALTH[:4] if name in means]
    line = f"Mean over the logged steps: {', '.join(said)}." if said else ""
    if means.get("credit/no_teacher", 0) > 0.5:
        line += " More than half of the rollouts taught nothing."
    if means.get("credit/no_negative", 0) > 0.5:
        line += " More than half of the rollouts were contrasted with nothing."
    if means.get("credit/clamped", 0) > 0.05:
        line += " G is clamped often: contrast_floor shapes the credit."
    return line.strip(), table


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
