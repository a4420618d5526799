"""Kills at any moment, and machines with too much to do: verdicts stay, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from credit.sandbox import PROTECTED, Result, Sandbox, Unavailable
from credit.sandbox.jail.watch import Times, watch

SRC = Path(__file__).parents[1] / "src"
SLEEPS = "import time; time.sleep(0.4); print('done')"


def descendants(pid: int) -> list[int]:
    """Return the processes below one, closest first; zombies do not count."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(name)] = int(parent)
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


def eventually(holds: Callable[[], object], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def beside(act: Callable[[], Result]) -> tuple[threading.Thread, list[Result]]:
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(act()))
    thread.start()
    return thread, results


Family = Callable[[], list[int]]


@pytest.fixture
def family() -> Family:
    """What this test started, and only that: the processes below this one that were not there before."""
    others = set(descendants(os.getpid()))
    return lambda: [pid for pid in descendants(os.getpid()) if pid not in others]


def opened(level: str, workers: int = 1) -> Sandbox:
    try:
        return Sandbox(level, workers)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(params=PROTECTED)
def sandbox(request: pytest.FixtureRequest, family: Family) -> Iterator[Sandbox]:
    with opened(request.param) as sandbox:
        yield sandbox


def test_a_zygote_killed_while_idle_is_replaced(sandbox: Sandbox, family: Family) -> None:
    for pid in family():
        os.kill(pid, signal.SIGKILL)
    assert sandbox.run("print(1)").stdout == "1\n"
    assert sandbox.run("print(2)").stdout == "2\n"


def test_a_program_whose_zygote_is_killed_is_run_again(sandbox: Sandbox, family: Family) -> None:
    before = family()
    thread, results = beside(lambda: sandbox.run(SLEEPS))
    assert eventually(lambda: len(family()) > len(before))
    os.kill(before[-1], signal.SIGKILL)
    thread.join()
    assert (results[0].outcome, results[0].stdout) == ("ok", "done\n")


def test_a_program_killed_from_outside_is_run_again_once(sandbox: Sandbox, family: Family) -> None:
    before = family()

    def kill_program() -> int:
        assert eventually(lambda: len(family()) > len(before))
        (program,) = set(family()) - set(before)
        time.sleep(0.1)  # it is the program by now, and no longer a fork that puts on its guards
        os.kill(program, signal.SIGKILL)
        return program

    thread, results = beside(lambda: sandbox.run(SLEEPS))
    kill_program()
    thread.join()
    assert (results[0].outcome, results[0].stdout) == ("ok", "done\n")

    thread, results = beside(lambda: sandbox.run(SLEEPS))
    first = kill_program()
    assert eventually(lambda: first not in family())
    kill_program()
    thread.join()
    assert results[0].outcome == "sandbox_error"
    assert "killed from outside" in results[0].stderr
    assert sandbox.run("print(1)").outcome == "ok"


def test_a_stuck_zygote_is_replaced(sandbox: Sandbox, family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credit.sandbox.worker._GRACE_S", -49.7)  # of 50 seconds for 2 CPU seconds
    os.kill(family()[-1], signal.SIGSTOP)
    assert sandbox.run("print(1)").stdout == "1\n"


def test_a_machine_that_cannot_start_a_zygote_is_no_programs_fault(
    sandbox: Sandbox, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in family():
        os.kill(pid, signal.SIGKILL)
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/nonexistent/python")
        result = sandbox.run("print(1)")
    assert result.outcome == "sandbox_error"
    assert result.level == sandbox.level
    assert sandbox.run("print(1)").outcome == "ok"


@pytest.mark.parametrize("level", PROTECTED)
def test_nothing_outlives_a_killed_trainer(level: str) -> None:
    script = f"""
import os, sys, threading, time
from credit.sandbox import Sandbox, Unavailable
try:
    sandbox = Sandbox({level!r}, workers=2)
except Unavailable as error:
    print(error, flush=True)
    sys.exit()
for _ in range(2):
    threading.Thread(target=sandbox.run, args=("import time; time.sleep(100)",), kwargs={{"cpu_s": 60}}).start()
if os.fork() == 0:  # a data loader, say: it keeps copies of the trainer's descriptors
    time.sleep(8)
    os._exit(0)
print("running", flush=True)
time.sleep(100)
"""
    trainer = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(SRC)}
    )
    assert trainer.stdout is not None
    line = trainer.stdout.readline()
    if line != "running\n":
        trainer.communicate()
        pytest.skip(line)
    want = 7 if level == "namespaced" else 5  # two zygotes and programs, wrappers where there are any, the loader
    assert eventually(lambda: len(descendants(trainer.pid)) == want), descendants(trainer.pid)
    started = descendants(trainer.pid)
    loaders = [
        pid for pid in started if Path(f"/proc/{pid}/cmdline").read_text().startswith(f"{sys.executable}\0-c\0\nimp")
    ]
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    assert len(loaders) == 1
    assert eventually(lambda: not any(_lives(pid) for pid in started if pid not in loaders), 5)
    with suppress(ProcessLookupError):
        os.kill(loaders[0], signal.SIGKILL)


