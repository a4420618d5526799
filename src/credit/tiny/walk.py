"""The route family as an environment: the same walks, with a map that can be asked one step at a time.

The model calls a tool by ending its turn with `go s1 north` or with `answer s7`. The latter is what it says anyway, so
an answer without any look-up is graded too. All words, also those of the tool's replies, are in the vocabulary, and
tool replies come as user turns: neither the base model nor its tokenizer changes.
"""

from __future__ import annotations

import json
from typing import Any

from credit.tasks.base import Row
from credit.tiny.families import route
from credit.tiny.families.base import split_words
from credit.tiny.task import TinyTask

SYSTEM = f"{route.SYSTEM} use the tool : go s0 north ."

TOOLS = ("go", "answer")

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "<|{{ 'user' if message['role'] == 'tool' else message['role'] }}|> {{ message['content'] or '' }}"
    "{%- for call in message['tool_calls'] or [] %} {{ call['function']['name'] }}"
    "{%- for name, value in call['function']['arguments'].items() %}{{ ' ' if name == 'words' else ' ' ~ name ~ ' ' }}"
    "{{ value }}{% endfor %}{% endfor -%}"
    "<|end|>"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|> {% endif -%}"
)
"""The world's chat template, which also writes tool calls and what tools say."""

RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|assistant|>",
    "fields": {
        "tool_calls": {
            "open_pattern": rf"\b(?P<name>{'|'.join(TOOLS)}) ",
            "close_pattern": r"<\|end\|>",
            "repeats": True,
            "content": "text",
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": {"words": "{content}"}}},
        },
        "content": {"close_pattern": r"<\|end\|>", "content": "text"},
    },
}
"""How a turn is read: whatever comes before `go` or `answer` is text, whatever comes after is the tool's."""


def rows(split: str, limit: int | None = None, seed: int = 0) -> list[Row]:
    """Return rows of the route family, told of the tool."""
    return [
        {**row, "prompt": [{"role": "system", "content": SYSTEM}, *row["prompt"][1:]]}
        for row in TinyTask(seed, ("route",)).rows(split, limit)
    ]


def with_tools(tokenizer: Any) -> Any:
    """Give a tokenizer of the tiny world the templates of this environment, and return it."""
    tokenizer.chat_template, tokenizer.response_template = CHAT_TEMPLATE, RESPONSE_TEMPLATE
    return tokenizer


class RouteWalk:
    """One walk. Pass the class as `environment_factory`, rows from `rows`, a tokenizer from `with_tools`.

    Attributes:
        feedback: what to do better, once graded; None after a right answer.
    """

    def __init__(self) -> None:
        self.feedback: str | None = None
        self._meta: dict[str, Any] = {}
        self._asked: list[tuple[str, str]] = []
        self._answer: str | None = None

    def reset(self, *, meta: str, **row: Any) -> None:
        """Start the walk of a row."""
        self.feedback, self._asked, self._answer = None, [], None
        self._meta = json.loads(meta)

    def go(self, words: str) -> str:
        """Ask where one step leads.

        Args:
            words: A place and a direction, like `s1 north`.

        Returns:
            The place reached.
        """
        said = [word for word in split_words(words) if word != "from"]
        if len(said) != 2 or (said[0], said[1]) not in route.LEADS:
            raise ValueError("write a place and north east south west")
        self._asked.append((said[0], said[1]))
        return route.LEADS[said[0], said[1]]

    def answer(self, words: str) -> str:
        """Say where the walk ends. The first answer counts.

        Args:
            words: A place, like `s7`.

        Returns:
            That it was noted.
        """
        said = split_words(words)
        if len(said) != 1 or said[0] not in route.PLACES:
            raise ValueError("write answer and a place")
        self._answer = self._answer or said[0]
        return "noted"

    def get_reward(self) -> float:
        """Return 1 for the right place, and set `feedback` otherwise."""
        self.feedback = self._fault()
        return float(self.feedback is None)

    def _fault(self) -> str | None:
        places = self._meta["places"]
        if self._answer == places[-1]:
            return None
        edges = zip([self._meta["start"], *places], self._meta["directions"], strict=False)
        for step, edge in enumerate(edges, start=1):
            if edge not in self._asked:
                missing = f"use the tool at step {step}"
                break
        else:
            missing = "the answer is not the place reached"
        return (
            f"write answer and a place , {missing}" if self._answer is None else f"{self._answer} is wrong , {missing}"
        )
