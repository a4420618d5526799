"""The contract of a task: rows, a prompt, and a grade that says what went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

Row = dict[str, Any]


@dataclass(frozen=True)
class Grade:
    """What the environment says about one completion.

    Attributes:
        score: 1.0 is a success; fractions are allowed.
        feedback: one short text on what went wrong, or None when there is nothing to say.
        outcome: "passed", "wrong_answer", "format_error", or an outcome of the sandbox.
    """

    score: float
    feedback: str | None
    outcome: str


class Task(Protocol):
    """A source of prompts that can grade answers. Must never import the trainer.

    A task may also have `gold(row) -> str | None`, a completion that must get the full score, or None where it knows
    none; `credit tasks validate` grades it. `docs/tasks.md` shows how to write a task.

    A task that holds conversations has no `grade`. It has `environment`, a class (see `credit.tasks.environments`), and
    where needed `prepare(tokenizer)`, which changes chat and response template in place, and `gold_calls(row)`, a list
    of (tool, arguments) that must get the full score when they are made one after another, or None.
    """

    name: str

    def rows(self, split: str, limit: int | None = None) -> list[Row]:
        """Return rows with at least `prompt` (messages) and, where known, `family`; split: train/validation/test.

        A split that is not there is a ValueError.
        """
        ...

    def grade(self, row: Row, completion: str) -> Grade:
        """Grade a completion of `row`'s prompt. Never raises on what a model wrote."""
        ...
