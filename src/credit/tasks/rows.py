"""People's own rows: JSON Lines or Parquet files, or a hub data set, with `prompt` and `answer`.

`prompt` is text or a message list; an optional `system` text is put in front. Every bad row is named by file, row
(counted from 1) and field.
"""

from __future__ import annotations

from typing import Any

from credit.tasks.base import Grade, Row
from credit.tasks.graders import GRADERS
from credit.tasks.loading import conversation, raw_rows, require, split_of, splits


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
        self._splits = splits(rows, load_rows(eval_dataset, "test") if eval_dataset else None)
        if grader == "choice":
            _check_letters(rows, dataset)

    def rows(self, split: str, limit: int | None = None) -> list[Row]:
        """Return the rows of "train" or "test"."""
        return split_of(self._splits, split, limit)

    def grade(self, row: Row, completion: str) -> Grade:
        """Grade against the row's `answer`."""
        return self._grader(row["answer"], completion)


def load_rows(source: str, split: str) -> list[Row]:
    """Load and check rows; raises ValueError naming file, row, field and fix."""
    rows = [_checked(raw, source, number) for number, raw in raw_rows(source, split)]
    if not rows:
        raise ValueError(f"{source} holds no rows.")
    return rows


def _checked(raw: dict[str, Any], source: str, number: int) -> Row:
    where = f"{source}, row {number}"
    require(raw, where, "prompt", "answer")
    prompt, answer = conversation(raw, where), raw["answer"]
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError(f"{where}: field 'answer' is empty or not text. Write the expected answer as a string.")
    return {"prompt": prompt, "answer": answer, "family": str(raw.get("family") or "all"), "id": str(number)}


def _check_letters(rows: list[Row], source: str) -> None:
    for row in rows:
        if len(row["answer"].strip()) != 1 or not row["answer"].strip().isalpha():
            raise ValueError(
                f"{source}, row {row['id']}: field 'answer' is {row['answer']!r}; grader='choice' needs one letter. "
                "Use grader='exact' for other answers."
            )
