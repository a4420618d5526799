"""Writes docs/options.md from the option classes, and the figures of docs/theory.md: `python docs/generate.py`.

Tests keep the files up to date.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from pathlib import Path

from credit._trl import GRPOConfig
from credit.cli.diagnose import DiagnoseArguments
from credit.cli.eval import EvalArguments
from credit.cli.tasks import ValidateArguments
from credit.config import CreditConfig
from credit.experiment import RunOptions
from credit.presets import PRESETS
from credit.report.svg import standalone
from credit.report.theory_page import figures
from credit.theory.curves import collect

OUT = Path(__file__).parent / "options.md"
FIGURES = Path(__file__).parent / "images" / "theory"


def table(options: list[Field]) -> str:
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for option in options:
        default = "required" if option.default is MISSING else f"`{option.default}`"
        choices = option.metadata.get("choices")
        listed = f" One of {', '.join(f'`{c}`' for c in choices)}." if choices else ""
        lines.append(f"| `{option.name}` | {default} | {option.metadata['help']}{listed} |")
    return "\n".join(lines)


def own(kind: type, inherited: type) -> list[Field]:
    known = {f.name: f.default for f in fields(inherited)}
    return [f for f in fields(kind) if f.name not in known or f.default != known[f.name]]


def page() -> str:
    presets = "\n".join(
        f"| `{name}` | {', '.join(f'`{k}: {v}`' for k, v in values.items())} |" for name, values in PRESETS.items()
    )
    return f"""# Options

Generated from the option classes by `python docs/generate.py`; the classes are the one source of truth.
*paper* means second-hand: an account of arXiv 2605.11613 by someone who read it. *ours* means no source fixes it.

Values come from the class, then a `--config` file (a preset named inside it counts as its foundation), then a
`--preset` typed by hand, then flags. In a file, `config: NAME`, or a list of names, puts other files below it: built-in
ones, or paths seen from its folder ([recipes](../recipes/README.md)). Unknown keys are errors. Every option of TRL's
`GRPOConfig` is accepted too and keeps its meaning, or is refused with the reason; `credit train --help-all` lists them.

## `CreditConfig`: the method

{table(own(CreditConfig, GRPOConfig))}

## `credit train`: the run

{table(list(fields(RunOptions)))}

## `credit eval`

Shares model, data and sampling options with `credit train`, and adds:

{table(own(EvalArguments, RunOptions))}

## `credit tasks validate`

{table(list(fields(ValidateArguments)))}

## `credit diagnose`

The options of the method (`form`, `lam` and so on) are those of `CreditConfig`; a run's own are its `config.yaml`.

{table(list(fields(DiagnoseArguments)))}

## Presets

They set the method's own fields and nothing else: learning rate, batch and sampling stay yours.

| preset | fields |
|---|---|
{presets}
"""


def drawings() -> dict[str, str]:
    """Return the text of every figure, as `credit verify --out` writes it."""
    return {f"{figure.name}.svg": standalone(figure.drawing) for figure in figures(collect())}


if __name__ == "__main__":
    OUT.write_text(page(), encoding="utf-8")
    for name, text in drawings().items():
        (FIGURES / name).write_text(text, encoding="utf-8")
