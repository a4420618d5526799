"""People's own rows: JSON Lines or Parquet files, or a hub data set, with `prompt` and `answer`.

`prompt` is text or a message list; an optional `system` text is put in front. Every bad row is named by file, row
(counted from 1) and field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from credit.contrast import prompt_key
from credit.tasks.base import Grade, Row
from credit.tasks.graders import GRADERS

HOLDOUT = 0.1
"""Share of prompts held out for the test when no evaluation file is given (ours)."""


class RowsTask:
    """A task made of rows and a grader.

    Args:
        dataset: path of a .jsonl, .json or .parquet file, or a hub id.
        grader: "exact" or "choice".
        eval_dataset: where test rows come from; without it a tenth of the prompts, chosen by content hash, is held
            out of training.
    """

    name = "rows"

    def __init__(self, dataset: str, grader: str = "exact", eval_dataset: str | None = None):
        if grader not in GRADERS:
            raise ValueError(f"grader={grader!r} is unknown. Use one of {', '.join(GRADERS)}.")
        self._grader = GRADERS[grader]
        rows = load_rows(dataset, "train")
        if eval_dataset:
            self._splits = {"train": rows, "test": load_rows(eval_dataset, "test")}
        else:
            held = _held_out(rows)
            self._splits = {
                "train": [r for r in rows if prompt_key(r["prompt"]) not in held],
                "test": [r for r in rows if prompt_key(r["prompt"]) in held],
            }
        if grader == "choice":
            _check_letters(rows, dataset)

    def rows(self, split: str, limit: int | None = None) -> list[Row]:
        """Return the rows of "train" or "test"."""
        if split not in self._splits:
            raise ValueError(f"split={split!r} is unknown for rows of your own. Use one of {', '.join(self._splits)}.")
        return self._splits[split][:limit]

    def grade(self, row: Row, completion: str) -> Grade:
        """Grade against the row's `answer`."""
        return self._grader(row["answer"], completion)


def load_rows(source: str, split: str) -> list[Row]:
    """Load and check rows; raises ValueError naming file, row, field and fix."""
    rows = [_checked(raw, source, number) for number, raw in _raw_rows(source, split)]
    if not rows:
        raise ValueError(f"{source} holds no rows.")
    return rows


def _raw_rows(source: str, split: str) -> Iterator[tuple[int, Any]]:
    path = Path(source)
    if path.is_dir():
        raise ValueError(f"{source} is a folder. Name a .jsonl, .json or .parquet file in it.")
    if not path.exists():
        yield from enumerate(_hub_rows(source, split), start=1)
    elif path.suffix == ".parquet":
        import pyarrow.parquet as pq

        yield from enumerate(pq.read_table(path).to_pylist(), start=1)
    else:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _parsed(line, source, number)


def _parsed(line: bytes, source: str, number: int) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source}, row {number}: not UTF-8 text (byte {error.start}). Save the file as UTF-8."
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{source}, row {number}: not valid JSON ({error.msg}, column {error.colno}). Write one object per line."
        ) from None


def _hub_rows(source: str, split: str) -> Iterator[Any]:
    if source.startswith((".", "/", "~")) or source.endswith((".jsonl", ".json", ".parquet")):
        raise ValueError(f"data set file {source} does not exist. Check --dataset.")
    import datasets

    try:
        yield from datasets.load_dataset(source, split=split)
    except Exception as error:  # the hub client raises many kinds; all mean "not to be had"
        raise ValueError(
            f"data set {source!r} is neither a file nor loadable from the hub ({type(error).__name__}: {error})."
        ) from error


def _checked(raw: Any, source: str, number: int) -> Row:
    where = f"{source}, row {number}"
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: is a {type(raw).__name__}; write one JSON object per line.")
    for field in ("prompt", "answer"):
        if field not in raw:
            raise ValueError(f"{where}: field '{field}' is missing (found: {', '.join(sorted(raw)) or 'nothing'}).")
    prompt, answer = raw["prompt"], raw["answer"]
    if isinstance(prompt, str):
        if not prompt.strip():
            raise ValueError(f"{where}: field 'prompt' is empty. Fill it or remove the row.")
        prompt = [{"role": "user", "content": prompt}]
    elif not _is_conversation(prompt):
        raise ValueError(
            f"{where}: field 'prompt' must be text, or a list of messages with 'role' and 'content', with a user turn."
        )
    system = raw.get("system")
    if isinstance(system, str) and system.strip():
        prompt = [{"role": "system", "content": system}, *prompt]
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError(f"{where}: field 'answer' is empty or not text. Write the expected answer as a string.")
    return {"prompt": prompt, "answer": answer, "family": str(raw.get("family") or "all"), "id": str(number)}


def _is_conversation(prompt: Any) -> bool:
    return (
        isinstance(prompt, list)
        and all(isinstance(m, dict) and isinstance(m.get("content"), str) and "role" in m for m in prompt)
        and any(m["role"] == "user" and m["content"].strip() for m in prompt)
    )


def _check_letters(rows: list[Row], source: str) -> None:
    for row in rows:
        if len(row["answer"].strip()) != 1 or not row["answer"].strip().isalpha():
            raise ValueError(
                f"{source}, row {row['id']}: field 'answer' is {row['answer']!r}; grader='choice' needs one letter. "
                "Use grader='exact' for other answers."
            )


def _held_out(rows: list[Row]) -> set[str]:
    keys = sorted({prompt_key(r["prompt"]) for r in rows}, key=lambda k: hashlib.sha256(k.encode()).hexdigest())
    if len(keys) < 2:
        raise ValueError("at least 2 different prompts are needed to hold one out for the test. Add rows.")
    return set(keys[: max(1, round(HOLDOUT * len(keys)))])
