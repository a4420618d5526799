"""The command line: `credit COMMAND`. Commands are imported when called, so that help is instant."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from importlib import import_module

from credit import __version__
from credit.errors import Terminated, UserError

COMMANDS = {
    "train": "train on the embedded world, or any causal LM and rows of your own",
    "eval": "sample and grade held-out prompts: avg@k, pass@k, greedy, with intervals",
    "tasks": "list, show and validate tasks: does each row's own right answer get the full score?",
    "verify": "check the identities of the reward on exact worlds; non-zero exit if one fails",
    "diagnose": "measure what token credit pays for: pMI, S, G, R, assumptions, per response and token",
    "inspect": "token-credit viewer of a run or file: one HTML page, tokens coloured by S, G, r, R",
    "compare": "methods side by side: a study file, tuned on validation rows, compared by seed",
    "report": "write report.html again from a run's files",
    "replay": "recompute a step that was stopped because its loss or gradient was not finite, and say where it is so",
    "push": "send a run's final model with its card and evidence to the hub",
    "plan": "estimate memory and time of a training step on paper, by component; loads no weights",
    "doctor": "versions, devices, the proven sandbox level, and what would run where",
    "tiny": "the embedded world: `credit tiny pretrain` reproduces its base model",
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit status. Errors a user can mend are one line and status 2."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="credit",
        description="Post-train language models by self-distillation with input-specific credit (arXiv 2605.11613).",
        epilog="first run, no downloads:  credit train --config quickstart\n"
        "help of a command:        credit COMMAND --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"credit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    if not argv:
        parser.print_help()
        return 2
    chosen, rest = parser.parse_known_args(argv[:1])[0].command, argv[1:]
    try:
        return import_module(f"credit.cli.{chosen}").main(rest)
    except UserError as error:
        if os.environ.get("CREDIT_DEBUG") == "1":
            raise
        print(f"credit {chosen}: error: {error}", file=sys.stderr)
        return error.status
    except ModuleNotFoundError as error:
        if error.name in ("trl", "transformers", "accelerate", "datasets", "yaml", "rich", "pyarrow"):
            print(
                f"credit {chosen}: error: {error.name} is not installed. Run: pip install 'credit-distill[train]'",
                file=sys.stderr,
            )
            return 2
        raise
    except BrokenPipeError:  # `credit ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as stop:
        return interrupted(chosen, stop, " Nothing is lost: the same command goes on." if chosen == "compare" else "")


def interrupted(command: str, stop: KeyboardInterrupt, hint: str) -> int:
    """Say that a command was stopped from outside, and how to go on; return its exit status."""
    terminated = isinstance(stop, Terminated)
    print(f"\ncredit {command}: {f'stopped: {stop}' if terminated else 'interrupted'}.{hint}", file=sys.stderr)
    return 128 + (signal.SIGTERM if terminated else signal.SIGINT)
