"""A cell: one run of a study, and what its folder says about it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from credit.errors import UserError
from credit.rundir import RunDir, differing


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        stage: `tune`, `final` or `ablations`.
        model: name of the base model in the study file.
        method: name of the method or ablation.
        learning_rate: None while tuning has not chosen it.
        seed: of the run.
        options: all options that the study sets, as a config file of `credit train` holds them.
        of: for an ablation, the method it changes.
    """

    stage: str
    model: str
    method: str
    learning_rate: float | None
    seed: int
    options: dict[str, Any]
    of: str | None = None

    @property
    def id(self) -> str:
        """Name of the cell, and its folder under `cells/`."""
        rate = "?" if self.learning_rate is None else f"{self.learning_rate:g}"
        return f"{self.stage}/{self.model}/{self.method}/lr{rate}-seed{self.seed}"

    def folder(self, study: Path) -> Path:
        """Return the cell's run folder."""
        return study / "cells" / self.id


def status(folder: Path) -> str:
    """Return what a run folder says: `complete`, `running`, `failed`, `interrupted`, or `none` if there is no run."""
    record = folder / "run.json"
    return json.loads(record.read_text(encoding="utf-8"))["status"] if record.is_file() else "none"


def saved_config(folder: Path) -> dict[str, Any] | None:
    """Return the resolved options of the run in a folder, or None."""
    file = folder / "config.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None


def check_unchanged(cell: Cell, study: Path, config: dict[str, Any]) -> None:
    """Raise UserError when the cell's folder holds a run with other options than `config`, the resolved ones."""
    saved = saved_config(cell.folder(study))
    if saved is not None and (changes := differing(saved, config)):
        raise UserError(
            f"cell {cell.id} was run with other options ({changes}). Use another --out, or delete {cell.folder(study)}."
        )


def digest(config: dict[str, Any]) -> str:
    """Return a short fingerprint of resolved options, wherever the run lies."""
    held = {key: value for key, value in config.items() if key != "output_dir"}
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:12]


def resumable(folder: Path) -> bool:
    """Return whether a run was started in this folder."""
    return (RunDir(folder) / "config.yaml").exists()
