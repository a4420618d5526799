"""The texts of coding tasks: the program in an answer, whether two outputs agree, and what to say about a failure.

Pure functions. Whatever a program wrote is sanitised before it enters a text that a model will read.
"""

from __future__ import annotations

import builtins
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from credit.context import strip_thinking
from credit.sandbox import Result, sanitise

MOST_LINES, MOST_WIDTH, MOST_TEXT = 8, 250, 2000
"""Lines and characters of one part of the feedback, and characters of all of it (as SDPO)."""
SHOWN = 2
"""Wrong answers shown, the shortest ones (as SDPO)."""

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*(\w*)[^\n]*$", flags=re.MULTILINE)
_ERROR = re.compile(r"^(\w+)(?::|$)", flags=re.MULTILINE)

NO_CODE = "No program was found. Put the whole program in one block that starts with ```python and ends with ```."
CUT_OFF = "The answer was cut off before its code block was closed. Be shorter."


@dataclass(frozen=True)
class Case:
    """One test.

    Attributes:
        input: text for standard input; with `call`, the list of arguments.
        expected: the right output; with `call`, the right value. Never enters the sandbox.
        call: name of the function or method to call, None for programs that read standard input.
        hidden: a hidden test counts for the score, and the feedback says nothing about it but how it failed.
    """

    input: Any
    expected: Any
    call: str | None = None
    hidden: bool = False


def extract_code(completion: str) -> tuple[str | None, str]:
    """Return (program, "") or (None, why): the last closed block marked as Python, else the last without a mark."""
    text = strip_thinking(completion)
    blocks, opened = [], None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence[1][0] == opened[1][0] and len(fence[1]) >= len(opened[1]) and not fence[2]:
            blocks.append((opened[2].lower(), text[opened.end() + 1 : fence.start()]))
            opened = None
    python = [code for language, code in blocks if language in ("python", "py", "python3")]
    plain = [code for language, code in blocks if not language]  # often sample output after the program
    chosen = (python or plain or [""])[-1]
    if chosen.strip():
        return textwrap.dedent(chosen), ""
    return None, CUT_OFF if opened is not None else NO_CODE


def same_output(given: str, expected: str) -> bool:
    """Compare line by line without outer space; a line that differs may still agree as exact decimal numbers."""
    given, expected = given.strip(), expected.strip()
    if given.count("\n") != expected.count("\n"):
        return False
    pairs = zip(given.split("\n"), expected.split("\n"), strict=True)
    return all(a.strip() == b.strip() or _same_numbers(a, b) for a, b in pairs)


_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]{1,4})?")


def _same_numbers(left: str, right: str) -> bool:
    """Whether two lines hold the same plain numbers; "0011" is none, it may be a string of digits."""
    words = left.split(), right.split()
    if len(words[0]) != len(words[1]):
        return False
    return all(
        a == b or (_NUMBER.fullmatch(a) and _NUMBER.fullmatch(b) and Decimal(a) == Decimal(b))
        for a, b in zip(*words, strict=True)
    )


def same_value(given: Any, expected: Any) -> bool:
    """Compare values as JSON: true is not 1, and 1.0 is 1."""
    if isinstance(given, bool) or isinstance(expected, bool):
        return given is expected
    if isinstance(given, list) and isinstance(expected, list):
        return len(given) == len(expected) and all(map(same_value, given, expected))
    if isinstance(given, dict) and isinstance(expected, dict):
        return given.keys() == expected.keys() and all(same_value(given[k], expected[k]) for k in given)
    return given == expected


def judge(case: Case, result: Result) -> str:
    """Return the outcome of one test: that of the sandbox, or "passed" or "wrong_answer"."""
    if result.outcome != "ok":
        return result.outcome
    if case.call is None:
        return "passed" if same_output(result.stdout, str(case.expected)) else "wrong_answer"
    return "passed" if same_value(result.value, case.expected) else "wrong_answer"


def feedback(cases: Sequence[Case], results: Sequence[Result], outcomes: Sequence[str]) -> str | None:
    """Say what failed: the first public error, else the first limit, else the shortest wrong answers.

    Expected values and inputs of hidden tests never appear; nor does what a program wrote while it ran one.
    """
    failed = [i for i, outcome in enumerate(outcomes) if outcome != "passed"]
    public = [i for i in failed if not cases[i].hidden]
    if not failed:
        return None
    if not public:
        first = failed[0]
        # Not even the class of an error: a program can choose it by what it read.
        return f"All public tests pass. A hidden test ended with {outcomes[first].replace('_', ' ')}."
    errors = [i for i in public if outcomes[i] == "runtime_error"]
    limits = [i for i in public if outcomes[i] not in ("runtime_error", "wrong_answer")]
    if errors or limits:
        i = (errors or limits)[0]
        parts = [f"A test ended with {_named(outcomes[i], results[i])}.", _part("Input", _shown_input(cases[i]))]
        if errors:
            parts.append(_part("Error", _last_lines(results[i].stderr)))
    else:
        shortest = sorted(public, key=lambda i: len(_shown_input(cases[i])))[:SHOWN]
        parts = [part for i in shortest for part in _wrong(cases[i], results[i])]
    return sanitise("\n\n".join(parts), MOST_TEXT)


def _wrong(case: Case, result: Result) -> list[str]:
    given = result.stdout if case.call is None or result.value is None else json.dumps(result.value)
    expected = str(case.expected) if case.call is None else json.dumps(case.expected)
    return ["A test gave a wrong answer.", _part("Input", _shown_input(case)), _part("Expected", expected),
            _part("Got", given)]  # fmt: skip


def _shown_input(case: Case) -> str:
    return str(case.input) if case.call is None else f"{case.call}({', '.join(json.dumps(a) for a in case.input)})"


def _named(outcome: str, result: Result) -> str:
    """Name an outcome; of an error only the class, which is a word of Python's, not of the program's."""
    if outcome != "runtime_error":
        return outcome.replace("_", " ")
    names = [name for name in _ERROR.findall(result.stderr) if _is_error(name)]
    return names[-1] if names else "an error"


def _is_error(name: str) -> bool:
    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _part(title: str, text: str) -> str:
    lines = sanitise(text, 4 * MOST_LINES * MOST_WIDTH).split("\n")
    shown = [line if len(line) <= MOST_WIDTH else line[:MOST_WIDTH] + " ..." for line in lines[:MOST_LINES]]
    # Indented, so that nothing a program prints can pass for a heading of ours.
    return "\n".join(
        [f"{title}:", *(f"    {line}" for line in [*shown, *(["..."] if len(lines) > MOST_LINES else [])])]
    )


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-MOST_LINES:])
