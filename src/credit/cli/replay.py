"""`credit replay`."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from credit.errors import explained

_PRECISION = "Is it a matter of precision? Try --dtype float32. If not, lower learning_rate."
_TEACHER = "The teacher's pass was not finite; its weights follow the student's. Try bf16 in place of fp16."
_MEANS = {
    "weights": "An earlier step spoiled the weights. Resume from a checkpoint before it, with a lower learning_rate.",
    "teacher's head": _TEACHER,
    "teacher's hidden states": _TEACHER,
    "contrast's hidden states": _TEACHER,
    "advantages": "They came with the batch: look at what the reward functions returned for these rows.",
    "gradients": f"The loss is finite, its gradient is not. {_PRECISION}",
}
"""What it means that something is the first in the order of computation that is not finite."""


def main(argv: list[str]) -> int:
    """Recompute the loss and gradient of a stopped step, and say where they are not finite, by part and row."""
    parser = argparse.ArgumentParser(
        prog="credit replay",
        description=main.__doc__,
        epilog="Status: 0 when it is not finite here either (reproduced), 1 when it is finite here, 2 when it could "
        "not be computed. See docs/faults.md.",
    )
    parser.add_argument("target", type=Path, metavar="FOLDER", help="nonfinite-step-N of a run, or a rank-R.json in it")
    parser.add_argument("--device", help="cpu, cuda, ... (default: an accelerator if there is one)")
    parser.add_argument(
        "--dtype", choices=("float64", "float32", "bfloat16", "float16"),
        help="of weights and computation, instead of the run's; is it a matter of precision?",
    )  # fmt: skip
    parser.add_argument("--model", help="the model under a saved adapter (default: the one it names)")
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl)\.")
    with explained():
        from transformers.utils import logging as hf_logging

        hf_logging.disable_progress_bar()
        from credit.replay import recorded, replay

        paths = recorded(options.target)
        found = []
        for path in paths:
            found.append(replay(path, options.device, options.dtype, options.model))
            _show(found[-1], options)
    return 0 if any(one.reproduced for one in found) else 1


def _show(found: Any, options: argparse.Namespace) -> None:
    from rich.table import Table

    from credit.cli.display import console

    record, count = found.record, len(found.stages)
    for number, stages in enumerate(found.stages, start=1):
        part = f", micro-batch {number} of {count}" if count > 1 else ""
        table = Table(box=None, title=f"step {record['step']}, rank {record['rank']}{part}", title_justify="left")
        for column in ("in the order of computation", "not finite"):
            table.add_column(column, no_wrap=True)
        table.add_column("first, or value", overflow="fold")
        for stage in stages:
            bad = f"{stage.bad} of {stage.of} {stage.unit}" if stage.bad else "-"
            table.add_row(stage.name, bad, stage.first, style="bold" if stage.bad else None)
        console.print(table)
    where = f"{options.device or found.device}, {options.dtype or 'dtype as in the run'}"
    console.print(
        f"{'reproduced' if found.reproduced else 'NOT reproduced'}: the {record['part']} was {record['value']}, and is "
        f"{found.value:.8g} here ({where})",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(_read(found, options), highlight=False, soft_wrap=True)


def _read(found: Any, options: argparse.Namespace) -> str:
    """Say what the table means and what to do next."""
    if found.reproduced:
        first = next((stage.name for stages in found.stages for stage in stages if stage.bad), "the loss")
        return _MEANS.get(first, f"It begins at the {first}. {_PRECISION}")
    if options.dtype:
        return f"Finite in {options.dtype}: it was a matter of precision. Train in it, or lower learning_rate."
    return "What is not saved made it so: another rank (see its file), another device (--device), a hook."
