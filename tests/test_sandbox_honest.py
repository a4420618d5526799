"""Programs that deserve their points pass at every level that is available here."""

from __future__ import annotations

import importlib.util
import site
from collections.abc import Iterator
from pathlib import Path

import pytest

from credit.sandbox import LEVELS, Sandbox, Unavailable
from honest_programs import NUMPY, PROGRAMS, READS_FILES

_numpy = importlib.util.find_spec("numpy")
if _numpy is not None and any(Path(_numpy.origin or "").is_relative_to(folder) for folder in site.getsitepackages()):
    PROGRAMS |= NUMPY  # found there by every interpreter like this one, not through a PYTHONPATH of ours


@pytest.fixture(scope="module", params=LEVELS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    try:
        opened = Sandbox(request.param, workers=1)
    except Unavailable as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.mark.parametrize("name", [*PROGRAMS, *READS_FILES])
def test_honest_program_passes(sandbox: Sandbox, name: str) -> None:
    if name in READS_FILES and sandbox.level == "locked_no_landlock":
        pytest.skip("documented: this level opens no files")
    if name == "numpy is repeatable" and sandbox.level == "process":
        pytest.skip("documented: this level seeds nothing")
    code, stdin, expected = (PROGRAMS | READS_FILES)[name]
    result = sandbox.run(code, stdin, cpu_s=4.0)
    assert result.outcome == "ok", result
    assert result.stdout == expected
    assert result.level == sandbox.level


@pytest.mark.parametrize(
    ("code", "call", "value"),
    [
        ("def f(x): return x + 1", ("f", [1]), 2),
        ("class Solution:\n    def f(self, xs, k): return sorted(xs)[:k]", ("Solution.f", [[3, 1, 2], 2]), [1, 2]),
        ("def f(): return (1, 'ä', None, {'a': [True]})", ("f", []), [1, "ä", None, {"a": [True]}]),
        ("class A:\n    @staticmethod\n    def f(): return 1.5", ("A.f", []), 1.5),
        ("f = lambda s: s[::-1]", ("f", ["a\ud800"]), "\ud800a"),
        ("def f(n): return list(range(n))", ("f", [300_000]), list(range(300_000))),
        ("def f(xs): return len(xs)\nif __name__ == '__main__': input()", ("f", [[0] * 300_000]), 300_000),
        ("def f(): print('said'); return 3", ("f", []), 3),
    ],
)  # fmt: skip
def test_calls_return_values(sandbox: Sandbox, code: str, call: tuple[str, list], value: object) -> None:
    result = sandbox.run(code, call=call)
    assert result.outcome == "ok", result
    assert result.value == value
