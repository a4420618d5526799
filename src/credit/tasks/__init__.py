"""Tasks: rows, prompts and graders. One short file each; a registry entry is all a new one needs."""

import inspect
from importlib import import_module
from typing import Any

from credit.tasks.base import Grade, Row, Task

# Named, not imported: asking for one task must not load the others.
_TASKS = {"tiny": "credit.tiny.task:TinyTask", "livecodebench": "credit.tasks.livecodebench:LiveCodeBench"}


def get_task(name: str, **options: Any) -> Task:
    """Return a registered task, or raise with the known names. For files of your own see `credit.tasks.rows`.

    Args:
        name: of the task.
        options: of the task, for example `path` of `livecodebench`.
    """
    if name not in _TASKS:
        raise ValueError(
            f"task={name!r} is unknown. Use one of {', '.join(_TASKS)}, or pass your own rows with --dataset."
        )
    module, _, kind = _TASKS[name].partition(":")
    task = getattr(import_module(module), kind)
    known = list(inspect.signature(task).parameters)
    for option in options:
        if option not in known:
            raise ValueError(f"task {name!r} has no option {option!r}. Use some of {', '.join(known)}.")
    return task(**options)


__all__ = ["Grade", "Row", "Task", "get_task"]
