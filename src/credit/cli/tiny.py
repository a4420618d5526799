"""`credit tiny pretrain`."""

from __future__ import annotations

import argparse
from pathlib import Path

from credit.errors import UserError


def main(argv: list[str]) -> int:
    """Reproduce the embedded base model from its recipe."""
    parser = argparse.ArgumentParser(prog="credit tiny", description="The embedded offline world.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    pre = commands.add_parser(
        "pretrain", help=main.__doc__, description=f"{main.__doc__} About six minutes on one core."
    )
    pre.add_argument("--out", type=Path, required=True, help="folder for the model; must not exist or be empty")
    pre.add_argument("--steps", type=int, default=None, help="optimiser steps (default: the recipe's)")
    pre.add_argument("--seed", type=int, default=0, help="seed of documents and weights")
    options = parser.parse_args(argv)
    if options.out.exists() and (options.out.is_file() or any(options.out.iterdir())):
        raise UserError(f"{options.out} is not empty. Choose another --out.")
    from credit.tiny.card import describe
    from credit.tiny.pretrain import pretrain

    pretrain(options.out, **({} if options.steps is None else {"steps": options.steps}), seed=options.seed)
    describe(options.out)
    print(f"model and card with measured accuracies: {options.out}")
    return 0
