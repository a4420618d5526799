"""A zygote: a warm, single-threaded interpreter that forks once per program and never runs one itself."""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import linux, probe, program, wire
from .child import JOB, REPORT, Guards, confine
from .limits import Limits, address_space
from .watch import Ending, Times, watch

# What programs import most, so that it costs them nothing. Every module makes every fork a little slower.
_COMMON = """
_strptime abc array ast asyncio atexit bisect builtins calendar cmath codecs collections collections.abc
concurrent.futures.thread contextlib copy dataclasses datetime decimal encodings.latin_1 enum fractions functools gc
heapq io itertools json linecache math numbers operator os queue random re resource sched signal socket statistics
string struct subprocess sys threading time traceback types typing unittest warnings
numpy numpy.random sortedcontainers
"""
# What else the level that opens no files can offer; at the others a program that wants it reads it.
_RARE = """
argparse base64 binascii bz2 cProfile concurrent.futures contextvars copyreg csv ctypes difflib dis encodings.ascii
encodings.idna encodings.utf_16 errno fcntl fileinput fnmatch getopt gettext glob graphlib gzip hashlib hmac html
inspect keyword locale logging lzma mmap optparse pathlib pickle platform pprint profile pstats reprlib secrets select
selectors shlex shutil stat tempfile termios textwrap timeit token tokenize unicodedata urllib.parse uuid weakref
zipfile zlib zoneinfo numpy.fft numpy.linalg numpy.ma numpy.polynomial
"""


def main() -> None:
    """Serve programs over the socket on descriptor 0 until it closes."""
    config = json.loads(sys.argv[1])
    control = socket.socket(fileno=os.dup(0))
    linux.prctl(linux.SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # a machine short of memory ends a program, never the trainer
    linux.drop_capabilities()
    sys.path[:] = [entry for entry in sys.path if any(_below(entry, root) for root in config["roots"])]
    guards = Guards.of(config["level"], config["roots"])
    _preload(_COMMON if guards.ruleset is not None else _COMMON + _RARE)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    guards.occupied = address_space()
    zygote = Zygote(guards, control)
    wire.send(control, {"probe": zygote.probe(config["canary"])})
    os.dup2(null, 2)  # until here the pool listens to complaints
    os.close(null)
    while True:
        try:
            job, files = wire.receive(control)
        except (EOFError, ConnectionError):
            return
        facts = zygote.run(job, files, lambda: program.run(JOB, REPORT))
        for file in files:
            os.close(file)
        wire.send(control, facts)


class Zygote:
    """Forks and watches. It never looks into the files it hands on."""

    def __init__(self, guards: Guards, control: socket.socket):
        self._guards = guards
        self._hangup = select.poll()
        self._hangup.register(control, select.POLLHUP | select.POLLRDHUP)
        # Far above the descriptors that a fork gives new meanings.
        low = os.eventfd(0, os.EFD_NONBLOCK)
        self._started = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 64)
        os.close(low)

    def probe(self, canary: str) -> list[tuple[str, bool]]:
        """Try the forbidden acts in a throw-away fork; return (act, whether it was refused)."""
        job = {"cpu_s": 5.0, "memory": 512 << 20, "output": 1 << 20}
        with wire.new_files({}) as files:
            facts = self.run(job, files, lambda: probe.run(canary, REPORT))
            stderr, report = wire.read(files[2], 1000), wire.read(files[3], 1 << 20)
        if not facts["started"] or facts["status"] != 0:
            step = "ended early" if facts["started"] else "could not be confined"
            raise RuntimeError(f"the probe {step}: {stderr.decode(errors='replace').strip() or facts}")
        return json.loads(report)

    def run(self, job: dict[str, Any], files: list[int], body: Callable[[], None]) -> dict[str, Any]:
        """Run `body` in a confined fork with these files and return how it ended."""
        pid = os.fork()
        if pid == 0:
            self._child(job, files, body)
        return self._facts(watch(pid, Times(job["cpu_s"]), lambda: bool(self._hangup.poll(0))))

    def _child(self, job: dict[str, Any], files: list[int], body: Callable[[], None]) -> None:
        try:
            confine(self._guards, files, Limits(job["cpu_s"], job["memory"], job["output"]), self._started)
            body()
        except BaseException as error:
            os.write(files[2], f"{type(error).__name__}: {error}".encode(errors="replace"))
        finally:
            os._exit(1)

    def _facts(self, ending: Ending) -> dict[str, Any]:
        started = False
        with suppress(BlockingIOError):
            started = os.eventfd_read(self._started) > 0
        return {"started": started, "status": ending.status, "cpu": ending.cpu, "stopped": ending.stopped}


def _preload(names: str) -> None:
    for name in names.split():
        with suppress(Exception):  # not installed, not compiled in, broken: a program that needs it will hear of it
            importlib.import_module(name)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    gc.collect()
    gc.disable()  # programs switch it on; what is frozen stays shared between zygote and forks
    gc.freeze()


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
