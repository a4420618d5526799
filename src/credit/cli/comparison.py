"""The table of a study in the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from credit.cli.display import console
from credit.study.summary import Summary, summaries
from credit.study.words import LABELS, interval, mean_of, rate_text, signed

_CAPTION = "means over seeds; in brackets 95% bootstrap over seeds; all columns: report.html"


def show(about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print one table per stage that has cells."""
    for stage in ("tune", "final", "ablations"):
        found = [s for s in summaries(about, rows, stage) if s.seeds or s.unfinished]
        if found:
            console.print(_table(stage, found, about))


def _table(stage: str, found: list[Summary], about: dict[str, Any]) -> Table:
    table = Table(
        title=LABELS[stage], caption=_CAPTION, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False
    )
    columns = [*(["model"] if len(about["models"]) > 1 else []), "method", *(["lr"] if stage == "tune" else [])]
    columns += ["seeds", "accuracy"]
    if stage != "tune":
        minus = about["reference"] if stage == "final" else "what it changes"
        columns += ["IQM", f"minus {minus}", "P(better)", "leak"]
    for column in columns:
        table.add_column(column, justify="left" if column in ("method", "model") else "right", no_wrap=True)
    for s in found:
        count = f"{len(s.seeds)}/{len(s.seeds) + len(s.unfinished)}" if s.unfinished else str(len(s.seeds))
        cells = [s.model] if columns[0] == "model" else []
        if stage == "tune":
            cells += [s.name, rate_text(s.learning_rate), count, interval(s.values["accuracy_sampled"])]
        else:
            c = s.compared
            cells += [s.name, count, mean_of(s.values["accuracy_sampled"]), mean_of(s.iqm)]
            cells += ["", ""] if c is None else [signed(c.difference), mean_of(c.improvement, 2)]
            cells.append(mean_of(s.values["boilerplate_leak"], 2))
        table.add_row(*cells)
    return table
