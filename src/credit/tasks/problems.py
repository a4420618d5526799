"""Coding problems of people's own, one JSON object per line; see docs/coding.md for the format."""

from __future__ import annotations

from functools import partial
from typing import Any

from credit.tasks.base import Grade, Row
from credit.tasks.code import CodeGrader, Problem
from credit.tasks.code_text import Case
from credit.tasks.loading import Reader, conversation, is_json, parsed, require, split_of, splits


class ProblemsTask:
    """Problems with tests.

    Args:
        dataset: path of a .jsonl, .json or .parquet file, or a hub id.
        eval_dataset: where test problems come from; without it a tenth of the prompts is held out.
        reward, level, workers: as in `CodeGrader`.
        skip_bad_rows: leave bad rows out and list them in `bad_rows`, instead of an error.
    """

    name = "code"

    def __init__(
        self,
        dataset: str,
        eval_dataset: str | None = None,
        reward: str = "sparse",
        level: str = "auto",
        workers: int = 0,
        skip_bad_rows: bool = False,
    ):
        self._grader = CodeGrader(reward, level, workers)
        self._problems: dict[str, Problem] = {}
        reader = Reader(skip_bad_rows)
        test = reader.load(eval_dataset, "test", partial(self._row, "test")) if eval_dataset else None
        self._splits = splits(reader.load(dataset, "train", partial(self._row, "train")), test)
        self.bad_rows = reader.bad_rows

    def rows(self, split: str, limit: int | None = None) -> list[Row]:
        """Return the rows of "train" or "test"; tests stay here, and a row names its problem by `id`."""
        return split_of(self._splits, split, limit)

    def grade(self, row: Row, completion: str) -> Grade:
        """Run the program of a completion on the tests of the row's problem."""
        return self._grader.grade(self._problems[row["id"]], completion)

    def gold(self, row: Row) -> str | None:
        """Return the row's `solution` as an answer; None where there is none."""
        return None if row["answer"] is None else f"{_FENCE}python\n{row['answer']}\n{_FENCE}"

    def _row(self, split: str, raw: dict[str, Any], where: str) -> Row:
        require(raw, where, "prompt", "tests")
        prompt, problem, solution = conversation(raw, where), problem_of(raw, where), raw.get("solution")
        if solution is not None and not isinstance(solution, str):
            raise ValueError(f"{where}: field 'solution' must be the text of a right program.")
        name = f"{split}-{where.rpartition(' ')[2]}"
        self._problems[name] = problem
        return {"prompt": prompt, "id": name, "family": str(raw.get("family") or "all"), "answer": solution}


_FENCE = "~" * 8  # a solution may hold back-ticks


def problem_of(raw: dict[str, Any], where: str) -> Problem:
    """Check the tests of a row; raise ValueError naming file, row, test and field."""
    tests = raw["tests"]
    if isinstance(tests, str):
        try:
            tests = parsed(tests)
        except ValueError as error:
            raise ValueError(f"{where}: field 'tests' is text but not JSON ({error}).") from None
    if not isinstance(tests, list) or not tests:
        raise ValueError(f"{where}: field 'tests' must be a list with at least one test.")
    cases = [_case(test, f"{where}, test {number}") for number, test in enumerate(tests, start=1)]
    limits: dict[str, Any] = {}
    for name, low, high in (("cpu_s", 0.01, 3600), ("memory_mb", 16, 1 << 20)):
        value = raw.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"{where}: field '{name}' is {value!r}; it must be a number from {low} to {high}.")
        limits[name] = value
    return Problem(tuple(sorted(cases, key=lambda case: case.hidden)), **limits)


_FIELDS = {"input", "output", "call", "args", "expected", "hidden"}


def _case(test: Any, where: str) -> Case:
    if not isinstance(test, dict):
        raise ValueError(f"{where}: is a {type(test).__name__}; write an object.")
    if unknown := sorted(set(test) - _FIELDS):
        raise ValueError(f"{where}: field '{unknown[0]}' is unknown. Use some of {', '.join(sorted(_FIELDS))}.")
    test = {name: value for name, value in test.items() if value is not None or name == "expected"}
    hidden = test.get("hidden", False)
    if not isinstance(hidden, bool):
        raise ValueError(f"{where}: field 'hidden' must be true or false.")
    if "call" not in test:
        require(test, where, "input", "output")
        for name in ("input", "output"):
            if not isinstance(test[name], str):
                raise ValueError(f"{where}: field '{name}' must be text. For values use 'call', 'args' and 'expected'.")
        return Case(test["input"], test["output"], None, hidden)
    require(test, where, "args", "expected")
    call, args = test["call"], test["args"]
    if not isinstance(call, str) or not all(part.isidentifier() for part in call.split(".")):
        raise ValueError(f"{where}: field 'call' must name a function, such as 'f' or 'Solution.f'.")
    if not isinstance(args, list):
        raise ValueError(f"{where}: field 'args' must be a list of arguments.")
    for name in ("args", "expected"):
        if not is_json(test[name]):
            raise ValueError(f"{where}: field '{name}' must be JSON without NaN or Infinity, at most 100 deep.")
    return Case(args, test["expected"], call, hidden)
