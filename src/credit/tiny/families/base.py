"""What a family of the tiny world is: a seeded source of items, a grader, and marks on the words that count.

Each family is one module with the functions of `Family`. Every text is a sequence of words separated by
single spaces; one word is one token, so a word position in a completion is a token position.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from credit.tasks.base import Grade, Row

WORD = re.compile(r"\w+|//|\.\.\.|[^\w\s]")  # also the tokenizer's rule
LARGEST = 99  # whole numbers 0..LARGEST are words; a minus sign is a word of its own


@dataclass(frozen=True)
class Answer:
    """One answer to an item, in the two ways a model may write it down."""

    terse: str
    reasoned: str


@dataclass(frozen=True)
class Item:
    """One question with all that is known about it by construction.

    Attributes:
        family: name of the family.
        prompt: the user's turn.
        meta: what the grader needs; JSON-serialisable.
        answer: the short gold answer.
        correct: the right answer, written out.
        wrong: this item's misconceptions, the most tempting first; never empty.
    """

    family: str
    prompt: str
    meta: dict[str, Any]
    answer: str
    correct: Answer
    wrong: tuple[Answer, ...]


class Family(Protocol):
    """The contract of a family; satisfied by a module.

    Attributes:
        NAME: value of the column `family`.
        SYSTEM: the system message of its prompts.
        NEEDS_REASONING: whether the answer is out of reach unless the steps are written down.
    """

    NAME: str
    SYSTEM: str
    NEEDS_REASONING: bool

    def words(self) -> set[str]:
        """Return every word its prompts, answers and feedback may contain (numbers aside)."""
        ...

    def draw(self, rng: Random) -> Item:
        """Return one item; equal generator states give equal items."""
        ...

    def grade(self, row: Row, completion: str) -> Grade:
        """Grade any text; never raises."""
        ...

    def reasons(self, row: Row, completion: str) -> bool:
        """Return whether the steps are written out, right or wrong."""
        ...

    def bearing(self, row: Row, completion: str) -> list[int]:
        """Return the word positions that carry the answer, as opposed to the words around it."""
        ...

    def first_error(self, row: Row, completion: str) -> int | None:
        """Return the position of the first wrong word; None when there is none, or it cannot be told."""
        ...


def split_words(text: str) -> list[str]:
    """Split a text into words, exactly as the tokenizer does."""
    return WORD.findall(text)


def passed() -> Grade:
    """Return the grade of a right answer."""
    return Grade(1.0, None, "passed")


def wrong(feedback: str) -> Grade:
    """Return the grade of a well-formed wrong answer."""
    return Grade(0.0, feedback, "wrong_answer")


def malformed(feedback: str) -> Grade:
    """Return the grade of a text without a readable answer."""
    return Grade(0.0, feedback, "format_error")


def number(value: int) -> str:
    """Write a whole number in words of the vocabulary."""
    if abs(value) > LARGEST:
        return "a large number"
    return str(value) if value >= 0 else f"- {-value}"
