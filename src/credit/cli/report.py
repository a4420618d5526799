"""`credit report RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path

from credit.errors import UserError


def main(argv: list[str]) -> int:
    """Write a run's report.html again, from its files alone."""
    parser = argparse.ArgumentParser(prog="credit report", description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder of a run")
    run = parser.parse_args(argv).run
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} holds no run (no config.yaml). Name the --output_dir of a training run.")
    from credit.report import write_report

    print(f"report: {write_report(run)}")
    return 0
