"""LiveCodeBench v6, from the hub or from its files. Private tests are decoded, never unpickled."""

from __future__ import annotations

import base64
import pickletools
import zlib
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from credit.tasks.base import Grade, Row
from credit.tasks.code import CodeGrader, Problem
from credit.tasks.code_text import Case
from credit.tasks.loading import Reader, parsed, require, split_of

HUB = "livecodebench/code_generation_lite"
FILES = ("test.jsonl", "test2.jsonl", "test3.jsonl", "test4.jsonl", "test5.jsonl", "test6.jsonl")
"""The files of release v6; each holds the problems that one release added."""
START, END = "2025-02-01", "2025-05-01"
_STARRED = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json "
    "builtins typing"
)
PRELUDE = (
    "; ".join(f"from {name} import *" for name in _STARRED.split())
    + f"; import {', '.join(_STARRED.replace(' builtins typing', '').split())}; sys.setrecursionlimit(50000)"
)
"""What programs of this benchmark may use without importing it: its starter code names `List` and the like."""
PROTOCOLS = ("before", "same")
MOST_BYTES = 1 << 30
"""Private tests of one problem, decompressed."""

SYSTEM = "You are a careful Python programmer."
STDIN = (
    "{question}\n\nWrite a Python program that reads the input from standard input and prints the answer. "
    "Put the whole program in one ```python block."
)
FUNCTION = (
    "{question}\n\nComplete this code; keep its names. Put the whole program in one ```python block.\n\n"
    "```python\n{starter}\n```"
)


@dataclass(frozen=True)
class Raw:
    """One problem as stored; tests are decoded when they are first needed, since they may be large."""

    where: str
    public: str
    private: str
    call: str | None
    share: float
    seed: str


class LiveCodeBench:
    """Contest problems by date.

    Args:
        path: a .jsonl file or a folder of them; without it the hub is asked for release v6.
        start, end: contest dates of the test problems, start included, end not. Default: paper (second-hand).
        protocol: "before" trains on the problems before `start` (ours); "same" trains on the test problems with a
            random half of their private tests, as SDPO's setting is reported.
        reward, level, workers: as in `CodeGrader`.
        cpu_s: CPU seconds for each test.
        skip_bad_rows: leave bad rows out and list them in `bad_rows`, instead of an error. All tests are then decoded
            at once.
    """

    name = "livecodebench"

    def __init__(
        self,
        path: str | None = None,
        start: str = START,
        end: str = END,
        protocol: str = "before",
        reward: str = "sparse",
        level: str = "auto",
        workers: int = 0,
        cpu_s: float = 6.0,
        skip_bad_rows: bool = False,
    ):
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol={protocol!r} is unknown. Use one of {', '.join(PROTOCOLS)}.")
        first, last = _day(start, "start"), _day(end, "end")
        if first >= last:
            raise ValueError(f"start={start} must be before end={end}.")
        self._grader, self._cpu_s = CodeGrader(reward, level, workers), cpu_s
        self._problems: dict[str, Raw] = {}
        self._splits: dict[str, list[Row]] = {"train": [], "test": []}
        reader = Reader(skip_bad_rows)

        def check(raw: dict[str, Any], where: str) -> None:
            day = _day(str(_field(raw, "contest_date", where))[:10], f"{where}: field 'contest_date'")
            if first <= day < last:
                self._add("test", raw, where, 1.0, skip_bad_rows)
                if protocol == "same":
                    self._add("train", raw, where, 0.5, skip_bad_rows)
            elif day < first and protocol == "before":
                self._add("train", raw, where, 1.0, skip_bad_rows)

        for file in _files(path):
            reader.load(str(file), "test", check)
        self.bad_rows = reader.bad_rows

    def rows(self, split: str, limit: int | None = None) -> list[Row]:
        """Return the rows of "train" or "test"; tests stay here, and a row names its problem by `id`."""
        return split_of(self._splits, split, limit)

    def grade(self, row: Row, completion: str) -> Grade:
        """Run the program of a completion on the tests of the row's problem."""
        return self._grader.grade(_problem(self._problems[row["id"]], self._cpu_s), completion)

    def gold(self, row: Row) -> None:
        """Return None: the benchmark comes without solutions."""

    def _add(self, split: str, raw: dict[str, Any], where: str, share: float, decode: bool) -> None:
        question, starter = str(_field(raw, "question_content", where)), str(raw.get("starter_code") or "")
        name = f"{split}-{_field(raw, 'question_id', where)}"
        if name in self._problems:
            raise ValueError(f"{where}: field 'question_id' repeats {raw['question_id']!r}. Drop one of the rows.")
        call, public, private = _function_name(raw, where), *_stored_tests(raw, where)
        problem = Raw(
            where,
            public,
            private,
            None if call is None else f"Solution.{call}" if "class Solution" in starter else call,
            share,
            name,
        )
        if decode:
            _problem(problem, self._cpu_s)
        self._problems[name] = problem
        text = FUNCTION if starter.strip() else STDIN
        self._splits[split].append(
            {
                "prompt": [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": text.format(question=question, starter=starter)},
                ],
                "id": name,
                "family": str(raw.get("difficulty") or "all"),
                "answer": None,
            }
        )


