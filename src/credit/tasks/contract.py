"""What a task must keep: checked when it is made, when its rows are read, and by grading its own right answers."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from credit.tasks.base import Grade, Row, Task
from credit.tasks.environments import check_environment, has_environment, play
from credit.tasks.loading import is_prompt

_ROWS = {"rows": ("split", "limit")}
_GRADE = {"grade": ("row", "completion")}


@dataclass
class Validation:
    """What became of the right answers of some rows.

    Attributes:
        rows: how many were looked at.
        passed: how many right answers got the full score.
        without_gold: how many rows have none to grade.
        failures: (id of the row, why), for all others.
    """

    rows: int = 0
    passed: int = 0
    without_gold: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)


def check_task(task: Any, name: str) -> None:
    """Raise unless an object has what a task needs: `name`, `rows(split, limit)`, `grade(row, completion)`.

    A sound `environment` stands for `grade`.
    """
    if not isinstance(getattr(task, "name", None), str):
        raise ValueError(f"task={name!r} has no attribute 'name' that is text. Write name = \"mine\" into its class.")
    for method, arguments in (_ROWS if has_environment(task) else _ROWS | _GRADE).items():
        found = getattr(task, method, None)
        if not callable(found):
            raise ValueError(f"task={name!r} has no method {method}({', '.join(arguments)}). See docs/tasks.md.")
        try:
            inspect.signature(found).bind(*arguments)
        except TypeError as error:
            raise ValueError(f"task={name!r}: {method} must take ({', '.join(arguments)}): {error}.") from None
    if has_environment(task):
        check_environment(task, name)


def rows_of(task: Task, split: str, limit: int | None = None) -> list[Row]:
    """Return the rows of a split, checked; raise when there are none."""
    rows = task.rows(split, limit)
    if not rows:
        raise ValueError(f"the {split} split is empty. Check --dataset and the limits.")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not is_prompt(row.get("prompt")):
            raise ValueError(
                f"task {task.name!r}, {split} row {number}: field 'prompt' must be text, or a list of messages with "
                "'role' and 'content', with a user turn."
            )
    return rows


def validate(task: Task, rows: Sequence[Row]) -> Validation:
    """Grade each row's own right answer: it must get the full score, or the grader is not right.

    That is `task.gold(row)`, a text, or `task.gold_calls(row)`, which are made in a fresh environment.
    """
    conversations = has_environment(task)
    result, gold = Validation(rows=len(rows)), getattr(task, "gold_calls" if conversations else "gold", None)
    for number, row in enumerate(rows, start=1):
        name = str(row.get("id") or f"row {number}")
        try:
            answer = gold(row) if gold is not None else None
        except Exception as error:  # a task of people's own may raise anything
            result.failures.append(
                (name, f"its right answer could not be had: it raised {type(error).__name__}: {error}")
            )
            continue
        if answer is None:
            result.without_gold += 1
        elif why := (play if conversations else _why_not)(task, row, answer):
            result.failures.append((name, why))
        else:
            result.passed += 1
    return result


def _why_not(task: Task, row: Row, answer: Any) -> str | None:
    if not isinstance(answer, str):
        return f"gold returned a {type(answer).__name__}, not text"
    try:
        grade = task.grade(row, answer)
    except Exception as error:  # a grader never raises on what was written
        return f"grade raised {type(error).__name__}: {error}"
    if not isinstance(grade, Grade):
        return f"grade returned a {type(grade).__name__}, not a Grade"
    if grade.score >= 1.0:
        return None
    return f"its right answer scored {grade.score:g} ({grade.outcome}){f': {grade.feedback}' if grade.feedback else ''}"
