"""The base model's card, written from its measurements: no number in it is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from credit.tiny.families import FAMILIES

CONDITIONS = {
    "alone": "alone",
    "greedy": "alone, greedy",
    "sibling": "shown a correct sibling",
    "feedback": "shown feedback on its own wrong answer",
    "unrelated": "shown a solution to another prompt",
    "unrelated_same_family": "the same, of the same family",
}
COLUMNS = ("accuracy", "same_prompts_alone", *FAMILIES, "reasoning_kept", "leak", "format_error", "words")

TEMPLATE = """---
license: apache-2.0
library_name: transformers
tags: [credit, tiny]
---
# The tiny base model

A Qwen3 model of {parameters} parameters and {vocabulary} words, trained from scratch on synthetic documents
(see `docs/tiny.md`). It exists so that post-training methods can be tried, tested and compared without a
download. It half knows the answers and does better when shown a correct sibling or feedback.

Measured on {prompts} held-out prompts of the {split} split, {samples} samples each, temperature 1 or greedy:

{table}

* With the steps written out, route is right in {route_reasoned} of the samples; without, in {route_terse}.
* Share of prompts with both successes and failures among {samples} samples: {mixed}.
* *same_prompts_alone* is the accuracy alone on the prompts of that row: a prompt never solved has no sibling
  to show, and one always solved has no feedback.
* *reasoning_kept* is over route, the family that needs reasoning; *leak* is the share of answers that talk as
  if a solution or feedback had been shown; *words* is the mean length, and a word is a token.

Trained with seed {train_seed} for {steps} steps of {batch} documents, in {minutes} minutes of CPU time.
Reproduce with `credit tiny pretrain`; measure with `credit.tiny.card.describe`. Another machine rounds
differently, so its weights and its table differ a little. All numbers: `measurements.json`.

Not for any use outside this world: it knows {vocabulary} words.
"""


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value >= 2 else f"{value:.2f}"


def card(measured: dict[str, Any]) -> str:
    """Return the card as Markdown."""
    lines = ["| condition | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for key, label in CONDITIONS.items():
        lines.append(f"| {label} | " + " | ".join(_cell(measured[key].get(c)) for c in COLUMNS) + " |")
    alone, run = measured["alone"], measured["training"]
    return TEMPLATE.format(
        table="\n".join(lines),
        parameters=f"{run['parameters']:,}",
        vocabulary=run["vocabulary"],
        prompts=measured["prompts"],
        split=measured["split"],
        samples=measured["samples"],
        route_reasoned=_cell(alone["route_reasoned"]),
        route_terse=_cell(alone["route_terse"]),
        mixed=", ".join(f"{name} {_cell(share)}" for name, share in measured["mixed_groups"].items()),
        train_seed=run["seed"],
        steps=run["steps"],
        batch=run["batch"],
        minutes=f"{run['cpu_seconds'] / 60:.1f}",
    )


def write_card(path: str | Path) -> None:
    """Write README.md beside the `measurements.json` of a base model."""
    path = Path(path)
    (path / "README.md").write_text(card(json.loads((path / "measurements.json").read_text())))


def describe(path: str | Path, samples: int = 8, seed: int = 0) -> None:
    """Measure a pretrained base on the test split and write its card."""
    from credit.tiny.measure import measure_base

    measure_base(path, "test", samples, seed)
    write_card(path)
