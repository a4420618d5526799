"""What tuning chose, frozen in `finalists.yaml` before anything is evaluated on test rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from credit.errors import UserError
from credit.study.plan import SPLITS, Study

NAME = "finalists.yaml"
HEAD = f"""# The learning rate of each method, chosen on the {SPLITS["tune"]} split before any test row was evaluated.
# Commit this file before the final stage. What it says is never changed by credit compare.
"""
Choice = dict[tuple[str, str], float | None]


def choose(study: Study, rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, by model and method, the rate of the highest mean validation accuracy over all tuning seeds.

    A rate with a cell that did not finish is out; equal means go to the smaller rate; a method without any is given
    None. `at_edge` says that the best rate is the grid's first or last, so a wider grid might find a better one.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for model in study.models:
        for method in study.methods:
            means = {}
            for rate in sorted(study.learning_rates):
                scores = [
                    r["accuracy_sampled"] for r in rows
                    if (r["stage"], r["model"], r["method"], r["learning_rate"]) == ("tune", model, method, rate)
                    and r["status"] == "complete"
                ]  # fmt: skip
                if len(scores) == len(study.seeds["tune"]):
                    means[rate] = sum(scores) / len(scores)
            best = max(means, key=lambda rate: (means[rate], -rate)) if means else None
            found.setdefault(model, {})[method] = {
                "learning_rate": best,
                "validation_accuracy": {f"{rate:g}": round(mean, 6) for rate, mean in means.items()},
                "seeds": list(study.seeds["tune"]),
                "at_edge": best in (min(study.learning_rates), max(study.learning_rates)),
            }
    return found


def freeze(study: Study, folder: Path, rows: Sequence[dict[str, Any]]) -> bool:
    """Write what is not yet in `finalists.yaml`; return whether the file is new or grew."""
    held, grew = _read(folder), False
    for model, methods in choose(study, rows).items():
        for method, choice in methods.items():
            if method not in held.setdefault(model, {}):
                held[model][method], grew = choice, True
    if grew:
        partial = folder / f"{NAME}.partial"
        partial.write_text(HEAD + yaml.safe_dump(held, sort_keys=False), encoding="utf-8")
        partial.replace(folder / NAME)
    return grew


def covers(study: Study, folder: Path) -> bool:
    """Return whether `finalists.yaml` has an entry for every model and method: then tuning need not be here."""
    held = _read(folder)
    return all(method in held.get(model, {}) for model in study.models for method in study.methods)


def chosen(study: Study, folder: Path) -> Choice:
    """Return what `finalists.yaml` says; None for a method without a rate, or not in it yet.

    Raises:
        UserError: the file names a rate outside of the grid.
    """
    held, choice = _read(folder), {}
    for model in study.models:
        for method in study.methods:
            rate = held.get(model, {}).get(method, {}).get("learning_rate")
            if rate is not None and rate not in study.learning_rates:
                raise UserError(
                    f"{folder / NAME}: {method} on {model} has learning_rate {rate!r}, which is not in the grid. Use "
                    f"one of {', '.join(f'{r:g}' for r in study.learning_rates)}."
                )
            choice[model, method] = rate
    return choice


def _read(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    path = folder / NAME
    return (yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None) or {}
