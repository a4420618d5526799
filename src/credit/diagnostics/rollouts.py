"""Reads rollouts from a file, or from the token credit of a run. Every odd row is named by file, row and field."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from credit.contrast import prompt_key
from credit.credit_log import TOKEN_COLUMNS
from credit.tasks.loading import is_prompt, parsed

NEEDED = ("prompt", "completion")


@dataclass
class Rollouts:
    """One file of rollouts, or several joined.

    Attributes:
        name: the file's name.
        rows: one mapping per rollout.
        problems: what the file lacks, in sentences.
        places: how to name each row, where that is not "name, row 1" and so on.
    """

    name: str
    rows: list[dict[str, Any]]
    problems: list[str] = field(default_factory=list)
    places: list[str] | None = None

    @property
    def scored(self) -> bool:
        """Whether token credit was recorded for any row."""
        return any(row.get("r") is not None and row.get("R") is not None for row in self.rows)

    def where(self, index: int) -> str:
        """Name a rollout in messages; rows count from 1."""
        return f"{self.name}, row {index + 1}" if self.places is None else self.places[index]

    @classmethod
    def joined(cls, name: str, files: list[Rollouts]) -> Rollouts:
        """Join files; every row keeps the name it had."""
        places = [file.where(i) for file in files for i in range(len(file.rows))]
        return cls(name, [row for file in files for row in file.rows], places=places)


def read_rollouts(path: str | Path) -> Rollouts:
    """Read a .parquet or .jsonl file with at least `prompt` and `completion`; or the `answers.jsonl` of `credit eval`.

    Raises:
        ValueError: the file cannot be read, is empty, or a field is missing or of another kind than it must be; names
            file, row, field and fix.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder without a run (no config.yaml). Name a run, or a file of rollouts.")
    if not path.is_file():
        raise ValueError(f"{path} is neither a run nor a file of rollouts. Check the path.")
    if path.suffix not in (".parquet", ".jsonl", ".json"):
        raise ValueError(f"{path.name} is neither .parquet nor .jsonl. Convert it.")
    rows = _parquet(path) if path.suffix == ".parquet" else _json_lines(path)
    if not rows:
        raise ValueError(f"{path.name} holds no rollouts.")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"{path.name}, row {number}: is a {type(row).__name__}. Write one JSON object per line.")
    found = Rollouts(path.name, [], places=[])
    assert found.places is not None
    for number, row in enumerate(rows, start=1):
        for each in _answers(row, f"{path.name}, row {number}"):
            found.rows.append(_checked(each, f"{path.name}, row {number}"))
            found.places.append(f"{path.name}, row {number}")
    names = set().union(*found.rows)
    missing = [name for name in TOKEN_COLUMNS if name not in names]
    if missing and len(missing) < len(TOKEN_COLUMNS):
        found.problems.append(f"{path.name} has no column {', '.join(missing)}: what needs it is left out.")
    return found


def read_credit_of_run(run: str | Path) -> list[Rollouts]:
    """Read all token credit of a run, oldest first.

    Raises:
        ValueError: there is none.
    """
    files = sorted((Path(run) / "credit").glob("*.parquet"))
    if not files:
        raise ValueError(
            f"{run} holds no token credit (credit/*.parquet). It is written every credit_log_steps by methods with a "
            "teacher; for rollouts of your own name a file and --model."
        )
    return [read_rollouts(path) for path in files]


def _parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pylist()
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        raise ValueError(f"{path.name} is not a readable Parquet file ({type(error).__name__}).") from error


def _json_lines(path: Path) -> list[Any]:
    rows = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                rows.append(parsed(line.decode("utf-8-sig")))
            except ValueError as error:  # not UTF-8 is one, too
                raise ValueError(
                    f"{path.name}, row {number}: not valid JSON in UTF-8 ({error}). Write one object per line."
                ) from None
    return rows


def _answers(row: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """An evaluation keeps all sampled answers of a prompt in one row; here each is a rollout."""
    if "completion" in row or not isinstance(row.get("sampled"), list):
        return [row]
    scores = row.get("sampled_scores") or [None] * len(row["sampled"])
    if len(scores) != len(row["sampled"]):
        raise ValueError(f"{where}: field 'sampled_scores' has {len(scores)} values for {len(row['sampled'])} answers.")
    return [
        {"prompt": row.get("prompt"), "completion": text, "score": score}
        for text, score in zip(row["sampled"], scores, strict=True)
    ]


def _checked(row: dict[str, Any], where: str) -> dict[str, Any]:
    for name in NEEDED:
        if row.get(name) is None:
            raise ValueError(f"{where}: field '{name}' is missing. Every rollout needs {' and '.join(NEEDED)}.")
    if isinstance(row["prompt"], str):
        row = {**row, "prompt": _messages(row["prompt"])}
    for name, (holds, wanted) in _KINDS.items():
        if row.get(name) is not None and not holds(row[name]):
            raise ValueError(f"{where}: field '{name}' must be {wanted}. Mend it, or write null where it is not known.")
    return row


def _messages(prompt: str) -> Any:
    """Token credit keeps conversations as JSON text."""
    if prompt.lstrip().startswith("[{"):
        try:
            found = parsed(prompt)
        except ValueError:
            return prompt
        if is_prompt(found):
            return found
    return prompt


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which no tokenizer takes
        return False
    return True


def _is_prompt(value: Any) -> bool:
    return is_prompt(value) and _is_text(prompt_key(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(holds(item) for item in value)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "prompt": (_is_prompt, "text, or messages with 'role' and text 'content', one of them the user's"),
    "completion": (_is_text, "text (valid Unicode): what the model wrote"),
    "score": (lambda v: _is_number(v) and math.isfinite(v), "a finite number"),
    "feedback": (_is_text, "text"),
    "solution": (_is_text, "text"),
    "options": (_list_of(lambda v: _is_text(v) and bool(v)), "a list of texts"),
    "step": (_is_id, "a number of steps"),
    "token_ids": (_list_of(_is_id), "a list of token ids"),
    "tokens": (_list_of(_is_text), "a list of texts"),
    "ends": (_list_of(_is_id), "a list of places in the text"),
    "own": (_list_of(lambda v: isinstance(v, bool)), "a list of true and false"),
    **{name: (_list_of(lambda v: v is None or _is_number(v)), "a list of numbers") for name in TOKEN_COLUMNS},
}