def test_zygotes_survive_the_thread_that_opened_the_sandbox(family: Family) -> None:
    opened("locked_no_landlock").close()  # or skip
    made: list[Sandbox] = []
    thread = threading.Thread(target=lambda: made.append(Sandbox("locked_no_landlock", 1)))
    thread.start()
    thread.join()
    (zygote,) = family()
    time.sleep(0.05)
    with made[0] as sandbox:
        assert sandbox.run("print(1)").stdout == "1\n"
        assert family() == [zygote]


def test_runs_leave_no_descriptors_and_closing_leaves_no_processes(sandbox: Sandbox, family: Family) -> None:
    sandbox.run("print(1)")
    before = len(os.listdir("/proc/self/fd"))
    zygote = family()[-1]
    inside = len(os.listdir(f"/proc/{zygote}/fd"))
    for _ in range(30):
        sandbox.run("1 / 0", stdin="x" * 1000)
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(os.listdir(f"/proc/{zygote}/fd")) == inside
    sandbox.close()
    assert eventually(lambda: not family())


def test_callers_wait_for_a_free_worker(sandbox: Sandbox) -> None:
    began = time.monotonic()
    sandbox.run_many([{"code": "import time; time.sleep(0.1)"}] * 3)
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("reason", ["abandoned", "cpu", "asleep"])
def test_watching_ends_for_one_reason(reason: str) -> None:
    code = "while True: pass" if reason == "cpu" else "import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code])
    ending = watch(process.pid, Times(0.2 if reason != "abandoned" else 60), lambda: reason == "abandoned")
    process.returncode = os.waitstatus_to_exitcode(ending.status)
    assert (ending.stopped, process.returncode) == (reason, -signal.SIGKILL)


def test_a_plain_process_leaves_none_of_its_group(family: Family) -> None:
    with Sandbox("process", workers=1) as plain:
        result = plain.run("import subprocess; print(subprocess.Popen(['sleep', '100']).pid)")
        assert result.outcome == "ok"
        assert eventually(lambda: not _lives(int(result.stdout)))


def test_load_does_not_change_verdicts() -> None:
    """Ten times more work than cores: the same programs come to the same outcomes."""
    work = "import time\nwhile time.process_time() < {}: pass\nprint('done')"
    programs = {
        work.format(0.15): "ok",
        work.format(5.0): "time_limit",
        "import time; time.sleep(0.8); print('done')": "ok",
        "import time; time.sleep(60)": "time_limit",
        "import threading, time\nt = threading.Thread(target=lambda: sum(range(10**6)))\nt.start(); t.join()": "ok",
    }
    cores = len(os.sched_getaffinity(0))
    with opened("locked_no_landlock", len(programs)) as sandbox:
        jobs = [{"code": code, "cpu_s": 0.4} for code in programs]
        calm = sandbox.run_many(jobs)
        hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(10 * cores)]
        try:
            loaded = sandbox.run_many(jobs)
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
    assert [result.outcome for result in calm] == list(programs.values())
    assert [result.outcome for result in loaded] == list(programs.values())


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
