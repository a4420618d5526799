"""Calls of tools in ReAct form (Action, Action Input) and the tools a prompt documents: pure functions on texts."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

_ACTION = re.compile(r"^[ \t*_#>-]*Action[ \t*_]*:[ \t*_]*([^\n]*)$", flags=re.MULTILINE | re.IGNORECASE)
_INPUT = re.compile(r"\s*[*_]*Action[ _]Input[ \t*_]*:[*_]*\s*(?:```\w*\s*)?", flags=re.IGNORECASE)
_HEADER = re.compile(r"^(?:Parameters:[ \t]*|([A-Za-z_][\w.-]*): .*)", flags=re.MULTILINE)
_OTHER_HEADERS = {"Output", "Error", "Parameters", "Documentation", "Description", "Name", "Question", "Thought"}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,),
    "object": (dict,),
}  # fmt: skip
MOST_DEPTH = 100


class BadCall(ValueError):
    """A call that cannot be read, said in words a model can use."""


@dataclass(frozen=True)
class Call:
    """One call of a tool."""

    tool: str
    arguments: dict[str, Any]

    @property
    def key(self) -> Hashable:
        """Equal for calls with the same tool and arguments: 1 is 1.0, and neither true nor "1"."""
        return self.tool, _key(self.arguments)


def _key(value: Any) -> Hashable:
    if isinstance(value, dict):
        return "object", frozenset((name, _key(item)) for name, item in value.items())
    if isinstance(value, list):
        return "array", tuple(_key(item) for item in value)
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__, value


def read_calls(text: str) -> list[Call]:
    """Return the calls of an answer, in order.

    What follows the JSON of a call is passed over up to the next "Action:".

    Raises:
        BadCall: there is none, or one cannot be read.
    """
    calls, at = [], 0
    while action := _ACTION.search(text, at):
        number, tool = f"call {len(calls) + 1}", action[1].strip(" \t*_`\"'")
        given = _INPUT.match(text, action.end())
        if not tool:
            raise BadCall(f"The Action of {number} names no tool.")
        if given is None:
            raise BadCall(f"The Action of {number} has no Action Input on the next line.")
        arguments, at = decode(text, given.end(), f"The Action Input of {number}")
        calls.append(Call(tool, arguments))
    if not calls:
        raise BadCall("No call was found. Write 'Action: TOOL' and, on the next line, 'Action Input: {...}'.")
    return calls


def decode(text: str, start: int, what: str) -> tuple[dict[str, Any], int]:
    """Decode the JSON object that starts at a place of a text; return it and where it ends."""
    value, end = decode_any(text, start, what)
    if not isinstance(value, dict):
        raise BadCall(f"{what} is not a JSON object. Write the arguments as {{...}}.")
    return value, end


def decode_any(text: str, start: int, what: str) -> tuple[Any, int]:
    """Decode the JSON value that starts at a place of a text; return it and where it ends."""
    try:
        value, end = _decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise BadCall(f"{what} is not valid JSON ({error.msg}, character {error.pos - start + 1}).") from None
    except (ValueError, RecursionError) as error:
        raise BadCall(f"{what} is not valid JSON ({error}).") from None
    if _deeper(value, MOST_DEPTH):
        raise BadCall(f"{what} is nested more than {MOST_DEPTH} deep.")
    return value, end


def _deeper(value: Any, depth: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth == 0 or any(_deeper(item, depth - 1) for item in items)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an argument is given twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def documented_tools(prompt: str) -> dict[str, dict[str, str] | None]:
    """Return the tools a prompt documents, each with the type of every parameter; None where those cannot be read.

    A tool is a line "name: what it does" before a line "Parameters: {...}" whose values start with a type.
    """
    tools: dict[str, dict[str, str] | None] = {}
    name = None
    for header in _HEADER.finditer(prompt):
        if header[1] and header[1] not in _OTHER_HEADERS:
            name = header[1]
        elif not header[1] and name is not None:
            try:
                parameters, _ = decode(prompt, header.end(), "Parameters")
            except BadCall:
                tools[name] = None
            else:
                tools[name] = {key: _type_of(said) for key, said in parameters.items()}
            name = None
    return tools


def _type_of(said: Any) -> str:
    words = re.match(r"[a-z]+\b(?![\[{])", str(said).strip().lower())
    return words[0] if words and words[0] in _TYPES else ""


def has_type(value: Any, kind: str) -> bool:
    """Return whether a value is of a documented type; a type that is not known admits all."""
    if isinstance(value, bool):
        return kind in ("", "boolean")
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return not kind or isinstance(value, _TYPES[kind])
