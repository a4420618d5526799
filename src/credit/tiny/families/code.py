"""Code: write a two-step arithmetic function; graded by running it on inputs, never by comparing text.

The task runs it in the sandbox; `evaluated` gives the same values without running anything, to draw items with.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable
from random import Random
from typing import Any

from credit.tasks.base import Grade, Row
from credit.tiny.families.base import LARGEST, Answer, Item, malformed, number, passed, split_words, wrong

NAME: str = "code"
SYSTEM: str = "you write code ."
NEEDS_REASONING: bool = False

HEAD = "def f ( a , b ) : return"
# First step: words -> (expression, the expression someone in error writes).
FIRST = {
    "negate {x}": ("0 - {x}", "1 - {x}"),
    "double {x}": ("2 * {x}", "{x} * {x}"),
    "triple {x}": ("3 * {x}", "2 * {x}"),
    "square {x}": ("{x} * {x}", "2 * {x}"),
    "increment {x}": ("{x} + 1", "{x} - 1"),
    "decrement {x}": ("{x} - 1", "{x} + 1"),
    "halve {x}": ("{x} // 2", "{x} / 2"),
}
# Second step: words -> (expression on the first result r, the one in error).
SECOND = {
    "multiply by {y}": ("{r} * {y}", "{r} + {y}"),
    "add {y}": ("{r} + {y}", "{r} * {y}"),
    "subtract {y}": ("{r} - {y}", "{y} - {r}"),
    "subtract from {y}": ("{y} - {r}", "{r} - {y}"),
    "divide by {y}": ("{r} // {y}", "{r} / {y}"),
}
INPUTS = ((3, 2), (2, 5), (5, 4), (4, 1), (1, 3))
CONSTANTS = tuple("23456789")

MOST_WORDS = 40
_TOKENS = {"a", "b", "(", ")", "+", "-", "*", "/", "//", "%"}
_NUMBER = re.compile(r"[0-9]{1,3}")
_OPERATORS: dict[type[ast.operator], Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def words() -> set[str]:
    """Return every word of the family."""
    steps = " ".join([*FIRST, *SECOND]).format(x="a", y="b", r="r")
    fixed = "write f : , then let me think . means so expected got wanted int float failed a large number"
    return {*split_words(f"{HEAD} {steps} {fixed} {SYSTEM}"), *_TOKENS} - {"r"}


def evaluate(tree: ast.expr, a: int, b: int) -> int | float:
    """Evaluate a whitelisted arithmetic expression. Without powers and with few words, no value grows large.

    Raises:
        ValueError: a node that is not allowed.
        ArithmeticError: division by zero.
    """
    match tree:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id="a"):
            return a
        case ast.Name(id="b"):
            return b
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -evaluate(operand, a, b)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return evaluate(operand, a, b)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](evaluate(left, a, b), evaluate(right, a, b))
    raise ValueError(f"{type(tree).__name__} is not allowed")


Value = int | float | None
"""What the function returned; None where it failed."""


def evaluated(tree: ast.expr) -> list[Value]:
    """Return the values on all inputs by walking the expression."""
    values: list[Value] = []
    for a, b in INPUTS:
        try:
            values.append(evaluate(tree, a, b))
        except (ValueError, ArithmeticError):
            values.append(None)
    return values


_VALUES = """
def values(inputs):
    found = []
    for a, b in inputs:
        try:
            found.append(f(a, b))
        except Exception:
            found.append(None)
    return found
