"""From a run, or a file of scored rollouts, to its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from credit.diagnostics import Rollouts, diagnose, read_credit_of_run, read_rollouts
from credit.diagnostics.run import is_run
from credit.report.ran import reading
from credit.report.text import show
from credit.viewer.contents import contents
from credit.viewer.page import write_viewer

LIMIT = 2000
"""Responses on a page unless more are asked for (ours): what a browser handles without lag at any usual length."""


def inspect(
    target: Path,
    out: Path | None = None,
    limit: int = LIMIT,
    settings: Mapping[str, Any] | None = None,
    task: Any = None,
    progress: Callable[[str, int], AbstractContextManager[Callable[[int], None]]] | None = None,
) -> tuple[Path, dict[str, Any], list[str]]:
    """Write the page; return its path, `diagnose` of all its responses, and sentences about what is odd.

    Args:
        target: folder of a run, or a .parquet or .jsonl file with token credit.
        out: where to write; `inspect.html` in the run, or beside the file under its name.
        limit: responses on the page; of every file the first ones, in equal shares.
        settings: options of the run, for the form of R.
        task: what knows which tokens carry the answer.
        progress: (title, total) -> context manager yielding `advance(n)`.

    Raises:
        ValueError: there is no token credit, or a row is odd; names file, row, field and fix.
    """
    run = is_run(target)
    files = read_credit_of_run(target) if run else [read_rollouts(target)]
    if not any(file.scored for file in files):
        raise ValueError(
            f"{files[0].name} holds no token credit (columns r and R). Score its rollouts first: "
            f"credit diagnose {target} --model M --out DIR, then credit inspect DIR/tokens.parquet."
        )
    notes = _cut(files, limit)
    if settings and (said := reading(settings)):
        notes.insert(0, f"{said} (form {settings['form']}, λ = {settings.get('lam')})")
    if progress is None:
        page = contents(files, task)
    else:
        with progress("inspect", sum(len(file.rows) for file in files)) as advance:
            page = contents(files, task, advance)
    everything = Rollouts.joined(target.name, files)
    steps = [diagnose(file, task) for file in [*files, everything]] if len(files) > 1 else [diagnose(files[0], task)]
    notes += _pointing(steps[-1]["summary"])
    path = out or (target / "inspect.html" if run else target.with_suffix(".html"))
    names = [file.name for file in files]
    return write_viewer(path, target.resolve().name, page, names, steps, notes), steps[-1], page.problems


def _cut(files: list[Rollouts], limit: int) -> list[str]:
    total = sum(len(file.rows) for file in files)
    if total <= limit:
        return []
    share = max(1, limit // len(files))
    for file in files:
        file.rows = file.rows[:share]
        file.places = None if file.places is None else file.places[:share]
    shown = sum(len(file.rows) for file in files)
    return [f"{shown} of {total} responses: the first {share} of each file. --limit {total} shows all."]


def _pointing(summary: Mapping[str, Any]) -> list[str]:
    """Say how well |S| points, where the task knows what it should point at."""
    found = summary["auroc_boilerplate_S"], summary["auroc_answer_S"]
    if None in found:
        return []
    against, others = (f"{show(v['mean'], 2)}{_interval(v)}" for v in found)
    return [
        f"The size of S tells tokens that carry the answer from boilerplate with an AUROC of {against}, from all other "
        f"tokens with {others} (0.5 is chance)."
    ]


def _interval(value: Mapping[str, Any]) -> str:
    return "" if value["low"] is None else f" [{show(value['low'], 2)}, {show(value['high'], 2)}]"
