"""Level "process": an ordinary subprocess with limits on time and memory. It protects from nothing."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from .jail.watch import Times, watch
from .levels import environment, python
from .result import Level, Request


class PlainProcess:
    """One new interpreter per program, with the caller's own rights."""

    level: Level = "process"
    probe: tuple[tuple[str, bool], ...] = ()

    def ask(self, request: Request, files: list[int]) -> dict[str, Any]:
        """Run one program in a subprocess and return how it ended."""
        stdin, stdout, stderr, report, job = files
        process = subprocess.Popen(
            python("unguarded", json.dumps({"limits": request.limits, "report": report, "job": job})),
            stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=(report, job), env=environment(),
            start_new_session=True,
        )  # fmt: skip
        ending = watch(process.pid, Times(request.cpu_s), group=True)
        process.returncode = os.waitstatus_to_exitcode(ending.status)  # `watch` has reaped it
        return {"started": True, "status": ending.status, "cpu": ending.cpu, "stopped": ending.stopped}

    def close(self) -> None:
        """Nothing is left to end."""
