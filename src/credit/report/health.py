"""The health of a run: what taught nothing, what was clamped or cut, entropy, length, and what was warned of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from credit.report.curves import points
from credit.report.text import compact, percent, visible

_SHARES = (
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
    ("frac_reward_zero_std", "prompts of one reward", "all rollouts scored alike: no signal for GRPO"),
    ("completions/clipped_ratio", "answers cut", "reached max_completion_length"),
)
_BY_METHOD = (
    ("credit/by_teacher", "tokens taught", "the teacher had a say; the others learn by the group advantage alone"),
)
_OTHERS = (
    ("entropy", "entropy", "of the student, nats per token; near 0 it explores no more"),
    ("completions/mean_length", "response length", "mean, tokens"),
)
_NO_TEACHER = "GRPO has no teacher: every rollout teaches through its reward alone."


@dataclass(frozen=True)
class Line:
    """One line of the health table."""

    label: str
    meaning: str
    mean: str
    lowest: str
    highest: str
    last: str


@dataclass(frozen=True)
class Health:
    """What the section shows; `warnings` is None where none were recorded."""

    said: str
    table: list[Line]
    absent: list[str]
    warnings: list[str] | None


def health(metrics: list[dict[str, Any]], warnings: Any, method: Any) -> Health:
    """Read the health of a run off its metrics, the `idle_warnings` of `run.json` and its `method`."""
    table, absent, means = [], [], {}
    shows: list[tuple[tuple[str, str, str], Callable[[Any], str]]] = [(line, percent) for line in _SHARES]
    shows += [(line, percent) for line in _BY_METHOD if any(line[0] in row for row in metrics)]
    for (name, label, meaning), form in [*shows, *((line, compact) for line in _OTHERS)]:
        values = [y for _, y in points(metrics, name) if y is not None]
        if not values:
            absent.append(label)
            continue
        means[name] = sum(values) / len(values)
        table.append(Line(label, meaning, *map(form, (means[name], min(values), max(values), values[-1]))))
    recorded = [visible(text) for text in warnings] if isinstance(warnings, list) else None
    return Health(_NO_TEACHER if method == "grpo" else _said(means), table, absent, recorded)


def _said(means: dict[str, float]) -> str:
    said = [f"{label} {percent(means[name])}" for name, label, _ in _SHARES[:4] if name in means]
    if not said:
        return "No share was logged, so nothing can be said about how many rollouts were taught."
    line = f"Mean over the logged steps: {', '.join(said)}."
    if means.get("credit/no_teacher", 0) > 0.5:
        line += " More than half of the rollouts taught nothing."
    if means.get("credit/no_negative", 0) > 0.5:
        line += " More than half of the rollouts were contrasted with nothing."
    if means.get("credit/clamped", 0) > 0.05:
        line += " G is clamped often, so contrast_floor shapes the credit: compare a run with a lower one."
    return line
