"""Tasks: rows, prompts and graders. One short file each; a registry entry is all a new one needs."""

from importlib import import_module

from credit.tasks.base import Grade, Row, Task

# Named, not imported: asking for one task must not load the others.
_TASKS = {"tiny": "credit.tiny.task:TinyTask"}


def get_task(name: str) -> Task:
    """Return a registered task, or raise with the known names. For files of your own see `credit.tasks.rows`."""
    if name not in _TASKS:
        raise ValueError(
            f"task={name!r} is unknown. Use one of {', '.join(_TASKS)}, or pass your own rows with --dataset."
        )
    module, _, kind = _TASKS[name].partition(":")
    return getattr(import_module(module), kind)()


__all__ = ["Grade", "Row", "Task", "get_task"]
