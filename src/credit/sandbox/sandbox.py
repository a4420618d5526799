"""The pool: threads that own one zygote each and take programs from one queue."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from .jail import wire
from .levels import LEVELS, PROTECTED
from .plain import PlainProcess
from .result import OUTPUT_LIMIT, STDERR_KEPT, VALUE_LIMIT, Level, Request, Result, verdict
from .worker import Unavailable, Zygote

Jail = Zygote | PlainProcess
_Job = tuple["Future[Result]", Request]


class Sandbox:
    """Runs Python that nobody has read, a few milliseconds each.

    Args:
        level (`str`, *optional*, defaults to `"auto"`):
            `"namespaced"`, `"locked"`, `"locked_no_landlock"`, or `"auto"` for the first of these that is proven to
            hold here. `"process"` protects from nothing and must be asked for.
        workers (`int`, *optional*, defaults to `2`):
            How many programs run at once; callers beyond that wait.

    Raises `Unavailable`, or for `"auto"` a RuntimeError, where no level can be proven. Thread-safe.

        with Sandbox() as sandbox:
            sandbox.run("print(int(input()) + 1)", stdin="41").stdout   # "42\\n"
            sandbox.run("def f(x): return x + 1", call=("f", [41])).value  # 42
    """

    def __init__(self, level: str = "auto", workers: int = 2):
        if level != "auto" and level not in LEVELS:
            raise ValueError(f"level={level!r} is unknown. Use 'auto' or one of {', '.join(map(repr, LEVELS))}.")
        if workers < 1:
            raise ValueError(f"workers={workers} must be at least 1.")
        if sys.platform != "linux":
            raise RuntimeError(f"the sandbox needs Linux, not {sys.platform}. Use a container or virtual machine.")
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        try:
            first = self._add_worker(PROTECTED if level == "auto" else (level,)).result()
            self.level: Level = first.level
            self.probe: tuple[tuple[str, bool], ...] = first.probe
            for ready in [self._add_worker((self.level,)) for _ in range(workers - 1)]:
                ready.result()
        except BaseException:
            self.close()
            raise

    def run(
        self, code: str, stdin: str = "", call: tuple[str, list[Any]] | None = None, cpu_s: float = 2.0,
        memory_mb: int = 512,
    ) -> Result:  # fmt: skip
        """Run one program and wait for it.

        Args:
            code (`str`): The program.
            stdin (`str`, *optional*): Its standard input.
            call (`tuple`, *optional*): `("f", [args])` asks for a function's value, `("Solution.f", [args])` for that
                of a method; arguments and value are JSON. The part under `if __name__ == "__main__"` is not run then.
            cpu_s (`float`, *optional*, defaults to `2.0`): CPU seconds, all threads together.
            memory_mb (`int`, *optional*, defaults to `512`): Address space beyond the bare interpreter's.
        """
        return self.submit(code, stdin, call, cpu_s, memory_mb).result()

    async def arun(
        self, code: str, stdin: str = "", call: tuple[str, list[Any]] | None = None, cpu_s: float = 2.0,
        memory_mb: int = 512,
    ) -> Result:  # fmt: skip
        """Run one program without blocking the event loop; takes what `run` takes."""
        return await asyncio.wrap_future(self.submit(code, stdin, call, cpu_s, memory_mb))

    def run_many(self, jobs: Iterable[Mapping[str, Any]]) -> list[Result]:
        """Run many programs, each given as the keyword arguments of `run`, and return their results in order."""
        return [future.result() for future in [self.submit(**job) for job in jobs]]

    def submit(
        self, code: str, stdin: str = "", call: tuple[str, list[Any]] | None = None, cpu_s: float = 2.0,
        memory_mb: int = 512,
    ) -> Future[Result]:  # fmt: skip
        """Queue one program; takes what `run` takes."""
        request = Request.of(code, stdin, call, cpu_s, memory_mb)
        if os.getpid() != self._owner:
            raise RuntimeError("this Sandbox belongs to the process that forked this one. Open one in each process.")
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("this Sandbox is closed. Open another one.")
            self._jobs.put((future, request))
        return future

    def close(self, cancel: bool = False) -> None:
        """Finish what is queued (or, with `cancel`, only what is running), then end all workers."""
        with self._lock:
            self._closed = True
        with suppress(queue.Empty):
            while cancel and (job := self._jobs.get_nowait()) is not None:
                job[0].cancel()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.close(cancel=error is not None)

    def _add_worker(self, levels: Iterable[str]) -> Future[Jail]:
        ready: Future[Jail] = Future()
        thread = threading.Thread(target=_work, args=(self._jobs, tuple(levels), ready), daemon=True)
        thread.start()
        self._threads.append(thread)
        return ready


def _work(jobs: queue.SimpleQueue[_Job | None], levels: tuple[Level, ...], ready: Future[Jail]) -> None:
    """Live as one worker. Its zygote is started, used and ended by this thread alone (see `Zygote`)."""
    try:
        jail: Jail | None = _first_proven(levels)
    except BaseException as error:
        ready.set_exception(error)
        return
    ready.set_result(jail)
    level = jail.level
    while (job := jobs.get()) is not None:
        future, request = job
        if not future.set_running_or_notify_cancel():
            continue
        try:
            jail, result = _attempt(jail, level, request)
            if result.outcome == "sandbox_error":  # the machinery's error, not the program's: once more
                jail, result = _attempt(jail, level, request)
            future.set_result(result)
        except BaseException as error:
            future.set_exception(error)
    if jail is not None:
        jail.close()


def _attempt(jail: Jail | None, level: Level, request: Request) -> tuple[Jail | None, Result]:
    """Run one program, starting a jail if there is none; a jail that fails is ended, so that the next is new."""
    try:
        with wire.new_files({"stdin": request.stdin, "job": request.job}) as files:
            jail = jail or open_jail(level)
            facts = jail.ask(request, files)
            stdout, stderr, report = files[1:4]
            kept = [wire.read(stdout, OUTPUT_LIMIT), wire.tail(stderr, STDERR_KEPT), wire.read(report, VALUE_LIMIT)]
            sizes = [os.fstat(file).st_size for file in files[1:4]]
            return jail, verdict(request, level, facts, kept, sizes)
    except Exception as error:  # of the machinery: what programs do wrong is in the facts
        if jail is not None:
            jail.close()
        return None, Result("sandbox_error", "", f"{type(error).__name__}: {error}", None, 0.0, level)


def open_jail(level: Level) -> Jail:
    """Start what runs programs at a level; raise `Unavailable` where it is not proven."""
    return PlainProcess() if level == "process" else Zygote(level)


def _first_proven(levels: tuple[Level, ...]) -> Jail:
    refused: list[Unavailable] = []
    for level in levels:
        try:
            return open_jail(level)
        except Unavailable as error:
            refused.append(error)
    if len(levels) == 1:
        raise refused[0]
    reasons = " ".join(f"[{error}]" for error in refused)
    raise RuntimeError(
        f"no level of protection can be proven on this machine, and programs are not run without one. {reasons} "
        "To run programs that you trust without protection, ask for level='process'."
    )
