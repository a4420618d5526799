"""Tasks: rows, prompts and graders. One short file each; a registry entry is all a new one needs."""

from credit.tasks.base import Grade, Row, Task
from credit.tasks.contract import Validation, check_task, rows_of, validate
from credit.tasks.registry import TASKS, find_task, get_task

__all__ = ["TASKS", "Grade", "Row", "Task", "Validation", "check_task", "find_task", "get_task", "rows_of", "validate"]
