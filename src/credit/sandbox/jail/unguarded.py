"""Run one program in a process of its own, with limits and without guards."""

from __future__ import annotations

import json
import os
import sys

from . import limits, program


def main() -> None:
    """Run the program that the first argument describes."""
    config = json.loads(sys.argv[1])
    os.chdir("/")
    limits.apply(limits.Limits(**config["limits"]), limits.address_space())
    program.run(config["job"], config["report"])
