"""Runs cells, several at a time: each is `credit train` in a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

from credit.errors import UserError
from credit.study.cells import Cell, resumable, status

PROGRAM = (sys.executable, "-m", "credit")
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
"""How long an interrupted cell may take to write its last words before it is killed."""
_BULKY = ("model", "completions", "eval", "credit", "runs")


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: its exit status (0 is complete) and its seconds here."""

    cell: Cell
    code: int
    seconds: float


@contextmanager
def claimed(study: Path) -> Iterator[IO[str]]:
    """Hold a study's folder. Cells inherit the lock, so that those of a killed study are never started twice."""
    study.mkdir(parents=True, exist_ok=True)
    with (study / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{study} is being worked on, by another credit compare or by cells of a killed one. Wait for them."
            ) from None
        yield lock


def finished(cell: Cell, study: Path) -> bool:
    """Return whether a cell has nothing left to do."""
    return status(cell.folder(study)) == "complete"


def run_cells(
    cells: Sequence[Cell], study: Path, lock: IO[str], jobs: int, keep: bool, done: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run cells, at most `jobs` at a time, and call `done` after each; a failure does not stop the others.

    On KeyboardInterrupt the running cells are interrupted, waited for, and the exception goes on.
    """
    waiting, running, outcomes = list(cells), list[_Process](), list[Outcome]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_Process(waiting.pop(0), study, lock))
            for process in [p for p in running if p.ended()]:
                running.remove(process)
                outcome = process.outcome()
                if outcome.code == 0 and not keep:
                    prune(outcome.cell.folder(study))
                outcomes.append(outcome)
                done(outcome)
            time.sleep(POLL_SECONDS)
    except BaseException:
        for process in running:
            process.interrupt()
        for process in running:
            process.wait()
        raise
    return outcomes


def prune(folder: Path) -> None:
    """Leave of a finished run its options, metrics, scores and report."""
    for path in [*(folder / name for name in _BULKY), *folder.glob("checkpoint-*")]:
        shutil.rmtree(path, ignore_errors=True)


def last_words(cell: Cell, study: Path) -> str:
    """Return the last line a cell wrote."""
    log = _beside(cell.folder(study), ".log")
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"


def _beside(folder: Path, ending: str) -> Path:
    return folder.parent / (folder.name + ending)


class _Process:
    """One running cell. Its config and its log lie beside its folder."""

    def __init__(self, cell: Cell, study: Path, lock: IO[str]):
        folder = cell.folder(study)
        folder.parent.mkdir(parents=True, exist_ok=True)
        config, log = _beside(folder, ".yaml"), _beside(folder, ".log")
        config.write_text(yaml.safe_dump(cell.options, sort_keys=False, allow_unicode=True), encoding="utf-8")
        command = ["train", "--config", str(config), "--output_dir", str(folder)]
        command += ["--resume"] if resumable(folder) else []
        threads = str(cell.options["torch_threads"] or 1)
        self.cell, self.start = cell, time.monotonic()
        with log.open("a", encoding="utf-8") as out:
            self.process = subprocess.Popen(
                [*PROGRAM, *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, pass_fds=(lock.fileno(),),
                env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
                start_new_session=True,  # Ctrl-C reaches the study alone, which tells each cell once
            )  # fmt: skip

    def ended(self) -> bool:
        return self.process.poll() is not None

    def outcome(self) -> Outcome:
        return Outcome(self.cell, self.process.returncode, time.monotonic() - self.start)

    def interrupt(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)

    def wait(self) -> None:
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def usable_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
