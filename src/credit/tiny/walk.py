"""The route family as an environment: the same prompts, a second try after a wrong answer, and a map to ask.

The model calls a tool by ending its turn with `answer s7`, which is how it answers anyway, or with `go s1 north`, which
it has never done. All words, also those of the tools' replies, are in the vocabulary, and replies come as user turns:
neither the base model nor its vocabulary changes.
"""

from __future__ import annotations

import json
import re
from typing import Any

from credit.tasks.base import Row
from credit.tiny.families import route
from credit.tiny.families.base import split_words
from credit.tiny.task import TinyTask
from credit.tiny.vocabulary import CHAT_TEMPLATE as PLAIN_TEMPLATE

TOOLS = ("go", "answer")
TRIES = 2

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
    """Return rows of the route family, as they are: the base knows no words for tools, and stumbles over them."""
    return TinyTask(seed, ("route",)).rows(split, limit)


def with_tools(tokenizer: Any) -> Any:
    """Give a tokenizer of the tiny world the templates of this environment, and return it."""
    tokenizer.chat_template, tokenizer.response_template = CHAT_TEMPLATE, RESPONSE_TEMPLATE
    return tokenizer


class RouteWalk:
    """One walk. Pass the class as `environment_factory`, rows from `rows`, a tokenizer from `with_tools`.

    From the command line it is the task `tiny-walk`.

    Attributes:
        feedback: what to do better, once graded; None after a right answer.
    """

    def __init__(self) -> None:
        self.feedback: str | None = None
        self._meta: dict[str, Any] = {}
        self._asked: list[tuple[str, str]] = []
        self._answers: list[str] = []

    def reset(self, *, meta: str, **row: Any) -> None:
        """Start the walk of a row."""
        self.feedback, self._asked, self._answers = None, [], []
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
        """Say where the walk ends. There is a second try, and no third.

        Args:
            words: A place, like `s7`.

        Returns:
            Whether it is right.
        """
        said = split_words(words)
        if len(said) != 1 or said[0] not in route.PLACES:
            raise ValueError("write answer and a place")
        self._answers.append(said[0])
        return f"{said[0]} is the place reached" if said[0] == self._goal else f"{said[0]} is wrong , write the walk"

    def get_reward(self) -> float:
        """Return 1 when one of the tries was right; set `feedback` otherwise."""
        self.feedback = self._fault()
        return float(self.feedback is None)

    @property
    def _goal(self) -> str:
        return self._meta["places"][-1]

    def _fault(self) -> str | None:
        tries = self._answers[:TRIES]
        if self._goal in tries:
            return None
        said = f"{tries[-1]} is wrong" if tries else "write answer and a place"
        edges = zip([self._meta["start"], *self._meta["places"]], self._meta["directions"], strict=False)
        unknown = next((step for step, edge in enumerate(edges, start=1) if edge not in self._asked), None)
        return f"{said} , use the tool at step {unknown}" if unknown else f"{said} , write the walk"


class WalkTask:
    """The route family as conversations: tools to answer and to ask the map, and a second try."""

    name = "tiny-walk"
    environment = RouteWalk

    def __init__(self, seed: int = 0):
        self.seed = seed

    def rows(self, split: str, limit: int | None = None) -> list[Row]:
        """Return the first `limit` rows of a split."""
        return rows(split, limit, self.seed)

    def prepare(self, tokenizer: Any) -> None:
        """Give the world's own tokenizer the templates of the tools; others must bring theirs."""
        if tokenizer.chat_template == PLAIN_TEMPLATE:
            with_tools(tokenizer)

    def gold_calls(self, row: Row) -> list[tuple[str, dict[str, Any]]]:
        """Return the walk, asked step by step, and its end."""
        meta = json.loads(row["meta"])
        edges = zip([meta["start"], *meta["places"]], meta["directions"], strict=False)
        asked = [("go", {"words": f"{place} {direction}"}) for place, direction in edges]
        return [*asked, ("answer", {"words": row["answer"]})]

    def extras(self, records: list[dict[str, Any]]) -> dict[str, float | None]:
        """Return shares over all sampled conversations: walk written out, right at the first try, the map asked."""
        pairs = [(record, text) for record in records for text in record["sampled"]]
        shares = {
            "reasoning_kept": sum(route.reasons(record, text) for record, text in pairs),
            "first_try": sum(_first_answer(text) == record["answer"] for record, text in pairs),
            "map_asked": sum("[call] go" in text for _, text in pairs),
        }
        return {name: share / len(pairs) if pairs else None for name, share in shares.items()}


def _first_answer(transcript: str) -> str | None:
    """Return the place of the first `answer` that the tool could read, or None."""
    said = re.search(r"\[result of answer\] (s\d) is ", transcript)
    return said and said[1]
