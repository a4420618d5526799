"""The sandbox's promises to its callers: arguments, outcomes, levels, errors."""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import credit.sandbox
from credit.sandbox import OUTPUT_LIMIT, Sandbox, sanitise

ROOM = Path(credit.sandbox.__file__).parent


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        opened = Sandbox(workers=2)
    except RuntimeError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.mark.parametrize(
    ("code", "outcome", "said"),
    [
        ("print('x')", "ok", ""),
        ("1 / 0", "runtime_error", "ZeroDivisionError"),
        ("def f(:", "runtime_error", "SyntaxError"),
        ("x = '\0'", "runtime_error", "null bytes"),
        ("raise SystemExit(3)", "runtime_error", ""),
        ("import sys; sys.exit('why')", "runtime_error", "why"),
        ("input()", "runtime_error", "EOFError"),
        ("import ctypes; ctypes.string_at(0)", "runtime_error", "SIGSEGV"),
        ("import os; os.abort()", "runtime_error", "SIGABRT"),
        ("while True: pass", "time_limit", "0.3"),
        ("import time; time.sleep(100)", "time_limit", "asleep"),
        ("x = bytearray(1 << 31)", "memory_limit", "MemoryError"),
        (f"print('x' * {OUTPUT_LIMIT + 1})", "output_limit", str(OUTPUT_LIMIT)),
    ],
)
def test_outcomes(sandbox: Sandbox, code: str, outcome: str, said: str) -> None:
    result = sandbox.run(code, cpu_s=0.3)
    assert result.outcome == outcome, result
    assert said in result.stderr
    assert result.value is None
    assert result.level == sandbox.level


def test_output_of_the_allowed_size_is_ok(sandbox: Sandbox) -> None:
    result = sandbox.run(f"print('x' * {OUTPUT_LIMIT - 1})", cpu_s=5)
    assert (result.outcome, len(result.stdout)) == ("ok", OUTPUT_LIMIT)


def test_a_traceback_shows_the_programs_own_lines_only(sandbox: Sandbox) -> None:
    stderr = sandbox.run("def f():\n    return [][1]\nf()").stderr
    assert 'File "solution.py", line 2, in f\n    return [][1]' in stderr
    assert "IndexError: list index out of range" in stderr
    assert "credit" not in stderr
    assert "jail" not in stderr


def test_a_value_must_be_json(sandbox: Sandbox) -> None:
    result = sandbox.run("def f(): return {1, 2}", call=("f", []))
    assert result.outcome == "runtime_error"
    assert "set is not JSON serializable" in result.stderr


def test_an_unfinished_program_still_shows_what_it_said(sandbox: Sandbox) -> None:
    result = sandbox.run("print('so far', flush=True)\nwhile True: pass", cpu_s=0.2)
    assert (result.outcome, result.stdout) == ("time_limit", "so far\n")


def test_the_same_program_says_the_same(sandbox: Sandbox) -> None:
    code = "import random\nprint({'a', 'b', 'c', 'd'}, hash('x'), random.random(), random.sample(range(99), 5))"
    results = sandbox.run_many([{"code": code}] * 6)
    assert len({result.stdout for result in results}) == 1


def test_many_callers_share_the_workers(sandbox: Sandbox) -> None:
    results = sandbox.run_many({"code": f"print({i})", "stdin": "", "cpu_s": 1.0} for i in range(40))
    assert [result.stdout for result in results] == [f"{i}\n" for i in range(40)]
    seen: list[str] = []
    threads = [threading.Thread(target=lambda i=i: seen.append(sandbox.run(f"print({i})").stdout)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(f"{i}\n" for i in range(10))


def test_arun_leaves_the_event_loop_free(sandbox: Sandbox) -> None:
    async def both() -> tuple[list[str], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        slow = "import time; time.sleep(0.2); print(input())"
        results = await asyncio.gather(*(sandbox.arun(slow, stdin=str(i)) for i in range(2)))
        ticking.cancel()
        return [result.stdout for result in results], ticks

    outputs, ticks = asyncio.run(both())
    assert outputs == ["0\n", "1\n"]
    assert ticks >= 5


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"code": b"x"}, TypeError, "code must be a str"),
        ({"code": "", "stdin": 3}, TypeError, "stdin must be a str"),
        ({"code": "", "cpu_s": 0}, ValueError, "cpu_s=0"),
        ({"code": "", "memory_mb": 1}, ValueError, "memory_mb=1"),
        ({"code": "", "call": "f"}, ValueError, "call='f'"),
        ({"code": "", "call": ("f()", [])}, ValueError, "name a function"),
        ({"code": "", "call": ("f", [float("nan")])}, ValueError, "JSON"),
        ({"code": "", "call": ("f", [object()])}, ValueError, "JSON"),
    ],
)
def test_wrong_arguments_are_the_callers_errors(
    sandbox: Sandbox, arguments: dict, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=None) as raised:
        sandbox.run(**arguments)
    assert said in str(raised.value)


def test_levels_are_named_and_never_weakened() -> None:
    with pytest.raises(ValueError, match="level='docker' is unknown"):
        Sandbox("docker")
    with pytest.raises(ValueError, match="workers=0"):
        Sandbox(workers=0)


def test_a_closed_sandbox_says_so() -> None:
    with Sandbox("process", workers=1) as closed:
        assert closed.level == "process"
        assert closed.probe == ()
    with pytest.raises(RuntimeError, match="closed"):
        closed.run("")


def test_leaving_by_an_exception_leaves_the_queue() -> None:
    futures = []

    def interrupted() -> None:
        with Sandbox("process", workers=1) as sandbox:
            futures.extend(sandbox.submit("import time; time.sleep(0.5)") for _ in range(20))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sum(future.cancelled() for future in futures) >= 18


def test_another_process_must_open_its_own() -> None:
    script = """
import os
from credit.sandbox import Sandbox
with Sandbox("process", workers=1) as sandbox:
    sandbox._owner = os.getppid()
    try: sandbox.run("")
    except RuntimeError as error: print(error)
    sandbox._owner = os.getpid()
"""
    assert "Open one in each process" in _python("-c", script)


def test_the_room_imports_nothing_but_the_standard_library() -> None:
    for file in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level <= (2 if file.parent != ROOM else 1)
                names = [node.module or ""] if node.level == 0 else []
            for name in names:
                assert name.partition(".")[0] in sys.stdlib_module_names, f"{file.name} imports {name}"


def test_sanitise_leaves_text_only() -> None:
    hostile = "\x1b[31mred\x1b[0m \x1b]0;title\x07a\x00b\x08\u202ec\u200bd\ufeff\U000e0041\x9be\r\nf\rg\u2028h\ttab "
    assert sanitise(hostile + "\ud800!") == "red abcde\nf\ng\nh\ttab !"
    assert sanitise("ä € 漢字 😀") == "ä € 漢字 😀"


def test_sanitise_is_short_and_fast() -> None:
    text = sanitise("begin" + "\x1b[" * 10**6 + "x" * 10**7 + "end", 100)
    assert len(text) <= 100
    assert text.startswith("begin")
    assert text.endswith("end")
    began = time.monotonic()
    sanitise("\x1b]" * 10**6)
    assert time.monotonic() - began < 1
    with pytest.raises(ValueError, match="limit=3"):
        sanitise("x", 3)


def _python(*arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOM.parents[1])}
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, env=env)
    assert run.returncode == 0, run.stderr
    return run.stdout
