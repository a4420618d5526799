"""A zygote: a warm, single-threaded interpreter that forks once per program and never runs one itself."""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from . import linux, probe, program, wire
from .child import REPORT, Guards, confine
from .limits import address_space
from .watch import Ending, Times, watch

# What programs import most, so that it costs them nothing; the level that opens no files has nothing else.
PRELOADED = """
abc argparse array ast asyncio base64 binascii bisect builtins calendar cmath collections collections.abc
concurrent.futures contextlib copy csv ctypes dataclasses datetime decimal difflib enum errno fractions functools gc
graphlib hashlib heapq hmac html inspect io itertools json keyword linecache locale logging math numbers operator os
pathlib pickle platform pprint queue random re resource secrets select selectors shutil signal socket statistics
string struct subprocess sys tempfile textwrap threading time timeit token tokenize traceback types typing unicodedata
unittest uuid warnings weakref zlib zoneinfo encodings.ascii encodings.idna encodings.latin_1 encodings.utf_16
numpy numpy.random numpy.linalg sortedcontainers
""".split()
_THIRD_PARTY = ("numpy", "sortedcontainers")


def main() -> None:
    """Serve programs over the socket on descriptor 0 until it closes."""
    config = json.loads(sys.argv[1])
    control = socket.socket(fileno=os.dup(0))
    linux.prctl(linux.SET_PDEATHSIG, signal.SIGKILL)
    linux.drop_capabilities()
    sys.path[:] = [entry for entry in sys.path if any(_below(entry, root) for root in config["roots"])]
    guards = Guards.of(config["level"], config["roots"])
    _preload()
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
            header, blobs = wire.receive(control)
        except (EOFError, ConnectionError):
            return
        facts, outputs = zygote.run(header, *blobs)
        wire.send(control, facts, *outputs)


class Zygote:
    """Forks, watches and collects."""

    def __init__(self, guards: Guards, control: socket.socket):
        self._guards = guards
        self._control = control
        self._hangup = select.poll()
        self._hangup.register(control, select.POLLHUP | select.POLLRDHUP)
        self._started = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def run(self, job: dict[str, Any], source: bytes, stdin: bytes) -> tuple[dict[str, Any], list[bytes]]:
        """Run one program in one fork and return how it ended and what it wrote."""
        call = tuple(job["call"]) if job["call"] else None
        return self._fork(job, stdin, lambda: program.run(source, call, REPORT))

    def probe(self, canary: str) -> list[tuple[str, bool]]:
        """Try the forbidden acts in a throw-away fork; return (act, whether it was refused)."""
        job = {"cpu_s": 5.0, "memory": 512 << 20, "output": 1 << 20}
        facts, outputs = self._fork(job, b"", lambda: probe.run(canary, REPORT))
        if facts["started"] and facts["status"] == 0:
            return [(act, blocked is True) for act, blocked in json.loads(outputs[2])]
        raise RuntimeError(f"the probe ended with {facts}: {outputs[1].decode(errors='replace')}")

    def _fork(self, job: dict[str, Any], stdin: bytes, body: Any) -> tuple[dict[str, Any], list[bytes]]:
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr", "report")]
        try:
            _write(files[0], stdin)
            pid = os.fork()
            if pid == 0:
                self._child(job, files, body)
            ending = watch(pid, Times(job["cpu_s"]), lambda: bool(self._hangup.poll(0)))
            return self._facts(ending), [_read(file, job["output"]) for file in files[1:]]
        finally:
            for file in files:
                os.close(file)

    def _child(self, job: dict[str, Any], files: list[int], body: Any) -> None:
        try:
            limit = (job["cpu_s"], job["memory"], job["output"])
            confine(self._guards, (files[0], files[1], files[2], files[3]), limit, self._started)
            body()
        except BaseException as error:
            os.write(files[2], f"{type(error).__name__}: {error}".encode(errors="replace"))
        finally:
            os._exit(1)

    def _facts(self, ending: Ending) -> dict[str, Any]:
        try:
            started = os.eventfd_read(self._started) > 0
        except BlockingIOError:
            started = False
        return {"started": started, "status": ending.status, "cpu": ending.cpu, "stopped": ending.stopped}


def _preload() -> None:
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            if name.partition(".")[0] not in _THIRD_PARTY:
                raise
    gc.collect()
    gc.disable()  # programs switch it on; what is frozen stays shared between zygote and forks
    gc.freeze()


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.lseek(file, 0, os.SEEK_SET)


def _read(file: int, limit: int) -> bytes:
    """Return what was written to a descriptor, at most one byte more than allowed."""
    return os.pread(file, min(os.fstat(file).st_size, limit + 1), 0)
