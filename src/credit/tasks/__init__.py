"""Tasks: rows, prompts and graders. One short file each; a registry entry is all a new one needs."""

from collections.abc import Callable

from credit.tasks.base import Grade, Row, Task


def _tiny() -> Task:
    from credit.tiny.task import TinyTask

    return TinyTask()


_TASKS: dict[str, Callable[[], Task]] = {"tiny": _tiny}


def get_task(name: str) -> Task:
    """Return a registered task, or raise with the known names. For files of your own see `credit.tasks.rows`."""
    if name not in _TASKS:
        raise ValueError(
            f"task={name!r} is unknown. Use one of {', '.join(_TASKS)}, or pass your own rows with --dataset."
        )
    return _TASKS[name]()


__all__ = ["Grade", "Row", "Task", "get_task"]
