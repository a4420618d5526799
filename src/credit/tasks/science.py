"""SciKnowEval L3, multiple choice in four subjects, from prepared files or from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from credit.tasks.base import Grade, Row
from credit.tasks.graders import choice, options_of
from credit.tasks.loading import Reader, conversation, files_of, require, split_of, splits

HUB = "hicai-zju/SciKnowEval"
SUBJECTS = ("chemistry", "physics", "biology", "material")
TEST_SHARE, SEED = 0.1, 42
"""The official split of the hub's rows."""
SYSTEM = (
    "Choose the right one of the options. Think first, between <reasoning> and </reasoning>. Then write the letter of "
    "the option, and nothing else, between <answer> and </answer>."
)


class Science:
    """Multiple-choice questions of SciKnowEval, level L3.

    Args:
        path: a prepared file, or a folder with `SUBJECT-train.jsonl` and `SUBJECT-test.jsonl`; without it the hub is
            asked. Of a single file a tenth of the prompts is held out for the test.
        subject: "chemistry", "physics", "biology" or "material"; a single file needs none.
        skip_bad_rows: leave bad rows out and list them in `bad_rows`, instead of an error.
    """

    name = "science"

    def __init__(self, path: str | None = None, subject: str | None = None, skip_bad_rows: bool = False):
        if subject not in (None, *SUBJECTS):
            raise ValueError(f"subject={subject!r} is unknown. Use one of {', '.join(SUBJECTS)}.")
        self._subject, reader = subject, Reader(skip_bad_rows)
        if subject is None and (path is None or (Path(path).is_dir() and not (Path(path) / "train.jsonl").exists())):
            raise ValueError(f"task 'science' needs a subject: one of {', '.join(SUBJECTS)}; or the path of one file.")
        train, test = files_of(path, subject or "") if path else (None, None)
        if train is None:
            train_rows, test_rows = (reader.check(rows, HUB, self._hub_row) for rows in hub_rows(str(subject)))
        else:
            train_rows = reader.load(train, "train", self._row)
            test_rows = reader.load(test, "test", self._row) if test else None
        self._splits, self.bad_rows = splits(train_rows, test_rows), reader.bad_rows

    def rows(self, split: str, limit: int | None = None) -> list[Row]:
        """Return the rows of "train" or "test"."""
        return split_of(self._splits, split, limit)

    def grade(self, row: Row, completion: str) -> Grade:
        """Grade the letter of the final answer; of a wrong one nothing is said, so z is a sibling that was right."""
        return choice(row["answer"], completion, options_of(row["prompt"]))

    def gold(self, row: Row) -> str:
        """Return the right letter in the form the prompt asks for."""
        return f"<answer>\n{row['answer']}\n</answer>"

    def _hub_row(self, raw: dict[str, Any], where: str) -> Row:
        return self._row(_prepared(raw, where), where)

    def _row(self, raw: dict[str, Any], where: str) -> Row:
        require(raw, where, "prompt", "answer")
        prompt, answer = conversation(raw, where), raw["answer"]
        options = options_of(prompt)
        if not options:
            raise ValueError(f"{where}: field 'prompt' lists no options. Write lines 'A: ...', 'B: ...' into it.")
        if not isinstance(answer, str) or answer.strip().upper() not in options:
            raise ValueError(f"{where}: field 'answer' is {answer!r}, none of the options {', '.join(options)}.")
        return {"prompt": prompt, "answer": answer.strip().upper(), "family": self._subject or "all", "id": where}


def hub_rows(subject: str) -> list[list[tuple[str, Any]]]:
    """Return train and test rows of the hub's data set, as stored there, each with where it stands.

    Untested against the hub itself, which could not be reached where this was written.
    """
    import datasets

    try:
        found = datasets.load_dataset(HUB, split="test")  # the only split there is
    except Exception as error:  # the hub client raises many kinds; all mean "not to be had"
        raise ValueError(
            f"{HUB} cannot be had from the hub ({type(error).__name__}). Prepare files and name their folder: "
            f'--task science --task_options \'{{"path": "FOLDER", "subject": "{subject}"}}\'.'
        ) from error
    wanted = found.filter(
        lambda raw: (
            raw["domain"].lower() == subject and raw["details"]["level"] == "L3" and raw["type"].startswith("mcq")
        )
    )
    if len(wanted) < 2:
        raise ValueError(f"{HUB} holds {len(wanted)} L3 multiple-choice rows on {subject}. Has its format changed?")
    parts = wanted.train_test_split(test_size=TEST_SHARE, seed=SEED)
    return [
        [(f"{HUB} ({split}), row {number}", raw) for number, raw in enumerate(parts[split], start=1)]
        for split in ("train", "test")
    ]


def _prepared(raw: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        listed = zip(raw["choices"]["label"], raw["choices"]["text"], strict=True)
        options = "\n".join(f"{letter}: {text}" for letter, text in listed)
        prompt = f"{raw['question']}\n\n{options}\nPlease reason step by step."
        return {"prompt": prompt, "answer": raw["answerKey"], "system": SYSTEM}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: not a question with 'choices' and 'answerKey' ({error!r}).") from None