@lru_cache(maxsize=256)
def _problem(raw: Raw, cpu_s: float) -> Problem:
    public = [_case(test, raw, False) for test in _tests(raw.public, raw.where, "public_test_cases")]
    private = [_case(test, raw, True) for test in decode_private(raw.private, raw.where)]
    if raw.share < 1:
        private = Random(raw.seed).sample(private, max(1, round(raw.share * len(private))) if private else 0)
    if not public and not private:
        raise ValueError(f"{raw.where}: the problem has no tests.")
    return Problem((*public, *private), cpu_s, prelude=PRELUDE)


def _case(test: Any, raw: Raw, hidden: bool) -> Case:
    if not isinstance(test, dict) or not all(isinstance(test.get(name), str) for name in ("input", "output")):
        raise ValueError(f"{raw.where}: a test has no 'input' or no 'output' of text.")
    kind = test.get("testtype", "functional" if raw.call else "stdin")
    if kind not in ("stdin", "functional"):
        raise ValueError(f"{raw.where}: field 'testtype' of a test is {kind!r}; stdin and functional are known.")
    if kind == "stdin":
        return Case(test["input"], test["output"], None, hidden)
    if raw.call is None:
        raise ValueError(f"{raw.where}: a functional test, but field 'metadata' names no 'func_name'.")
    try:
        arguments = [parsed(line) for line in test["input"].split("\n") if line.strip()]
        return Case(arguments, parsed(test["output"]), raw.call, hidden)
    except ValueError as error:
        raise ValueError(f"{raw.where}: a functional test is not JSON ({error}).") from None


def decode_private(text: str, where: str) -> list[Any]:
    """Decode private tests: JSON, or base64 of zlib of a pickled string of JSON.

    The pickle is not loaded, which could run anything: its opcodes are read, and only those of a bare string pass.
    """
    if text.lstrip().startswith("["):
        return _tests(text, where, "private_test_cases")
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"{where}: field 'private_test_cases' is neither JSON nor compressed ({error}).") from None
    if not inflate.eof and not inflate.unconsumed_tail:
        raise ValueError(f"{where}: field 'private_test_cases' is cut short. Download the file again.")
    if inflate.unconsumed_tail:
        raise ValueError(f"{where}: field 'private_test_cases' grows beyond {MOST_BYTES >> 20} MiB.")
    return _tests(_pickled_string(data, where), where, "private_test_cases")


_STRING = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_AROUND = {"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP"}


def _pickled_string(data: bytes, where: str) -> str:
    found = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in _STRING:
                found.append(argument)
            elif opcode.name not in _AROUND:
                raise ValueError(f"opcode {opcode.name}")
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{where}: field 'private_test_cases' is a pickle of something else than one text ({error}); not loaded."
        ) from None
    if len(found) != 1:
        raise ValueError(f"{where}: field 'private_test_cases' holds {len(found)} texts, expected one.")
    return found[0]


def _tests(text: Any, where: str, name: str) -> list[Any]:
    try:
        tests = parsed(text) if isinstance(text, str) else text
    except ValueError as error:
        raise ValueError(f"{where}: field '{name}' is not JSON ({error}).") from None
    if not isinstance(tests, list):
        raise ValueError(f"{where}: field '{name}' must hold a list of tests.")
    return tests


def _stored_tests(raw: dict[str, Any], where: str) -> tuple[str, str]:
    public, private = _field(raw, "public_test_cases", where), raw.get("private_test_cases") or "[]"
    for name, text in (("public_test_cases", public), ("private_test_cases", private)):
        if not isinstance(text, str):
            raise ValueError(f"{where}: field '{name}' is a {type(text).__name__}; expected the text of a list.")
    return public, private


def _function_name(raw: dict[str, Any], where: str) -> str | None:
    metadata = raw.get("metadata") or {}
    try:
        metadata = parsed(metadata) if isinstance(metadata, str) else metadata
    except ValueError as error:
        raise ValueError(f"{where}: field 'metadata' is not JSON ({error}).") from None
    if not isinstance(metadata, dict):
        raise ValueError(f"{where}: field 'metadata' must be an object.")
    name = metadata.get("func_name")
    if name is not None and (not isinstance(name, str) or not name.isidentifier()):
        raise ValueError(f"{where}: field 'metadata' names the function {name!r}, which is no name.")
    return name


def _field(raw: dict[str, Any], name: str, where: str) -> Any:
    require(raw, where, name)
    return raw[name]


def _day(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name}={text!r} is no date. Write YYYY-MM-DD.") from None


def _files(path: str | None) -> list[Path]:
    if path is None:
        return [_downloaded(name) for name in FILES]
    if not Path(path).is_dir():
        return [Path(path)]
    files = sorted(Path(path).glob("*.jsonl"))
    if not files:
        raise ValueError(f"{path} holds no .jsonl files.")
    return files


def _downloaded(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(HUB, name, repo_type="dataset"))
    except Exception as error:  # the hub client raises many kinds; all mean "not to be had"
        raise ValueError(
            f"{name} of {HUB} cannot be had from the hub ({type(error).__name__}). Download the .jsonl files of "
            'release v6 and name their folder: --task livecodebench --task_options \'{"path": "FOLDER"}\'.'
        ) from error
