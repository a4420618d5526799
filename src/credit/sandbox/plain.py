"""Level "process": an ordinary subprocess with limits on time and memory. It protects from nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import Any

from .jail.watch import Times, watch
from .levels import environment, python
from .result import OUTPUT_LIMIT, Level, Request


class PlainProcess:
    """One new interpreter per program, with the caller's own rights."""

    level: Level = "process"
    probe: tuple[tuple[str, bool], ...] = ()

    def ask(self, request: Request) -> tuple[dict[str, Any], list[bytes]]:
        """Run one program in a subprocess."""
        with (
            tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout,
            tempfile.TemporaryFile() as stderr, tempfile.TemporaryFile() as report,
        ):  # fmt: skip
            for file, text in ((source, request.code), (stdin, request.stdin)):
                file.write(text)
                file.seek(0)
            job = json.dumps({**request.header(), "source": source.fileno(), "report": report.fileno()})
            process = subprocess.Popen(
                python("unguarded", job), stdin=stdin, stdout=stdout, stderr=stderr, env=environment(),
                pass_fds=(source.fileno(), report.fileno()), start_new_session=True,
            )  # fmt: skip
            ending = watch(process.pid, Times(request.cpu_s))
            process.returncode = os.waitstatus_to_exitcode(ending.status)  # `watch` has reaped it
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # what it may have left behind, unless that hid
            outputs = []
            for file in (stdout, stderr, report):
                file.seek(0)
                outputs.append(file.read(OUTPUT_LIMIT + 1))
        # A program without guards may be killed by anyone, itself included: that is its own failure here.
        return {"started": True, "status": ending.status, "cpu": ending.cpu, "stopped": ending.stopped}, outputs

    def close(self) -> None:
        """Nothing is left to end."""
