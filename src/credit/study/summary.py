"""From rows of cells to what is said about methods: means, intervals, paired differences, curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from credit.study.results import WINDOW
from credit.study.seeds import Interval, difference, improvement, iqm, mean, over_seeds, student

Rows = Sequence[dict[str, Any]]
MEANS = (
    "accuracy_sampled", "accuracy_greedy", "reasoning_kept", "boilerplate_leak", "entropy", "length", "seconds_train",
    "peak_host_bytes", "peak_device_bytes",
)  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """One method beside another, over the seeds that both finished.

    `difference` and `improvement` are None without shared seeds; `student` and `saved_student` without two of them.
    `saved`, None where no reward was logged, is how many rollouts fewer it needed to the target accuracy; a run that
    never got there counts as if it had with its last rollout, which understates the difference.
    """

    with_: str
    difference: Interval | None = None
    student: tuple[float, float] | None = None
    improvement: Interval | None = None
    saved: Interval | None = None
    saved_student: tuple[float, float] | None = None


@dataclass(frozen=True)
class Summary:
    """What the cells of one method, on one model and in one stage, show.

    Attributes:
        seeds, unfinished: of cells that are complete, and that are not.
        learning_rate: of all its cells.
        values: metric -> mean with interval over seeds, or None if no cell measured it.
        iqm: interquartile mean over seeds and families.
        families: family -> sampled accuracy.
        compared: with the reference; None for the reference itself.
        rollouts: median rollouts to the target accuracy, counting seeds that never reach it as later than all; None
            if that is the median.
        reached: how many seeds reached it.
        curve: (rollouts, mean, low, high) of the smoothed training reward.
    """

    name: str
    model: str
    stage: str
    learning_rate: float | None
    seeds: list[int]
    unfinished: list[int]
    values: dict[str, Interval | None]
    iqm: Interval | None
    families: dict[str, Interval]
    compared: Compared | None
    rollouts: float | None
    reached: int
    curve: list[tuple[float, float, float | None, float | None]]


def summaries(about: dict[str, Any], rows: Rows, stage: str) -> list[Summary]:
    """Return one summary per model and method (or ablation) of a stage, in the order of the study file.

    A tuning stage has one per learning rate as well; nothing is compared with a reference there.
    """
    names = about["ablations"] if stage == "ablations" else about["methods"]
    found = []
    for model in about["models"]:
        for name in names:
            own = _of(rows, stage, model, name)
            for rate in sorted({row["learning_rate"] for row in own}, key=lambda r: r or 0.0):
                cells = [row for row in own if row["learning_rate"] == rate]
                base = about["ablations"].get(name) if stage == "ablations" else about["reference"]
                others = _of(rows, "final", model, base)
                compared = None if stage == "tune" or base == name else _compare(base, cells, others)
                found.append(_summary(name, model, stage, rate, cells, compared))
    return found


def _of(rows: Rows, stage: str, model: str, method: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["stage"], row["model"], row["method"]) == (stage, model, method)]


def _complete(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted((row for row in rows if row["status"] == "complete"), key=lambda row: row["seed"])


def _summary(name: str, model: str, stage: str, rate: float | None, cells: Rows, compared: Compared | None) -> Summary:
    complete = _complete(cells)
    values = {metric: _over([row[metric] for row in complete]) for metric in MEANS}
    table, families = _families(complete)
    reached = [row["rollouts_to_target"] for row in complete]
    middle = median(float("inf") if r is None else r for r in reached) if reached else float("inf")
    return Summary(
        name=name,
        model=model,
        stage=stage,
        learning_rate=rate,
        seeds=[row["seed"] for row in complete],
        unfinished=sorted(row["seed"] for row in cells if row["status"] != "complete"),
        values=values,
        iqm=over_seeds(iqm, table) if len(table) else None,
        families={family: over_seeds(mean, table[:, i]) for i, family in enumerate(families)},
        compared=compared,
        rollouts=None if middle == float("inf") else middle,
        reached=sum(r is not None for r in reached),
        curve=_curve(complete),
    )


def _over(values: Sequence[float | None]) -> Interval | None:
    measured = [value for value in values if value is not None]
    return over_seeds(mean, np.array(measured)) if measured else None


def _families(complete: Rows) -> tuple[np.ndarray, list[str]]:
    """Return sampled accuracy, (seeds, families), and the names; families that a cell lacks are left out."""
    names = [key for key in (complete[0] if complete else {}) if key.startswith("sampled/")]
    names = [name for name in names if all(row[name] is not None for row in complete)]
    if not names:
        return np.empty((0, 0)), []
    return np.array([[row[name] for name in names] for row in complete]), [n.partition("/")[2] for n in names]


def _compare(base: str, cells: Rows, others: Rows) -> Compared:
    ours, theirs = ({row["seed"]: row for row in _complete(side)} for side in (cells, others))
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return Compared(base)
    pairs = [[side[seed]["accuracy_sampled"] for seed in shared] for side in (ours, theirs)]
    (table, names), (reference, known) = (_families([side[seed] for seed in shared]) for side in (ours, theirs))
    needed = [[_needed(side[seed]) for seed in shared] for side in (theirs, ours)]
    logged = not any(rollouts is None for side in needed for rollouts in side)
    return Compared(
        base,
        over_seeds(difference, *map(np.array, pairs)),
        student([a - b for a, b in zip(*pairs, strict=True)]),
        over_seeds(improvement, table, reference) if names and names == known else None,
        over_seeds(difference, *map(np.array, needed)) if logged else None,
        student([a - b for a, b in zip(*needed, strict=True)]) if logged else None,
    )


def _needed(row: dict[str, Any]) -> Any:
    """Return the rollouts to the target, or all that were drawn where it was never reached; None if none was logged."""
    if not row["curve_step"]:
        return None
    reached = row["rollouts_to_target"]
    return reached if reached is not None else row["curve_step"][-1] * row["rollouts_per_step"]


def _curve(complete: Rows) -> list[tuple[float, float, float | None, float | None]]:
    """Return mean and range over seeds of the reward, each the mean of the last `WINDOW` logged steps."""
    by_rollouts: dict[float, list[float]] = {}
    for row in complete:
        rewards = row["curve_reward"]
        for i, step in enumerate(row["curve_step"]):
            near = rewards[max(0, i - WINDOW + 1) : i + 1]
            by_rollouts.setdefault(step * row["rollouts_per_step"], []).append(sum(near) / len(near))
    points = []
    for rollouts, values in sorted(by_rollouts.items()):
        if len(values) == len(complete):  # a mean over fewer seeds would jump
            spread = (min(values), max(values)) if len(values) > 1 else (None, None)
            points.append((rollouts, sum(values) / len(values), *spread))
    return points
