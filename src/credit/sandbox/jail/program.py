"""Run a program's text as Python would run a file, in a process that ends with it."""

from __future__ import annotations

import atexit
import builtins
import gc
import io
import json
import linecache
import os
import random
import sys
import threading
import traceback
import types
from typing import Any, NoReturn

from . import wire

NAME = "solution.py"
_LENIENT = "surrogateescape"  # odd bytes in, the same odd bytes out


def run(job: int, report: int) -> NoReturn:
    """Run the program in the file `job`; write what a call returned, or why it failed, to the file `report`."""
    content = json.loads(wire.read(job, 1 << 62))
    os.close(job)
    _open_streams()
    _seed()
    code = _execute(content["code"], content["call"], report)
    with _Quietly():
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as at the end of every program
    with _Quietly():
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            code = code or 1
    os._exit(code)


def _execute(text: str, call: tuple[str, list[Any]] | None, report: int) -> int:
    # A program that is only called keeps its `if __name__ == "__main__"` part to itself, as when it is imported.
    module = types.ModuleType("__main__" if call is None else "solution")
    module.__dict__.update(__builtins__=builtins, __file__=NAME)
    sys.modules[module.__name__] = module
    sys.argv = [NAME]
    text = text.removeprefix("\ufeff")  # as at the start of a file
    try:
        linecache.cache[NAME] = (len(text), None, text.splitlines(keepends=True), NAME)
        exec(compile(text, NAME, "exec", dont_inherit=True), module.__dict__)
        if call is not None:
            name, args = call
            _report(report, {"value": _find(module, name)(*args)})
    except SystemExit as end:
        return _exit_code(end.code)
    except BaseException as error:
        failed = "MemoryError" if isinstance(error, MemoryError) else "exception"
        with _Quietly():
            _report(report, {"failed": failed})
        with _Quietly():
            _print_traceback(error)
        return 1
    return 0


def _find(module: types.ModuleType, name: str) -> Any:
    """Return what a dotted name stands for; a class on the way is instantiated (`Solution.solve`)."""
    found: Any = module
    for part in name.split("."):
        if isinstance(found, type):
            found = found()
        found = getattr(found, part)
    return found


def _report(descriptor: int, content: dict[str, Any]) -> None:
    wire.write(descriptor, json.dumps(content, allow_nan=False).encode())


def _exit_code(code: Any) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    with _Quietly():
        print(code, file=sys.stderr)
    return 1


def _print_traceback(error: BaseException) -> None:
    """Print a traceback without our own frames and without endless repetitions."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    traceback.print_exception(error.with_traceback(frames), limit=-20)


def _open_streams() -> None:
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        file = io.FileIO(number, mode, closefd=False)
        file.name = f"<{name}>"  # as Python's own streams are called; templates for fast input look at these
        buffer = io.BufferedReader(file) if mode == "r" else io.BufferedWriter(file)
        stream = io.TextIOWrapper(buffer, "utf-8", _LENIENT, line_buffering=number == 2)
        stream.mode = mode  # type: ignore[attr-defined]
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _seed() -> None:
    """Make random programs repeatable. Python draws a new seed after every fork; numpy's is the zygote's."""
    random.seed(0)
    gc.enable()


class _Quietly:
    """Whatever a program left behind (a patched module, a closed stream) must not change how it ends."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> bool:
        return True
