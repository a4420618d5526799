"""Tasks that hold a conversation: an environment, in the sense of TRL's `environment_factory`, instead of `grade`.

One instance lives through one conversation after another: `reset(**row)` starts one, the other public methods are the
model's tools, `get_reward()` ends it, and the attribute `feedback` then says what went wrong.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from credit.tasks.base import Row

Calls = Sequence[tuple[str, dict[str, Any]]]
_OWN = ("reset", "get_reward")


def has_environment(task: Any) -> bool:
    """Return whether a task holds conversations."""
    return getattr(task, "environment", None) is not None


def tools_of(environment: Any) -> dict[str, Callable[..., Any]]:
    """Return the tools of an instance by name: its public methods, as TRL finds them."""
    names = [name for name, _ in inspect.getmembers(type(environment), predicate=inspect.isfunction)]
    return {name: getattr(environment, name) for name in names if name not in _OWN and not name.startswith("_")}


def check_environment(task: Any, name: str) -> None:
    """Raise ValueError when a task's environment lacks what a conversation needs, or the task grades texts as well."""
    where = f"task={name!r}: its environment"
    if callable(getattr(task, "grade", None)):
        raise ValueError(f"{where} has get_reward, and the task has grade: only one can score. Drop grade.")
    if not callable(task.environment):
        raise ValueError(f"{where} is no class. Write environment = YourClass, not an instance of it.")
    try:
        instance: Any = task.environment()
    except TypeError as error:
        raise ValueError(f"{where} cannot be made without arguments: {error}. What it needs comes in reset.") from None
    for method in _OWN:
        if not callable(getattr(instance, method, None)):
            raise ValueError(f"{where} has no method {method}. See docs/multiturn.md.")
    tools = tools_of(instance)
    if not tools:
        raise ValueError(f"{where} has no tool, so it never hears the model. Give it a public method.")
    waiting = [n for n, method in [("get_reward", instance.get_reward), *tools.items()] if _is_async(method)]
    if waiting:
        raise ValueError(f"{where}: {waiting[0]} is async, which an evaluation cannot run. Write it as a plain method.")


def open_conversation(environment: Any, row: Row) -> list[dict[str, Any]]:
    """Start a conversation and return its prompt; text that `reset` returns is added to the last message, as in TRL."""
    prompt, said = row["prompt"], environment.reset(**row)
    return prompt if said is None else [*prompt[:-1], {**prompt[-1], "content": prompt[-1]["content"] + said}]


def reward_of(environment: Any) -> float:
    """End a conversation and return its score."""
    score = environment.get_reward()
    if isinstance(score, bool | int | float) and score == score:
        return float(score)
    raise ValueError(f"{type(environment).__name__}.get_reward returned {score!r}. Return a number, 1 for a success.")


def play(task: Any, row: Row, calls: Calls) -> str | None:
    """Make calls one after another; return why they do not get the full score, or None when they do."""
    try:
        environment = task.environment()
        environment.reset(**row)
    except Exception as error:  # people's own code may raise anything
        return f"reset raised {type(error).__name__}: {error}"
    tools = tools_of(environment)
    for name, arguments in calls:
        if name not in tools:
            return f"its right calls name a tool {name!r}, which the environment has not"
        try:
            tools[name](**arguments)
        except Exception as error:
            return f"its right call {name} raised {type(error).__name__}: {error}"
    try:
        score = reward_of(environment)
    except Exception as error:
        return f"get_reward raised {type(error).__name__}: {error}"
    if score >= 1.0:
        return None
    said = getattr(environment, "feedback", None)
    return f"its right calls scored {score:g}{f': {said}' if said else ''}"


def _is_async(method: Any) -> bool:
    return inspect.iscoroutinefunction(method)
