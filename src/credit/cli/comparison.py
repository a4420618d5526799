"""The table of a study in the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from credit.cli.display import console
from credit.report.study_words import LABELS, interval, mean_of, rate_text, signed
from credit.study.summary import Summary, summaries

_CAPTION = "means over seeds; in brackets 95% bootstrap over seeds; all columns: report.html"
_COLUMNS = ("method", "seeds", "accuracy", "IQM", "minus", "difference, paired", "P(better)", "leak")


def show(about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print one table per stage that has cells."""
    for stage in ("tune", "final", "ablations"):
        found = [s for s in summaries(about, rows, stage) if s.seeds or s.unfinished]
        if found:
            console.print(_table(stage, found, len(about["models"]) > 1))


def _table(stage: str, found: list[Summary], several_models: bool) -> Table:
    table = Table(title=LABELS[stage], caption=_CAPTION, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    columns = ["method", "lr", "seeds", "accuracy"] if stage == "tune" else list(_COLUMNS)
    for column in (["model"] if several_models else []) + columns:
        table.add_column(column, justify="left" if column in ("method", "model", "minus") else "right")
    for s in found:
        count = f"{len(s.seeds)}/{len(s.seeds) + len(s.unfinished)}" if s.unfinished else str(len(s.seeds))
        cells = [s.name, count, mean_of(s.values["accuracy_sampled"]), mean_of(s.iqm)]
        if stage == "tune":
            cells = [s.name, rate_text(s.learning_rate), count, interval(s.values["accuracy_sampled"])]
        else:
            c = s.compared
            cells += ["", "", ""] if c is None else [c.with_, signed(c.difference), mean_of(c.improvement, 2)]
            cells.append(mean_of(s.values["boilerplate_leak"], 2))
        table.add_row(*([s.model] if several_models else []), *cells)
    return table
