"""Reward functions that may say why: `(score, feedback)` instead of a score, per completion.

Uses TRL's public reward-function interface only, synchronous and asynchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsFloat

Item = float | None | tuple[float | None, str | None]


@dataclass
class Graded:
    """What the reward step of this rank saw; `all_scores` covers all ranks."""

    prompts: list[Any]
    completions: list[Any]
    feedback: list[str | None]
    families: list[str | None]
    demonstrations: list[str | None]
    all_scores: list[float]


class FeedbackReward:
    """Wraps a reward function; hands TRL the scores and keeps the feedback of the last call."""

    def __init__(self, function: Callable[..., Any], name: str):
        self.function = function
        self.__name__ = name
        self.feedback: list[str | None] = []

    def __call__(self, **kwargs: Any) -> list[float | None]:
        """Call the function and return its scores."""
        return self._split(self.function(**kwargs))

    def _split(self, items: Iterable[Item]) -> list[float | None]:
        if not isinstance(items, Iterable) or isinstance(items, str):
            raise ValueError(
                f"reward function {self.__name__!r} returned {type(items).__name__}, not a list. Return one score, or "
                "one pair (score, feedback), per completion."
            )
        pairs = [self._pair(item, row) for row, item in enumerate(items)]
        self.feedback = [feedback for _, feedback in pairs]
        return [score for score, _ in pairs]

    def _pair(self, item: Item, row: int) -> tuple[float | None, str | None]:
        if item is None or isinstance(item, SupportsFloat):
            return item, None  # type: ignore[return-value]
        if not self._is_pair(item):
            raise ValueError(
                f"reward function {self.__name__!r} returned {item!r} for completion {row}. "
                "Return a score, or a pair (score, feedback) with feedback a string or None."
            )
        return item[0], item[1]

    @staticmethod
    def _is_pair(item: Any) -> bool:
        return (
            isinstance(item, tuple | list)
            and len(item) == 2
            and isinstance(item[0], SupportsFloat | None)
            and isinstance(item[1], str | None)
        )


class AsyncFeedbackReward(FeedbackReward):
    """The same for `async def` reward functions, which TRL runs concurrently."""

    async def __call__(self, **kwargs: Any) -> list[float | None]:  # type: ignore[override]
        """Await the function and return its scores."""
        return self._split(await self.function(**kwargs))


def environment_feedback(environment: Any) -> str | None:
    """Return what an environment says about the rollout it has just seen: its attribute `feedback`, if it has one.

    Raises:
        ValueError: it is a method, which TRL would have offered to the model as a tool, or no text.
    """
    said = getattr(environment, "feedback", None)
    if said is None or isinstance(said, str):
        return said
    reason = (
        "a method, and TRL offers every public method to the model as a tool. Make it an attribute or a property"
        if callable(said)
        else f"{type(said).__name__}, not text. Set a string, or None"
    )
    raise ValueError(f"{type(environment).__name__}.feedback is {reason}.")


def merge_feedback(columns: Sequence[Sequence[str | None]], count: int) -> list[str | None]:
    """Join what several sources said about each of `count` completions, in order; None where all were silent."""
    rows = zip(*columns, strict=True) if columns else [() for _ in range(count)]
    return ["\n".join(text for text in row if text) or None for row in rows]
