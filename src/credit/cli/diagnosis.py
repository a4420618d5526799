"""How `credit diagnose` looks in a terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from credit.cli.display import console
from credit.diagnostics.choices import MEANING as CHOICES
from credit.diagnostics.summary import MEANING


def show_diagnosis(result: dict[str, Any]) -> None:
    """Print the measures of the first file, the last file and all, then the gap, then everything odd."""
    files, everything = result["files"], result["all"]
    columns = [(files[0]["file"], files[0]["summary"])]
    if len(files) > 1:
        columns += [(files[-1]["file"], files[-1]["summary"]), (f"all {len(files)} files", everything["summary"])]
    counts = everything["counts"]
    table = Table(
        title=f"{result['target']}: {counts['responses']} responses, {counts.get('measured', 0)} measured, "
        f"{counts.get('tokens', 0)} tokens",
        caption="means over prompts with 95% bootstrap intervals; – is a number that does not exist",
    )
    table.add_column("measure", no_wrap=True)
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=len(columns) == 1)
    if len(columns) == 1:
        table.add_column("meaning")
    for name, meaning in MEANING.items():
        said = [meaning] if len(columns) == 1 else []
        table.add_row(name.replace("_", " "), *(_cell(summary[name]) for _, summary in columns), *said)
    console.print(table)
    if result["compatibility"] is not None:
        _choices(result["compatibility"])
    for label, key in (("without a teacher", "without_teacher"), ("without a negative", "without_negative"),
                       ("odd", "odd")):  # fmt: skip
        if counts.get(key):
            console.print(f"{counts[key]} responses {label}", highlight=False)
    problems = dict.fromkeys(
        [p for file in files for p in file["problems"]] + (result["compatibility"] or {"problems": []})["problems"]
    )
    for sentence in [*result["notes"], *problems]:
        console.print(f"- {sentence}", highlight=False, markup=False, soft_wrap=True)


def _choices(found: dict[str, Any]) -> None:
    if not found["items"]:
        return
    table = Table(title=f"posterior compatibility at the answer token, {len(found['items'])} multiple-choice items")
    table.add_column("measure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("meaning")
    for name, meaning in CHOICES.items():
        table.add_row(name.replace("_", " "), _cell(found["summary"][name]), meaning)
    console.print(table)


def _cell(estimate: dict[str, Any] | None) -> str:
    if estimate is None or estimate["mean"] is None:
        return "–"
    if estimate["low"] is None:
        return f"{estimate['mean']:.3f} (one prompt)"
    return f"{estimate['mean']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
