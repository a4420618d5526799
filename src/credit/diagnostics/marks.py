"""What a task knows about the text of a response, put on its tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from credit.contrast import prompt_key
from credit.diagnostics.offsets import marked_tokens, token_at


@dataclass(frozen=True)
class Marks:
    """Marks on the tokens of one response; None where the task, or the file, does not know.

    Attributes:
        bearing: tokens that carry the task's answer.
        boilerplate: tokens that say nothing about this input.
        first_error: the first wrong token, where there is one.
    """

    bearing: list[bool] | None = None
    boilerplate: list[bool] | None = None
    first_error: int | None = None


class TaskMarks:
    """Marks of any response to one of a task's prompts.

    Args:
        task: where it knows them, `bearing(row, completion)` and `boilerplate(row, completion)` give spans of the text,
            `first_error(row, completion)` a place in it, `rows(split)` the rows to find. None knows nothing.
    """

    def __init__(self, task: Any):
        self._methods = {name: getattr(task, name, None) for name in ("bearing", "boilerplate", "first_error")}
        self._unplaced: Counter[str] = Counter()
        self._rows = rows_by_prompt(task) if any(self._methods.values()) else {}

    def of(self, rollout: Mapping[str, Any]) -> Marks:
        """Return the marks of a rollout with `prompt`, `completion` and `ends`."""
        if not self._rows:
            return Marks()
        row = self._rows.get(prompt_key(rollout.get("prompt") or ""))
        ends = rollout.get("ends")
        if row is None or ends is None:
            self._unplaced["prompt is not one of the task's" if row is None else "tokens do not spell their text"] += 1
            return Marks()
        text = rollout["completion"]
        found = {name: method(row, text) if method else None for name, method in self._methods.items()}

        def on_tokens(name: str) -> list[bool] | None:
            spans = found[name]
            return None if spans is None else marked_tokens(ends, spans)

        error = found["first_error"]
        return Marks(on_tokens("bearing"), on_tokens("boilerplate"), None if error is None else token_at(ends, error))

    @property
    def problems(self) -> list[str]:
        """Say for how many responses marks are missing, and why."""
        return [
            f"Not known which tokens carry the answer in {number} of the responses: their {why}."
            for why, number in self._unplaced.items()
        ]


def rows_by_prompt(task: Any) -> dict[str, Any]:
    """Return the rows of all splits a task has, by the identity of their prompt."""
    rows: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        try:
            found: Iterable[Any] = task.rows(split)
        except ValueError:  # a task without this split
            continue
        rows.update((prompt_key(row["prompt"]), row) for row in found)
    return rows
