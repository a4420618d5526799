"""Tools: turn a request into one call with two named arguments. The call is made, in `credit.tiny.toolworld`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from random import Random

from credit.tasks.base import Grade, Row
from credit.tiny.families.base import Answer, Item, malformed, passed, split_words, wrong
from credit.tiny.toolworld import POOLS, ToolError, World, call

NAME: str = "tools"
SYSTEM: str = "you call tools ."
NEEDS_REASONING: bool = False

# What a wrong call may call an argument.
ALIASES = {
    "minutes": "length",
    "hour": "time",
    "people": "persons",
    "count": "amount",
    "volume": "level",
    "label": "name",
    "city": "place",
    "day": "date",
    "person": "to",
    "topic": "about",
    "song": "title",
    "item": "thing",
}


@dataclass(frozen=True)
class Tool:
    """A tool: its two arguments, the tool it is confused with, and ways to ask for it."""

    arguments: tuple[str, str]
    confused_with: str
    requests: tuple[str, ...]


TOOLS = {
    "set_timer": Tool(
        ("minutes", "label"),
        "set_alarm",
        ("timer called {label} of {minutes} minutes", "in {minutes} minutes remind me of {label}"),
    ),
    "set_alarm": Tool(
        ("hour", "label"), "set_timer", ("alarm called {label} at {hour}", "wake me at {hour} for {label}")
    ),
    "book_table": Tool(
        ("people", "hour"), "set_alarm", ("table for {people} at {hour}", "at {hour} a meal for {people}")
    ),
    "get_weather": Tool(("city", "day"), "buy_ticket", ("weather in {city} on {day}", "will {city} be sunny on {day}")),
    "buy_ticket": Tool(("city", "day"), "get_weather", ("ticket to {city} on {day}", "on {day} i go to {city}")),
    "send_mail": Tool(("person", "topic"), "add_item", ("mail {person} about {topic}", "tell {person} of {topic}")),
    "play_song": Tool(
        ("song", "volume"), "set_timer", ("play {song} at volume {volume}", "at level {volume} put on {song}")
    ),
    "add_item": Tool(("item", "count"), "send_mail", ("add {count} {item} to the list", "we need {count} {item}")),
}
_CALL = re.compile(r"call (\w+) \{ (.*) \}$")


def words() -> set[str]:
    """Return every word of the family."""
    fixed = "i will use with and . so call { } : , missing argument unknown is the wrong tool has value no such"
    requests = " ".join(r for tool in TOOLS.values() for r in tool.requests)
    pools = " ".join(value for pool in POOLS.values() for value in pool)
    names = " ".join([*TOOLS, *POOLS, *ALIASES.values()])
    return set(split_words(f"{fixed} write {requests} {pools} {names} {SYSTEM}"))


def _answer(tool: str, arguments: dict[str, str]) -> Answer:
    call = f"call {tool} {{ {' , '.join(f'{name} : {value}' for name, value in arguments.items())} }}"
    return Answer(call, f"i will use {tool} with {' and '.join(arguments)} . so {call}")


def _misconceptions(tool: str, wording: int, arguments: dict[str, str]) -> tuple[Answer, Answer]:
    """Return the two wrong calls that this tool and wording provoke."""
    (first, second), (a, b) = arguments, arguments.values()
    candidates = [
        _answer(tool, {first: a}),
        _answer(tool, {second: b}),
        _answer(tool, {first: b, second: a}),
        _answer(tool, {ALIASES[first]: a, second: b}),
        _answer(tool, {first: a, ALIASES[second]: b}),
        _answer(TOOLS[tool].confused_with, arguments),
    ]
    chosen = Random(f"{tool} {wording}").sample(candidates, 2)
    return chosen[0], chosen[1]


def draw(rng: Random) -> Item:
    """Draw a tool, its two values and a wording."""
    name = rng.choice(sorted(TOOLS))
    tool = TOOLS[name]
    arguments = {argument: rng.choice(POOLS[argument]) for argument in tool.arguments}
    wording = rng.randrange(len(tool.requests))
    correct = _answer(name, arguments)
    return Item(
        family=NAME,
        prompt=tool.requests[wording].format(**arguments),
        meta={"tool": name, "arguments": arguments},
        answer=correct.terse,
        correct=correct,
        wrong=_misconceptions(name, wording, arguments),
    )


def _parse(completion: str) -> tuple[str, list[tuple[str, str]]] | None:
    """Return (tool, arguments) of the call that ends the text, or None."""
    text = " ".join(split_words(completion))
    start = text.rfind("call ")
    found = _CALL.match(text[start:]) if start >= 0 else None
    if found is None:
        return None
    pairs = [tuple(part.split(" : ")) for part in found[2].split(" , ")]
    if any(len(pair) != 2 or " " in pair[0] or " " in pair[1] for pair in pairs):
        return None
    return found[1], [(pair[0], pair[1]) for pair in pairs]


def grade(row: Row, completion: str) -> Grade:
    """Make the call `call TOOL { name : value , ... }` that ends the text; right is what leaves the world asked for."""
    meta = json.loads(row["meta"])
    parsed = _parse(completion)
    if parsed is None:
        return malformed("write call tool { argument : value }")
    tool, pairs = parsed
    asked_for, reached, error = World(), World(), None
    wanted = call(asked_for, meta["tool"], list(meta["arguments"].items()))
    try:
        read = call(reached, tool, pairs)
    except ToolError as raised:
        error, read = raised, raised.read
    if error is None and reached == asked_for:
        return passed()
    if tool in TOOLS and tool != meta["tool"]:
        return wrong(f"{tool} is the wrong tool")
    for name, value in read.items():  # also what a tool read before it stopped
        if value != wanted[name]:
            return wrong(f"argument {name} has the wrong value")
    return wrong(_said(error))


def _said(error: ToolError | None) -> str:
    """Return the tool's words, without a name that the vocabulary lacks."""
    assert error is not None, "a call that read every argument as wanted leaves the world that was asked for"
    return str(error) if error.argument is None or error.argument in _NAMES else "unknown argument"


_NAMES = {*POOLS, *ALIASES.values()}


def reasons(row: Row, completion: str) -> bool:
    """Return whether the tool is named before it is called."""
    return "i will use" in " ".join(split_words(completion))


def bearing(row: Row, completion: str) -> list[int]:
    """Return the positions of tools, argument names and values (a value follows a colon)."""
    said = split_words(completion)
    return [
        i
        for i, word in enumerate(said)
        if word in TOOLS or word in _NAMES or (i > 0 and said[i - 1] == ":" and word not in "{},:")
    ]


def first_error(row: Row, completion: str) -> int | None:
    """Return the position of the first wrong tool, argument name or value."""
    meta, said = json.loads(row["meta"]), split_words(completion)
    wanted = meta["arguments"]
    for i in bearing(row, completion):
        value = i > 1 and said[i - 1] == ":"
        if value and wanted.get(said[i - 2]) != said[i]:
            return i
        if not value and said[i] != meta["tool"] and said[i] not in wanted:
            return i
    return None