"""


def sandboxed(run: Callable[..., Any]) -> Callable[[ast.expr], list[Value]]:
    """Return what runs the function on all inputs with `Sandbox.run`, in one program."""

    def values(tree: ast.expr) -> list[Value]:
        source = f"def f(a, b): return {ast.unparse(tree)}\n{_VALUES}"
        result = run(source, call=("values", [list(map(list, INPUTS))]))
        if result.outcome == "sandbox_error":
            raise RuntimeError(f"the sandbox failed, and no grade is made up: {result.stderr[:300]}")
        found = result.value if result.outcome == "ok" else [None] * len(INPUTS)
        return [value if type(value) in (int, float) else None for value in found]  # "( )" is an empty tuple

    return values


def parse(said: list[str]) -> ast.expr | None:
    """Return the expression that ends a completion, after the last head; None when there is none."""
    text, mark = " ".join(said), f"{HEAD} "
    if mark not in text:
        return None
    body = text.rpartition(mark)[2].split(" ")
    if len(body) > MOST_WORDS or not all(word in _TOKENS or _NUMBER.fullmatch(word) for word in body):
        return None
    try:
        return ast.parse(" ".join(body), mode="eval").body
    except SyntaxError:
        return None


def _answer(first: str, second: str, step: str, then: str, body: str) -> Answer:
    """Write an answer out; `step` and `then` are what the two steps are said to mean."""
    code = f"{HEAD} {body}"
    return Answer(code, f"let me think . {first} means {step} , {second} means {then} . so {code}")


def _misconceptions(first: str, second: str, x: str, y: str) -> list[Answer]:
    """Return the wrong answers this pair of steps provokes, in an order fixed by the pair."""
    (right, error), (then, slip) = FIRST[first], SECOND[second]
    said = first.format(x=x), second.format(y=y)
    step = right.format(x=x)

    def write(step: str, then: str, result: str) -> Answer:
        return _answer(*said, step, then.format(r="", y=y).strip(), then.format(r=result, y=y))

    bad = error.format(x=x)
    candidates = [
        write(bad, then, f"( {bad} )"),
        write(step, slip, f"( {step} )"),
        write(step, then, step),  # parentheses forgotten
        write(step, then, x),  # first step forgotten
    ]
    Random(f"{first} {second}").shuffle(candidates)
    return candidates


def draw(rng: Random) -> Item:
    """Draw two steps, a variable for the first, and the other variable or a constant for the second."""
    while True:
        first, second = rng.choice(sorted(FIRST)), rng.choice(sorted(SECOND))
        x = rng.choice("ab")
        y = rng.choice([*CONSTANTS, "b" if x == "a" else "a"])
        step, then = FIRST[first][0].format(x=x), SECOND[second][0]
        said = first.format(x=x), second.format(y=y)
        correct = _answer(*said, step, then.format(r="", y=y).strip(), then.format(r=f"( {step} )", y=y))
        tree = parse(split_words(correct.terse))
        assert tree is not None
        expected = [int(evaluate(tree, *pair)) for pair in INPUTS]
        meta = {"expected": expected}
        row = {"meta": json.dumps(meta)}
        wrong_answers = [w for w in _misconceptions(first, second, x, y) if grade(row, w.terse).score < 1]
        if wrong_answers and max(map(abs, expected)) <= LARGEST:
            return Item(
                family=NAME,
                prompt=f"write f : {said[0]} , then {said[1]}",
                meta=meta,
                answer=correct.terse,
                correct=correct,
                wrong=tuple(wrong_answers[:2]),
            )


def grade(row: Row, completion: str, values: Callable[[ast.expr], list[Value]] = evaluated) -> Grade:
    """Run the function on the test inputs; the feedback shows the first test that fails."""
    tree = parse(split_words(completion))
    if tree is None:
        return malformed(f"write {HEAD} a value")
    expected_values = json.loads(row["meta"])["expected"]
    for (a, b), expected, got in zip(INPUTS, expected_values, values(tree), strict=True):
        call = f"f ( {a} , {b} )"
        if got is None:
            return wrong(f"{call} failed")
        if isinstance(got, float):
            return wrong(f"{call} wanted int got float")
        if got != expected:
            return wrong(f"{call} expected {number(expected)} got {number(got)}")
    return passed()


def reasons(row: Row, completion: str) -> bool:
    """Return whether the steps are spelled out before the code."""
    said = split_words(completion)
    return "means" in said[: said.index("def")] if "def" in said else "means" in said


def bearing(row: Row, completion: str) -> list[int]:
    """Return the positions of expressions: after `means` up to `,` or `.`, and after `return`."""
    inside, positions = False, []
    for i, word in enumerate(split_words(completion)):
        if word in ("means", "return"):
            inside = True
        elif word in (",", "."):
            inside = False
        elif inside:
            positions.append(i)
    return positions


def first_error(row: Row, completion: str) -> int | None:
    """Return None: a wrong function has no one word that is wrong, since many right ones exist."""
    return None
