"""No hostile program gets anything, at any level, and none harms the next program.

See `attacks`: they run in the arena only, all levels at once, one after the other within a level.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attacks import PRELUDE, Attack, every_attack, leftovers
from attacks.arena import CONTROLS, confined_command
from credit.sandbox import PROTECTED, Sandbox
from sandbox_places import interpreter, publish

Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results() -> Iterator[Results]:
    python = interpreter()
    if shutil.which("unshare") is None:
        pytest.skip("ATTACKS NOT RUN: no unshare (util-linux) to build an arena with")
    if python is None:
        pytest.skip("ATTACKS NOT RUN: no Python >= 3.11 that an unprivileged user can start, or no way to be one")
    with tempfile.TemporaryDirectory(prefix="credit-arena-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        publish(folder)
        arenas = {level: _start(confined_command(python, folder, level)) for level in PROTECTED}
        try:
            said = {level: arena.communicate(timeout=200)[0] for level, arena in arenas.items()}
        finally:
            for arena in arenas.values():
                arena.kill()
        if broken := [text for level, text in said.items() if "entered" in text and arenas[level].returncode != 0]:
            pytest.fail(f"an arena broke down: {broken}")
        files = {level: folder / f"results-{level}.json" for level in PROTECTED}
        yield {
            level: json.loads(file.read_text()) if file.exists() else {"refused": f"the arena: {said[level]}"}
            for level, file in files.items()
        }


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("attack", [attack.name for attack in every_attack()])
@pytest.mark.parametrize("level", PROTECTED)
def test_attack_wins_nothing(results: Results, level: str, attack: str) -> None:
    if reason := results[level].get("refused"):
        pytest.skip(f"ATTACKS NOT RUN at {level}: {reason}")
    won, outcome, stdout, stderr, took = results[level]["attacks"][attack]
    assert not won, f"{won} with {outcome} after {took:.1f} s\n{stdout}\n{stderr}"


@pytest.mark.parametrize("trace", CONTROLS)
def test_the_arena_sees_what_is_won(results: Results, trace: str) -> None:
    seen = [result["controls"][trace] for result in results.values() if "controls" in result]
    if not seen:
        pytest.skip("ATTACKS NOT RUN: no arena could be built")
    assert all(trace in traces for traces in seen)


@pytest.mark.parametrize(
    "attack", [attack for attack in leftovers.ATTACKS if attack.after == leftovers.FILL], ids=lambda attack: attack.name
)
def test_the_search_for_leftovers_finds_its_own(attack: Attack) -> None:
    """The same program fills its memory and searches it: what the arena does not find could have been found."""
    with Sandbox("process", workers=1) as unprotected:
        result = unprotected.run(PRELUDE + leftovers.FILL + "\n" + attack.code, attack.stdin, cpu_s=5)
    assert "PWNED" in result.stdout, result


def test_there_are_many_attacks_with_different_names() -> None:
    names = [attack.name for attack in every_attack()]
    assert len(names) == len(set(names)) >= 60
