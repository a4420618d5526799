"""The page of `credit diagnose`, from the content of `diagnostics.json` alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from credit.report.figures import bars, lines
from credit.report.templates import fill, write_page
from credit.report.text import lookup, number, show, visible

RESPONSES = 200
"""Responses listed one by one; the rest is counted, and is in diagnostics.json."""

_COLUMNS = ("tokens", "score", "pmi", "S", "G", "R", "weight_gap")


def write_diagnosis(folder: Path, result: Mapping[str, Any], meanings: Mapping[str, str]) -> Path:
    """Write `diagnostics.json` and `diagnostics.html`; return the path of the page.

    Args:
        folder: made if it does not exist.
        result: `target`, `files`, `all`, `compatibility`, `notes`, as `credit diagnose --json` prints them.
        meanings: what each number of the summaries is.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file. Name a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "diagnostics.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    files = result["files"]
    shown = [files[0], files[-1]] if len(files) > 1 else files
    summaries = [(visible(file["file"]), file["summary"]) for file in shown]
    if len(files) > 1:
        summaries.append((f"all {len(files)} files", result["all"]["summary"]))
    responses = [response for file in files for response in file["responses"]]
    found = result["compatibility"] or {}
    page = fill(
        "diagnosis.html",
        target=visible(Path(result["target"]).name),
        counts=result["all"]["counts"],
        rows=[(name, meaning, [_cell(s[name]) for _, s in summaries]) for name, meaning in meanings.items()
              if name in summaries[0][1]],
        columns=[name for name, _ in summaries],
        choices=[(name, meanings[name], _cell(value)) for name, value in (found.get("summary") or {}).items()],
        items=len(found.get("items") or ()),
        figures=_figures(files, result["all"]["summary"]),
        problems=[visible(text) for text in _problems(result)],
        notes=[visible(text) for text in result["notes"]],
        responses=[
            (f"{visible(r['file'])}, row {r['row']}", [show(r[n], 0 if n == "tokens" else 2) for n in _COLUMNS])
            for r in responses[:RESPONSES]
        ],
        more=max(0, len(responses) - RESPONSES),
        response_columns=_COLUMNS,
    )  # fmt: skip
    path = folder / "diagnostics.html"
    write_page(path, page)
    return path


def _problems(result: Mapping[str, Any]) -> list[str]:
    every = [text for file in result["files"] for text in file["problems"]]
    return list(dict.fromkeys(every + (result["compatibility"] or {"problems": []})["problems"]))


def _cell(estimate: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return the mean, and its interval or why there is none."""
    if estimate is None:
        return show(None), ""
    if estimate["low"] is None:
        return show(estimate["mean"]), "one prompt"
    return show(estimate["mean"]), f"{show(estimate['low'])} to {show(estimate['high'])}"


def _figures(files: list[Mapping[str, Any]], summary: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    drawn = []
    names = ("r", "S", "R")
    groups = []
    for label, kind in (("answer tokens, by size", "answer"), ("first wrong token, by sign", "error")):
        values = [number(lookup(summary, f"auroc_{kind}_{name}", "mean")) for name in names]
        if all(value is not None for value in values):
            groups.append((label, [value for value in values if value is not None]))
    if groups:
        title = "How well credit points at the tokens that matter (AUROC, 0.5 is chance)"
        drawn.append((title, bars(title, "AUROC", groups, names)))
    for title, unit, kinds in (
        ("pMI of response and feedback", "nats", ("pmi_of_successes", "pmi_of_failures")),
        ("Where credit and tokens fall", "share", ("credit_on_answer_tokens", "answer_tokens",
                                                   "credit_on_generic_tokens", "generic_tokens")),
    ):  # fmt: skip
        series = [(name.replace("_", " "), _over_steps(files, name)) for name in kinds]
        series = [(name, points) for name, points in series if len(points) > 1]
        if series:
            drawn.append((title, lines(title, "step", unit, series)))
    return drawn


def _over_steps(files: list[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    points = []
    for file in files:
        step = number(lookup(file["responses"][0], "step")) if file["responses"] else None
        value = number(lookup(file["summary"], name, "mean"))
        if step is not None and value is not None:
            points.append((step, value))
    return points
