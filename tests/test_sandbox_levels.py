"""Levels are proven or refused, in containers too."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from credit.sandbox import Sandbox, Unavailable, probe_levels
from credit.sandbox.jail import syscalls

SRC = Path(__file__).parents[1] / "src"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        opened = Sandbox(workers=1)
    except RuntimeError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


def test_missing_bubblewrap_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"bwrap is not installed.*apt-get install bubblewrap"):
        Sandbox("namespaced")
    reports = {report.level: report for report in probe_levels()}
    assert not reports["namespaced"].proven
    assert "apt-get install bubblewrap" in reports["namespaced"].needs
    if reports["locked"].proven:
        with Sandbox(workers=1) as sandbox:
            assert sandbox.level == "locked"


def test_an_interpreter_that_cannot_be_started_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\n")
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(Unavailable, match="cannot be started by this user"):
        Sandbox("locked")


def test_a_leak_is_not_called_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credit.sandbox.worker.Zygote._hello", lambda self: [["read secrets", False], ["x", True]])
    with pytest.raises(Unavailable, match="could still read secrets"):
        Sandbox("locked")


def test_the_probe_is_a_table(sandbox: Sandbox) -> None:
    table = dict(sandbox.probe)
    assert len(table) >= 30
    assert all(table.values())
    assert {"read a file of the caller", "start a process", "open an internet socket"} <= set(table)


PRINT_LEVEL = """
from credit.sandbox import Sandbox, Unavailable
try:
    with Sandbox(workers=1) as sandbox: print(sandbox.level, sandbox.run("print(6 * 7)").stdout)
except Unavailable as error: print("unavailable", error)
except RuntimeError as error: print("nothing", error)
for level in ("namespaced", "locked"):
    try: Sandbox(level, workers=1).close()
    except Unavailable as error: print("no", level, error)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the profile is written with x86-64 numbers")
@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("default", ["locked 42", "no namespaced"]),
        ("no_landlock", ["locked_no_landlock 42", "no namespaced", "no locked", "this kernel has no Landlock"]),
        ("no_seccomp", ["nothing no level of protection can be proven", "could not be confined", "level='process'"]),
    ],
)
def test_auto_in_a_container(sandbox: Sandbox, profile: str, said: list[str]) -> None:
    if sandbox.level == "locked_no_landlock":
        pytest.skip("no Landlock here")
    out = _python(str(Path(__file__).parent / "container_profile.py"), profile, "-c", PRINT_LEVEL)
    assert all(words in out for words in said), out


def test_every_call_has_a_number_or_none() -> None:
    x86, arm = syscalls.numbers("x86_64"), syscalls.numbers("aarch64")
    ruled = {*syscalls.ALLOWED, *syscalls.RULES}
    assert ruled <= set(x86)
    assert not set(syscalls.ALLOWED) & set(syscalls.RULES)
    assert {"openat", "clone", "read", "kill", "exit_group"} <= set(arm)
    assert len(set(x86.values())) == len(x86)
    assert len(set(arm.values())) == len(arm)
    with pytest.raises(NotImplementedError, match="riscv64"):
        syscalls.numbers("riscv64")


def _python(*arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, env=env)
    assert run.returncode == 0, run.stderr
    return run.stdout
