"""`credit push RUN --to OWNER/NAME`."""

from __future__ import annotations

import argparse
from pathlib import Path

from credit.errors import explained


def main(argv: list[str]) -> int:
    """Send a run's final model with its card to the Hugging Face hub, and its options, metrics, evaluation and report.

    Checkpoints, prompts, answers, credentials and paths of this machine stay here.
    """
    parser = argparse.ArgumentParser(prog="credit push", description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--to", required=True, metavar="OWNER/NAME", help="repository on the hub; made if not there")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--unfinished", action="store_true", help="send a run that did not finish, if its model is there"
    )
    parser.add_argument(
        "--dry-run", "--dry_run", action="store_true", help="list the files, show the card, send nothing"
    )
    options = parser.parse_args(argv)
    with explained():
        from huggingface_hub.utils import validate_repo_id

        from credit.sharing.push import CARD, refuse_offline, run_files, send

        validate_repo_id(options.to)
        if not options.dry_run:
            refuse_offline()
        files = run_files(options.run, options.unfinished)
        for name, content in files.items():
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            print(f"{size:>15,} bytes  {name}")
        if options.dry_run:
            card = files[CARD]
            text = (card if isinstance(card, bytes) else card.read_bytes()).decode()
            print(f"\n{CARD}:\n\n{text}\ndry run: nothing was sent to {options.to}")
            return 0
        print(f"sent: {send(files, options.to, options.private or None).repo_url}")
    return 0
