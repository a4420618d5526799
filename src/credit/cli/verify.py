"""`credit verify`."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from credit.errors import explained


def main(argv: list[str]) -> int:
    """Check what the self-distillation reward measures, exactly, on worlds small enough to sum over."""
    options = _parser().parse_args(argv)
    import torch

    from credit.theory import BREAKS, IDENTITIES, breaks_of, dependants, verify

    torch.set_num_threads(1)  # the sums are tiny
    with explained():
        broken = None if options.broken is None else breaks_of(options.broken)
        if options.out and options.out.exists() and not options.out.is_dir():
            raise ValueError(f"--out {options.out} is a file. Name a folder.")
    rows = verify(broken)
    failed = [row.name for row in rows if not row.passed]
    page = None
    if options.out:
        from credit.report.theory_page import write_verification
        from credit.theory.curves import collect

        claims = {identity.name: (identity.statement, identity.needs) for identity in IDENTITIES}
        breaks = {name: spoiled.what for name, spoiled in BREAKS.items()}
        with explained():
            page = write_verification(options.out, [row.as_json() for row in rows], claims, collect(), breaks, broken)
    if options.json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        _print(rows)
        if broken:
            expected = dependants(broken)
            print(f"broken on purpose: {broken} ({BREAKS[broken].what}).")
            as_declared = set(failed) == set(expected)
            print(
                f"{len(failed)} identities fail, "
                + ("exactly those that rest on it." if as_declared else f"expected were: {', '.join(expected)}.")
            )
        else:
            print(f"{len(rows) - len(failed)} of {len(rows)} identities hold.")
        if page:
            print(f"page: {page}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    from credit.theory import BREAKS

    listed = "\n".join(f"  {name:20} {spoiled.what}" for name, spoiled in BREAKS.items())
    parser = argparse.ArgumentParser(
        prog="credit verify",
        description=f"{main.__doc__} Float64, no model, a few seconds on one core. Exit status 1 if an identity fails.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="sources: abstract (claimed in the paper's abstract), second-hand (reported by someone who read the\n"
        "paper), ours (derived or chosen here).\n\n"
        f"what --break spoils:\n{listed}\n"
        "The name of an identity (--break credit-to-go) spoils the first ingredient it rests on.",
    )
    parser.add_argument("--json", action="store_true", help="print rows of name, source, error, tolerance, passed")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write verify.html, verify.json and the figures")
    parser.add_argument(
        "--break", dest="broken", metavar="NAME", help="spoil one ingredient, to see that its identities fail"
    )
    return parser


def _print(rows) -> None:
    from rich.table import Table

    from credit.cli.display import console
    from credit.theory import IDENTITIES

    statements = {identity.name: identity.statement for identity in IDENTITIES}
    wide = console.width >= 120
    table = Table(caption="largest error over one hand-made and five random worlds, float64")
    table.add_column("identity", no_wrap=True)
    if wide:
        table.add_column("what is claimed")
    for column in ("source", "error", "tolerance", ""):
        table.add_column(column, no_wrap=True, justify="right" if column in ("error", "tolerance") else "left")
    for row in rows:
        error = f"{row.error:.1e}" if math.isfinite(row.error) else "not a number"
        cells = [row.name, *([statements[row.name]] if wide else []), row.source, error, f"{row.tolerance:.0e}"]
        table.add_row(*cells, "pass" if row.passed else "FAIL", style=None if row.passed else "bold red")
    console.print(table)
