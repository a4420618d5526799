"""People's own rows: JSON Lines or Parquet files, or a hub data set, with `prompt` and `answer`.

`prompt` is text or a message list; an optional `system` text is put in front; an optional `demonstration`, a right
solution written out, is kept for methods that show one. Every bad row is named by file, row
(counted from 1) and field.
"""

from __future__ import annotations

from typing import Any

from credit.tasks.base import Grade, Row
from credit.tasks.graders import GRADERS
from credit.tasks.loading import Reader, conversation, require, split_of, splits


class RowsTask:
    """A task made of rows and a grader.

    Args:
        dataset: path of a .jsonl, .json or .parquet file, or a hub id.
        grader: "exact" or "choice".
        eval_dataset: where test rows come from; without it a tenth of the prompts, chosen by content hash, is held
            out of training.
        skip_bad_rows: leave bad rows out and list them in `bad_rows`, instead of an error.
    """

    name = "rows"

    def __init__(
        self, dataset: str, grader: str = "exact", eval_dataset: str | None = None, skip_bad_rows: bool = False
    ):
        if grader not in GRADERS:
            raise ValueError(f"grader={grader!r} is unknown. Use one of {', '.join(GRADERS)}, code.")
        self._grader = grader
        reader = Reader(skip_bad_rows)
        check = _checked_choice if grader == "choice" else _checked
        test = reader.load(eval_dataset, "test", check) if eval_dataset else None
        self._splits = splits(_aligned(reader.load(dataset, "train", check)), test)
        self.bad_rows = reader.bad_rows

    def rows(self, split: str, limit: int | None = None) -> list[Row]:
        """Return the rows of "train" or "test"."""
        return split_of(self._splits, split, limit)

    def grade(self, row: Row, completion: str) -> Grade:
        """Grade against the row's `answer`."""
        return GRADERS[self._grader](row, completion)

    def gold(self, row: Row) -> str:
        """Return the row's answer in the form the graders ask for."""
        return f"<answer>{row['answer']}</answer>"


def load_rows(source: str, split: str) -> list[Row]:
    """Load and check rows; raises ValueError naming file, row, field and fix."""
    return Reader().load(source, split, _checked)


def _checked(raw: dict[str, Any], where: str) -> Row:
    require(raw, where, "prompt", "answer")
    prompt, answer = conversation(raw, where), raw["answer"]
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError(f"{where}: field 'answer' is empty or not text. Write the expected answer as a string.")
    row = {"prompt": prompt, "answer": answer, "family": str(raw.get("family") or "all"),
           "id": where.rpartition(" ")[2]}  # fmt: skip
    shown = raw.get("demonstration")
    if shown is not None and not isinstance(shown, str):
        raise ValueError(f"{where}: field 'demonstration' is not text. Write a right solution as a string, or drop it.")
    return row if shown is None else {**row, "demonstration": shown}


def _aligned(rows: list[Row]) -> list[Row]:
    """Give every row the optional field if any has it: a data set takes its columns from the first row."""
    if not any("demonstration" in row for row in rows):
        return rows
    return [{"demonstration": None, **row} for row in rows]


def _checked_choice(raw: dict[str, Any], where: str) -> Row:
    row = _checked(raw, where)
    if len(row["answer"].strip()) != 1 or not row["answer"].strip().isalpha():
        raise ValueError(
            f"{where}: field 'answer' is {row['answer']!r}; grader='choice' needs one letter. "
            "Use grader='exact' for other answers."
        )
    return row
