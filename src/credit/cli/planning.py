"""Resolves the cells of a study as `credit train` would, so that every complaint comes before the first run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from credit.cli.train import parse_options
from credit.errors import UserError, explained
from credit.experiment import Experiment, RunOptions
from credit.report.text import duration
from credit.sources import go_offline_if_embedded, load_task, model_path
from credit.study.cells import Cell, check_unchanged
from credit.study.idle import idle_option
from credit.study.plan import Study
from credit.study.results import row_of


def presets() -> dict[str, dict[str, Any]]:
    """Return the option values of every preset."""
    from credit.presets import PRESETS

    return PRESETS


class Planner:
    """The resolved options of every cell; those that differ in seed and learning rate alone are parsed once."""

    def __init__(self, study: Study):
        self.study = study
        self._parsed: dict[tuple[str, str, str], tuple[RunOptions, Any]] = {}
        self._configs: dict[tuple[str, str, str], dict[str, Any]] = {}

    def config(self, cell: Cell) -> dict[str, Any]:
        """Return a cell's options as its `config.yaml` will hold them."""
        key = (cell.stage, cell.model, cell.method)
        if key not in self._configs:
            self._configs[key] = Experiment(*self._resolve(cell), command=[]).config()
        return {**self._configs[key], "seed": cell.seed, "learning_rate": cell.learning_rate}

    def check(self, out: Path) -> None:
        """Raise UserError for the first thing in the study that could not run, or would not mean what it says."""
        for stage in self.study.seeds:
            for cell in self.study.cells(stage):
                if (cell.stage, cell.model, cell.method) not in self._parsed:
                    self._check(cell)
                if cell.learning_rate is not None:
                    check_unchanged(cell, out, self.config(cell))

    def jobs(self, cores: int) -> int:
        """Return how many cells may run at a time: one on an accelerator, else a core per torch thread."""
        parsed = list(self._parsed.values())
        if any(args.device.type != "cpu" for _, args in parsed):
            return 1
        return max(1, cores // max(options.torch_threads or 1 for options, _ in parsed))

    def _resolve(self, cell: Cell) -> tuple[RunOptions, Any]:
        key = (cell.stage, cell.model, cell.method)
        if key not in self._parsed:
            rate = self.study.learning_rates[0] if cell.learning_rate is None else cell.learning_rate
            with TemporaryDirectory() as folder:
                file = Path(folder) / f"{cell.method}.yaml"
                file.write_text(yaml.safe_dump({**cell.options, "learning_rate": rate}), encoding="utf-8")
                try:
                    self._parsed[key] = parse_options(["--config", str(file), "--output_dir", "cell"])
                except UserError as error:
                    raise UserError(f"{self.study.name}: {cell.method}: {error}") from error
        return self._parsed[key]

    def _check(self, cell: Cell) -> None:
        from credit.config import CreditConfig, GRPOConfig
        from credit.methods import get_method
        from credit.tasks import rows_of

        options, args = self._resolve(cell)
        go_offline_if_embedded(options)
        method = get_method(args.method)
        own = {f.name for f in fields(CreditConfig)} - {f.name for f in fields(GRPOConfig)}
        entries = self.study.ablations if cell.stage == "ablations" else self.study.methods
        reason = idle_option(entries[cell.method], self.config(cell), own, method.needs_teacher, method.contrast)
        if reason:
            raise UserError(f"{self.study.name}: {cell.method} {reason}.")
        with explained():
            model_path(options.model)
            rows_of(load_task(options), options.eval_split, 1)


def estimate(study: Study, cells: Sequence[Cell], out: Path, jobs: int) -> str:
    """Return in words how long the cells may take: from finished ones, else from what the study file says of one."""
    rows = [(cell, row_of(cell, out, study.target_accuracy)) for cell in cells if cell.learning_rate is not None]
    phases = [[v for k, v in row.items() if k.startswith("seconds_") and v] for _, row in rows]
    done = [sum(phase) for phase, (_, row) in zip(phases, rows, strict=True) if row["status"] == "complete"]
    one = sum(done) / len(done) if done else study.seconds_per_cell
    if one is None:
        return "how long one takes is known after the first (or from seconds_per_cell in the study file)"
    source = f"mean of {len(done)} finished" if done else "seconds_per_cell of the study file"
    return f"about {duration((len(cells) - len(done)) * one / jobs)} left at {one:.0f} s a cell ({source})"
