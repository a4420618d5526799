"""ToolAlpaca: answer a request by calling documented tools, in ReAct form. Feedback does not give the answer away."""

from __future__ import annotations

import json
from collections import Counter
from functools import lru_cache
from typing import Any

from credit.context import strip_thinking
from credit.sandbox import sanitise
from credit.tasks.base import Grade, Row
from credit.tasks.loading import Reader, conversation, files_of, require, split_of, splits
from credit.tasks.react import BadCall, Call, decode, decode_any, documented_tools, has_type, read_calls

FEEDBACK = ("honest", "gold")
LISTED = 20
"""Tools that feedback lists at most."""


class ToolUse:
    """Requests that need one to five calls of documented tools; right are the same calls in any order.

    Args:
        path: a prepared file, or a folder with `train.jsonl` and `test.jsonl` (also `tooluse-train.jsonl`). Of a single
            file a tenth of the prompts is held out for the test.
        feedback: "honest" says what is wrong and no right value (ours); "gold" adds the expected calls, which the
            teacher then reads (as the SDPO reference does).
        skip_bad_rows: leave bad rows out and list them in `bad_rows`, instead of an error.
    """

    name = "tooluse"

    def __init__(self, path: str | None = None, feedback: str = "honest", skip_bad_rows: bool = False):
        if feedback not in FEEDBACK:
            raise ValueError(f"feedback={feedback!r} is unknown. Use one of {', '.join(FEEDBACK)}.")
        if path is None:
            raise ValueError(
                "task 'tooluse' needs the path of prepared rows: --task_options '{\"path\": \"FILE or FOLDER\"}'."
            )
        self._feedback, reader = feedback, Reader(skip_bad_rows)
        train, test = files_of(path, "tooluse")
        train_rows = reader.load(train, "train", _row)
        self._splits = splits(train_rows, reader.load(test, "test", _row) if test else None)
        self.bad_rows = reader.bad_rows

    def rows(self, split: str, limit: int | None = None) -> list[Row]:
        """Return the rows of "train" or "test"."""
        return split_of(self._splits, split, limit)

    def grade(self, row: Row, completion: str) -> Grade:
        """1.0 when the calls are the expected ones with the same arguments, in any order."""
        expected = _expected(row["answer"])
        try:
            given = read_calls(strip_thinking(completion))
        except BadCall as error:
            return self._failed(str(error), "format_error", row)
        if Counter(call.key for call in given) == Counter(call.key for call in expected):
            return Grade(1.0, None, "passed")
        return self._failed(
            what_is_wrong(given, list(expected), _documented(_text(row["prompt"]))), "wrong_answer", row
        )

    def gold(self, row: Row) -> str:
        """Return the expected calls in ReAct form."""
        return "\n".join(
            f"Action: {call.tool}\nAction Input: {json.dumps(call.arguments, ensure_ascii=False)}"
            for call in _expected(row["answer"])
        )

    def _failed(self, why: str, outcome: str, row: Row) -> Grade:
        why = sanitise(why, 1000)
        if self._feedback == "gold":
            why = f"{why}\n\nThe expected calls are:\n{self.gold(row)}"
        return Grade(0.0, why, outcome)


def what_is_wrong(given: list[Call], expected: list[Call], tools: dict[str, dict[str, str] | None]) -> str:
    """Say the first thing that is wrong, without a right value: tools, arguments, types, number of calls, values."""
    known = {*tools, *(call.tool for call in expected)} if tools else set()
    for call in given:
        parameters, wanted = (
            tools.get(call.tool),
            {name for c in expected if c.tool == call.tool for name in c.arguments},
        )
        if known and call.tool not in known:
            return f'There is no tool "{_short(call.tool)}". The tools are: {", ".join(list(tools)[:LISTED])}.'
        for name, value in call.arguments.items():
            if parameters is None:
                break  # not documented in a form we can read: only the expected calls can tell
            if name not in parameters and name not in wanted:
                return f'The tool "{call.tool}" has no argument "{_short(name)}".'
            if not has_type(value, parameters.get(name, "")):
                return f'The argument "{_short(name)}" of "{call.tool}" must be of type {parameters[name]}.'
    if len(given) != len(expected):
        made = "1 call was" if len(given) == 1 else f"{len(given)} calls were"
        return f"{made} made, which is too {'many' if len(given) > len(expected) else 'few'}."
    for tool in Counter(call.tool for call in given) - Counter(call.tool for call in expected):
        return f'The tool "{_short(tool)}" is not the one to call here, or not as often.'
    for call in given:
        wanted = [set(c.arguments) for c in expected if c.tool == call.tool]
        names = set(call.arguments)
        if names not in wanted:
            nearest = min(wanted, key=lambda other: (len(other ^ names), sorted(other)))
            if missing := sorted(nearest - names):
                return f'The argument "{_short(missing[0])}" of "{_short(call.tool)}" is missing.'
            return f'The argument "{_short(sorted(names - nearest)[0])}" of "{_short(call.tool)}" is not needed here.'
    wrong = Counter(call.key for call in given) - Counter(call.key for call in expected)
    tool = next(call.tool for call in given if call.key in wrong)
    return f'The tools and the names of their arguments are right, but a value in a call of "{_short(tool)}" is wrong.'


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."


def _row(raw: dict[str, Any], where: str) -> Row:
    require(raw, where, "prompt", "answer")
    prompt, answer = conversation(raw, where), raw["answer"]
    text = answer if isinstance(answer, str) else json.dumps(answer, default=str)
    try:
        _expected(text)
    except BadCall as error:
        raise ValueError(f"{where}: field 'answer': {error}") from None
    return {"prompt": prompt, "answer": text, "family": str(raw.get("family") or "all"), "id": where}


@lru_cache(maxsize=4096)
def _expected(answer: str) -> tuple[Call, ...]:
    """Read the expected calls: a list of {"Action": name, "Action_Input": arguments, or their text in JSON}."""
    text = answer.strip()
    found, end = decode_any(text, 0, "The list of calls")
    if end < len(text):
        raise BadCall(f"Something follows the list of calls (character {end + 1}).")
    if not isinstance(found, list) or not found:
        raise BadCall('It must be a list of calls, such as [{"Action": "name", "Action_Input": "{}"}].')
    calls = []
    for number, call in enumerate(found, start=1):
        tool, given = (call.get("Action"), call.get("Action_Input")) if isinstance(call, dict) else (None, None)
        if not isinstance(tool, str) or not tool.strip() or not isinstance(given, str | dict):
            raise BadCall(f"Call {number} needs 'Action', a name, and 'Action_Input', an object or its text in JSON.")
        text = given.strip() if isinstance(given, str) else json.dumps(given)
        calls.append(Call(tool.strip(), decode(text, 0, f"The Action_Input of call {number}")[0]))
    return tuple(calls)


@lru_cache(maxsize=4096)
def _documented(prompt: str) -> dict[str, dict[str, str] | None]:
    return documented_tools(prompt)


def _text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else "\n\n".join(m["content"] for m in prompt)
