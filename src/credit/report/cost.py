"""What a run cost: seconds and peak memory by phase, and where a training step spends its time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from credit.report.text import duration, lookup, number, percent, show, size, visible

PHASES = {
    "setup": "set-up",
    "eval_before": "evaluation before",
    "train": "training",
    "eval_after": "evaluation after",
}
PARTS = {
    "rollouts": ("sampling answers", "and what TRL computes from them"),
    "grading": ("grading", "reward functions, environments, sandbox"),
    "teachers": ("teachers", "contexts, scores of teacher and contrasts, token credit"),
}


@dataclass(frozen=True)
class Phase:
    """One line of the table by phase."""

    label: str
    spoken: str
    seconds: str
    host: str
    device: str


@dataclass(frozen=True)
class Cost:
    """What the section shows; `parts` are label, meaning, seconds and share of a mean training step."""

    phases: list[Phase]
    host_is: str
    device: bool
    resumed: str
    parts: list[tuple[str, str, str, str]]
    steps: int


def cost(run: dict[str, Any], metrics: list[dict[str, Any]]) -> Cost:
    """Read what a run cost off `run.json` and `metrics.jsonl`; what was not recorded is a gap."""
    seconds, host, device = (
        found if isinstance(found, dict) else {}
        for found in (lookup(run, "seconds"), lookup(run, "memory", "host"), lookup(run, "memory", "device"))
    )
    names = dict.fromkeys([*PHASES, *seconds, *host, *device])
    lines = [
        Phase(
            visible(PHASES.get(n, n)), duration(seconds.get(n)), show(seconds.get(n), 1), size(host.get(n)),
            size(device.get(n)),
        )
        for n in names
    ]  # fmt: skip
    known = [[number(kind.get(n)) for n in names] for kind in (seconds, host, device)]
    sums, *peaks = [[value for value in values if value is not None] for values in known]
    if sums or any(peaks):
        total = sum(sums) if sums else None
        tops = (size(max(values, default=None)) for values in peaks)
        lines.append(Phase("together", duration(total), show(total, 1), *tops))
    parts, steps = _parts(metrics)
    return Cost(
        lines if sums or any(peaks) else [],
        visible(lookup(run, "memory", "host_is")),
        bool(device),
        visible(run.get("resumed_from")),
        parts,
        steps,
    )


def _parts(metrics: list[dict[str, Any]]) -> tuple[list[tuple[str, str, str, str]], int]:
    """Return where a step spends its time, over the lines that have all of it, and how many lines those are."""
    names = ["step_time", *(f"step_time/{part}" for part in PARTS)]
    lines = [[number(entry.get(name)) for name in names] for entry in metrics]
    complete = [[value for value in line if value is not None] for line in lines if None not in line]
    if not complete:
        return [], 0
    whole, *parts = (sum(column) / len(complete) for column in zip(*complete, strict=True))
    rows = [*zip(PARTS.values(), parts, strict=True)]
    rows.append((("update", "the student's forward and backward pass, and the rest"), max(0.0, whole - sum(parts))))
    rows.append((("together", "step_time; the optimiser's own step is not in it"), whole))
    return [(*said, show(value), percent(value / whole) if whole else "") for said, value in rows], len(complete)
