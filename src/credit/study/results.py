"""`results.parquet`: one row per cell, made from run folders; what the table and the page are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from credit.errors import UserError
from credit.report.runfiles import read_metrics
from credit.report.text import lookup, number
from credit.study.cells import Cell, digest, saved_config, status
from credit.study.plan import SPLITS, Study

NAME = "results.parquet"
WINDOW = 5
"""Logged steps whose mean reward is compared with the target accuracy: the last five."""
_PHASES = ("setup", "eval_before", "train", "eval_after")
_SCHEMA = [
    *((name, pa.string()) for name in ("stage", "model", "method", "of")),
    ("learning_rate", pa.float64()),
    ("seed", pa.int64()),
    *((name, pa.string()) for name in ("split", "status", "error", "config_digest")),
    ("prompts", pa.int64()),
    *((f"{name}_{kind}", pa.float64()) for name in ("accuracy", "before") for kind in ("sampled", "greedy")),
    *((name, pa.float64()) for name in ("reasoning_kept", "boilerplate_leak", "entropy", "length")),
    ("rollouts_to_target", pa.float64()),
    ("rollouts_per_step", pa.float64()),
    *((f"seconds_{phase}", pa.float64()) for phase in _PHASES),
    *((f"peak_{where}_bytes", pa.float64()) for where in ("host", "device")),
    ("curve_step", pa.list_(pa.float64())),
    ("curve_reward", pa.list_(pa.float64())),
]


def row_of(cell: Cell, study: Path, target: float) -> dict[str, Any]:
    """Return one row; what a cell has not measured is None.

    Args:
        cell: the run.
        study: the study's folder.
        target: accuracy of the training rollouts at which their number is noted.
    """
    folder = cell.folder(study)
    row: dict[str, Any] = dict.fromkeys(name for name, _ in _SCHEMA)
    row |= {"stage": cell.stage, "model": cell.model, "method": cell.method, "of": cell.of, "seed": cell.seed}
    row |= {"learning_rate": cell.learning_rate, "split": SPLITS[cell.stage], "status": status(folder)}
    config = saved_config(folder)
    if config is None or row["status"] == "none":
        return row
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    row |= {"error": run["error"], "config_digest": digest(config)}
    row |= {f"seconds_{phase}": number(lookup(run, "seconds", phase)) for phase in _PHASES}
    for where in ("host", "device"):
        peaks = (lookup(run, "memory", where) or {}).values()
        row[f"peak_{where}_bytes"] = float(max(peaks)) if peaks else None
    curve = [(m["step"], number(m.get("reward"))) for m in read_metrics(folder / "metrics.jsonl", [])]
    curve = [(float(step), reward) for step, reward in curve if reward is not None]
    row |= {"curve_step": [s for s, _ in curve], "curve_reward": [r for _, r in curve]}
    row["rollouts_per_step"] = rollouts_per_step(config)
    reached = first_step_at(curve, target)
    row["rollouts_to_target"] = None if reached is None else reached * row["rollouts_per_step"]
    metrics = read_metrics(folder / "metrics.jsonl", [])
    row |= {"entropy": _late(metrics, "entropy"), "length": _late(metrics, "completions/mean_length")}
    if row["status"] == "complete":
        row |= _scores(json.loads((folder / "eval.json").read_text(encoding="utf-8")))
    return row


def _scores(result: dict[str, Any]) -> dict[str, Any]:
    scores: dict[str, Any] = {"prompts": lookup(result, "settings", "prompts")}
    for kind in ("sampled", "greedy"):
        scores[f"accuracy_{kind}"] = lookup(result, "after", kind, "overall", "mean")
        scores[f"before_{kind}"] = lookup(result, "before", kind, "overall", "mean")
        families = lookup(result, "after", kind, "families") or {}
        scores |= {f"{kind}/{family}": value["mean"] for family, value in families.items()}
    return scores | {name: lookup(result, "after", "extras", name) for name in ("reasoning_kept", "boilerplate_leak")}


def rollouts_per_step(config: dict[str, Any]) -> float:
    """Return how many rollouts are drawn per optimiser step."""
    steps = config["steps_per_generation"] * config["num_iterations"] / config["gradient_accumulation_steps"]
    return config["generation_batch_size"] / steps


def first_step_at(curve: Sequence[tuple[float, float]], target: float) -> float | None:
    """Return the first step at which the mean of the last `WINDOW` rewards reaches `target`, or None."""
    for i in range(WINDOW, len(curve) + 1):
        # Rounded: five times 0.8 must reach 0.8.
        if round(sum(reward for _, reward in curve[i - WINDOW : i]) / WINDOW, 9) >= target:
            return curve[i - 1][0]
    return None


def _late(metrics: Sequence[dict[str, Any]], name: str) -> float | None:
    """Return the mean of a metric over the last fifth of its logged steps."""
    values = [value for m in metrics if (value := number(m.get(name))) is not None]
    late = values[-max(1, len(values) // 5) :]
    return sum(late) / len(late) if late else None


def write_results(study: Study, folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the table whole or not at all, with what else the page needs: note, reference, target, method order."""
    families = sorted({name for row in rows for name in row if "/" in name})
    about = {
        "name": study.name, "note": study.note, "reference": study.reference, "target": study.target_accuracy,
        "methods": list(study.methods), "ablations": {n: o["of"] for n, o in study.ablations.items()},
        "models": list(study.models), "learning_rates": list(study.learning_rates),
    }  # fmt: skip
    schema = pa.schema([*_SCHEMA, *((name, pa.float64()) for name in families)], {"credit_study": json.dumps(about)})
    full = [{name: row.get(name) for name in schema.names} for row in rows]
    partial = folder / f"{NAME}.partial"
    pq.write_table(pa.Table.from_pylist(full, schema), partial)
    partial.replace(folder / NAME)


def read_results(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what is known about the study, and its rows."""
    path = folder / NAME
    if not path.is_file():
        raise UserError(f"{folder} holds no {NAME}. Name the --out folder of a study that has run.")
    table = pq.read_table(path)
    about = (table.schema.metadata or {}).get(b"credit_study")
    if about is None:
        raise UserError(f"{path} was not written by credit compare. Name the --out folder of a study.")
    return json.loads(about), table.to_pylist()
