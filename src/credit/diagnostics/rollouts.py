"""Reads rollouts from a file, or from the token credit of a run. Every odd row is named by file, row and field."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from credit.credit_log import TOKEN_COLUMNS

NEEDED = ("prompt", "completion")
CREDIT = ("r", "R")


@dataclass
class Rollouts:
    """One file of rollouts.

    Attributes:
        name: the file's name.
        rows: one mapping per rollout.
        problems: what the file lacks, in sentences.
    """

    name: str
    rows: list[dict[str, Any]]
    problems: list[str] = field(default_factory=list)

    @property
    def scored(self) -> bool:
        """Whether token credit was recorded."""
        return bool(self.rows) and all(name in self.rows[0] for name in CREDIT)

    def where(self, index: int) -> str:
        """Name a rollout in messages; rows count from 1."""
        return f"{self.name}, row {index + 1}"


def read_rollouts(path: str | Path) -> Rollouts:
    """Read a .parquet or .jsonl file with at least `prompt` and `completion`; or the `answers.jsonl` of `credit eval`.

    Raises:
        ValueError: the file cannot be read, is empty, or a row lacks a needed field; names file, row, field and fix.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is neither a run nor a file of rollouts. Check the path.")
    rows = _parquet(path) if path.suffix == ".parquet" else _json_lines(path)
    if not rows:
        raise ValueError(f"{path.name} holds no rollouts.")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"{path.name}, row {number}: is a {type(row).__name__}. Write one JSON object per line.")
    rows = [each for row in rows for each in _answers(row)]
    for number, row in enumerate(rows, start=1):
        for name in NEEDED:
            if row.get(name) is None:
                raise ValueError(
                    f"{path.name}, row {number}: field '{name}' is missing. Every rollout needs {' and '.join(NEEDED)}."
                )
        if not isinstance(row["completion"], str):
            raise ValueError(f"{path.name}, row {number}: field 'completion' must be text. Write what the model wrote.")
        if isinstance(row["prompt"], str):
            row["prompt"] = _messages(row["prompt"])
    found = Rollouts(path.name, rows)
    names = set().union(*rows)
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
                rows.append(json.loads(line.decode("utf-8")))
            except (UnicodeDecodeError, json.JSONDecodeError) as error:
                raise ValueError(
                    f"{path.name}, row {number}: not valid JSON in UTF-8 ({error}). Write one object per line."
                ) from None
    return rows


def _answers(row: dict[str, Any]) -> list[dict[str, Any]]:
    """An evaluation keeps all sampled answers of a prompt in one row; here each is a rollout."""
    if "completion" in row or not isinstance(row.get("sampled"), list):
        return [row]
    scores = row.get("sampled_scores") or [None] * len(row["sampled"])
    return [
        {"prompt": row.get("prompt"), "completion": text, "score": score}
        for text, score in zip(row["sampled"], scores, strict=True)
    ]


def _messages(prompt: str) -> Any:
    """Token credit keeps conversations as JSON text."""
    if prompt.lstrip().startswith("[{"):
        try:
            parsed = json.loads(prompt)
        except json.JSONDecodeError:
            return prompt
        if all(isinstance(message, dict) and "role" in message for message in parsed):
            return parsed
    return prompt
