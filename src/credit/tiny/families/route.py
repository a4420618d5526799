"""Route: follow four steps on a fixed map. Easy step by step, out of reach in one leap.

Every direction is a permutation of the places, so two walks that once differ end in different places.
Half of the edges are shaky: the model remembers them wrongly part of the time.
"""

from __future__ import annotations

import json
from random import Random

from credit.tasks.base import Grade, Row
from credit.tiny.families.base import Answer, Item, malformed, passed, split_words, wrong

NAME: str = "route"
SYSTEM: str = "you walk on a map ."
NEEDS_REASONING: bool = True

PLACES = tuple(f"s{i}" for i in range(8))
DIRECTIONS = ("north", "east", "south", "west")
STEPS = 4
NUMBERS = [str(n + 1) for n in range(STEPS)]

Edge = tuple[str, str]  # (place, direction)


def _build_map() -> tuple[dict[Edge, str], dict[Edge, str]]:
    """Return (where every edge leads, where every shaky edge is believed to lead)."""
    rng = Random("map")
    leads: dict[Edge, str] = {}
    for direction in DIRECTIONS:
        order = rng.sample(PLACES, len(PLACES))
        for here, there in zip(order, order[1:] + order[:1], strict=True):
            leads[here, direction] = there
    shaky = rng.sample(sorted(leads), len(leads) // 2)
    believed = {edge: rng.choice([p for p in PLACES if p not in (leads[edge], edge[0])]) for edge in shaky}
    return leads, believed


LEADS, BELIEVED = _build_map()


def words() -> set[str]:
    """Return every word of the family."""
    fixed = "from go . where do you end ? , so answer the walk is wrong at step not write and a place reached"
    return {*PLACES, *DIRECTIONS, *split_words(f"{fixed} {SYSTEM}")}


def walk(start: str, directions: list[str], slip: int | None = None) -> list[str]:
    """Return the places reached; at step `slip` (from 0) the edge is misremembered."""
    places, here = [], start
    for step, direction in enumerate(directions):
        edge = (here, direction)
        here = LEADS[edge]
        if step == slip:
            here = BELIEVED.get(edge) or next(p for p in PLACES if p not in (here, edge[0]))
        places.append(here)
    return places


def _answer(start: str, directions: list[str], places: list[str]) -> Answer:
    steps = " ".join(f"{n} {d} {p}" for n, d, p in zip(NUMBERS, directions, places, strict=True))
    return Answer(f"answer {places[-1]}", f"from {start} {steps} . so answer {places[-1]}")


def draw(rng: Random) -> Item:
    """Draw a start and four directions. The misconception is the first shaky edge of the walk."""
    start = rng.choice(PLACES)
    directions = [rng.choice(DIRECTIONS) for _ in range(STEPS)]
    places = walk(start, directions)
    edges = list(zip([start, *places], directions, strict=False))
    shaky = [step for step, edge in enumerate(edges) if edge in BELIEVED] or [0]
    listed = " ".join(f"{number} {direction}" for number, direction in zip(NUMBERS, directions, strict=True))
    return Item(
        family=NAME,
        prompt=f"from {start} go {listed} . where do you end ?",
        meta={"start": start, "directions": directions, "places": places},
        answer=places[-1],
        correct=_answer(start, directions, places),
        wrong=tuple(_answer(start, directions, walk(start, directions, slip)) for slip in shaky),
    )


def _written_walk(meta: dict, said: list[str]) -> list[str] | None:
    """Return the places of the walk as written, or None when it is not written out."""
    for begin in range(len(said)):
        if said[begin : begin + 2] != ["from", meta["start"]]:
            continue
        steps = said[begin + 2 : begin + 2 + 3 * STEPS]  # 1 direction place 2 direction place ...
        if len(steps) == 3 * STEPS and steps[0::3] == NUMBERS and steps[1::3] == meta["directions"]:
            return steps[2::3]
    return None


def grade(row: Row, completion: str) -> Grade:
    """Grade `... answer PLACE`; the feedback names the first wrong step of a written walk."""
    meta = json.loads(row["meta"])
    said = split_words(completion)
    if len(said) < 2 or said[-2] != "answer" or said[-1] not in PLACES:
        return malformed("write answer and a place")
    if said[-1] == row["answer"]:
        return passed()
    written = _written_walk(meta, said)
    if written is not None:
        for step, (here, right) in enumerate(zip(written, meta["places"], strict=True), start=1):
            if here != right:
                return wrong(f"the walk is wrong at step {step}")
        return wrong("the answer is not the place reached")
    return wrong(f"{said[-1]} is wrong , write the walk")


def reasons(row: Row, completion: str) -> bool:
    """Return whether all four steps are written out."""
    return _written_walk(json.loads(row["meta"]), split_words(completion)) is not None


def bearing(row: Row, completion: str) -> list[int]:
    """Return the positions of the places reached (start and directions are copied from the prompt)."""
    said = split_words(completion)
    return [i for i, word in enumerate(said) if word in PLACES and (i == 0 or said[i - 1] != "from")]


def first_error(row: Row, completion: str) -> int | None:
    """Return the position of the first wrong place of a written walk, else that of a wrong answer."""
    meta, said = json.loads(row["meta"]), split_words(completion)
    right = [*meta["places"], row["answer"]] if _written_walk(meta, said) else [row["answer"]]
    stated = bearing(row, completion)
    if len(stated) != len(right):
        return None
    return next((i for i, place in zip(stated, right, strict=True) if said[i] != place), None)
