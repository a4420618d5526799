"""Tasks by name: those that are registered, and any of people's own by dotted path."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from credit.dotted import by_path
from credit.tasks.base import Task
from credit.tasks.contract import check_task

# Named, not imported: asking for one task must not load the others.
TASKS = {
    "tiny": "credit.tiny.task:TinyTask",
    "tiny-walk": "credit.tiny.walk:WalkTask",
    "science": "credit.tasks.science:Science",
    "tooluse": "credit.tasks.tooluse:ToolUse",
    "livecodebench": "credit.tasks.livecodebench:LiveCodeBench",
}


def get_task(name: str, **options: Any) -> Task:
    """Return a task by name or dotted path, checked against the contract.

    Args:
        name: of a registered task, or `package.module:Name` of your own; the current folder can be imported from. For
            rows of your own without a task see `credit.tasks.rows`.
        options: of the task, for example `path` of `livecodebench`.
    """
    kind = find_task(name)
    parameters = inspect.signature(kind).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for option in options:
            if option not in parameters:
                known = ", ".join(parameters) or "none: it has no options"
                raise ValueError(f"task {name!r} has no option {option!r}. Use some of {known}.")
    task = kind(**options)
    check_task(task, name)
    return task


def find_task(name: str) -> Callable[..., Task]:
    """Return the class, or the function, that makes a task; raise ValueError with the known names."""
    if name in TASKS:
        module, _, kind = TASKS[name].partition(":")
        return getattr(import_module(module), kind)
    module, colon, kind = name.partition(":")
    if not colon:
        raise ValueError(
            f"task={name!r} is unknown. Use one of {', '.join(TASKS)}, your own as package.module:Name, or pass rows "
            "with --dataset."
        )
    found = by_path("task", name)
    if not callable(found):
        raise ValueError(f"task={name!r}: module {module} has no class {kind!r}. Check the name after the colon.")
    return cast(Callable[..., Task], found)
