"""One zygote, seen from the pool: start it, ask it, end it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from .jail import wire
from .jail.watch import Times
from .levels import NEEDS, command, environment
from .result import Level, Request

_START_S = 60
_GRACE_S = 30


class Unavailable(RuntimeError):
    """A level that cannot be proven here; says why and what it needs."""

    def __init__(self, level: Level, reason: str, probe: tuple[tuple[str, bool], ...] = ()):
        super().__init__(f"level {level!r} is not available: {reason}. It needs {NEEDS[level]}.")
        self.level = level
        self.reason = reason
        self.probe = probe


class Zygote:
    """A running zygote whose guards were just proven. Start it in a thread that outlives it.

    The kernel ends it together with the *thread* that started it, so that nothing outlives a killed trainer.
    """

    def __init__(self, level: Level):
        self.level: Level = level
        with tempfile.TemporaryDirectory(prefix="credit-sandbox-") as folder:
            canary = Path(folder) / "canary"
            canary.write_text("readable for the caller only\n")
            try:
                self._start(command(level, str(canary)))
                self.probe: tuple[tuple[str, bool], ...] = tuple((act, refused) for act, refused in self._hello())
            except (OSError, EOFError) as error:
                raise Unavailable(level, self._complaint(error)) from error
        if leaks := [act for act, refused in self.probe if not refused]:
            self.close()
            raise Unavailable(level, f"a confined process could still {', '.join(leaks)}", self.probe)

    def _start(self, words: list[str]) -> None:
        self._link, theirs = wire.pair()
        with theirs:
            self.process = subprocess.Popen(
                words, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(),
                cwd="/", start_new_session=True,
            )  # fmt: skip

    def _hello(self) -> list[tuple[str, bool]]:
        self._link.settimeout(_START_S)
        header, _ = wire.receive(self._link)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return header["probe"]

    def _complaint(self, error: Exception) -> str:
        """Return why a start failed, in one line; ends the process."""
        if not hasattr(self, "process"):
            text = (
                f"{sys.executable} cannot be started by this user" if isinstance(error, PermissionError) else str(error)
            )
            self._hang_up()
            return text
        self.process.kill()
        assert self.process.stderr is not None
        lines = self.process.stderr.read().decode(errors="replace").strip().splitlines()
        self.close()
        return lines[-1] if lines else f"the zygote gave no answer ({error!r})"

    def ask(self, request: Request, files: list[int]) -> dict[str, Any]:
        """Run one program and return how it ended; raise OSError or EOFError when the zygote is gone or stuck."""
        # The zygote stops a program long before; this is for a zygote that itself is stuck.
        self._link.settimeout(Times(request.cpu_s).wall + _GRACE_S)
        wire.send(self._link, request.limits, files)
        return wire.receive(self._link)[0]

    def close(self) -> None:
        """End the zygote and, with it, what it was running."""
        self._hang_up()
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _hang_up(self) -> None:
        with suppress(AttributeError):  # a start may fail before there is a link
            self._link.close()
