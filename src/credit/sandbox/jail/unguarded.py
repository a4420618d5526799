"""Run one program in a process of its own, with limits and without guards."""

from __future__ import annotations

import json
import os
import sys

from . import limits, program


def main() -> None:
    """Run the program that the first argument describes."""
    job = json.loads(sys.argv[1])
    with open(job["source"], "rb") as file:
        source = file.read()
    os.chdir("/")
    limits.apply(job["cpu_s"], limits.address_space() + job["memory"], job["output"])
    program.run(source, tuple(job["call"]) if job["call"] else None, job["report"])
