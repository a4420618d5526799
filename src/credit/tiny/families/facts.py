"""Facts: name the unit of a quantity among four options. Each quantity has one unit it is confused with."""

from __future__ import annotations

import json
from random import Random

from credit.tasks.base import Grade, Row
from credit.tiny.families.base import Answer, Item, malformed, passed, split_words, wrong

NAME: str = "facts"
SYSTEM: str = "you know units ."
NEEDS_REASONING: bool = False

UNITS = {
    "force": "newton",
    "energy": "joule",
    "power": "watt",
    "charge": "coulomb",
    "voltage": "volt",
    "current": "ampere",
    "resistance": "ohm",
    "capacitance": "farad",
    "inductance": "henry",
    "pressure": "pascal",
    "frequency": "hertz",
    "temperature": "kelvin",
    "mass": "gram",
    "length": "metre",
    "time": "second",
    "flux": "weber",
    "conductance": "siemens",
    "brightness": "candela",
    "amount": "mole",
    "light": "lumen",
    "illuminance": "lux",
    "radioactivity": "becquerel",
    "dose": "gray",
    "angle": "radian",
}
TEMPLATES = ("which unit measures {} ? {}", "what is the unit of {} ? {}")


def _confusions() -> dict[str, str]:
    """Pair every quantity with the unit of another one: a fixed cycle, so that no unit is right for both."""
    quantities = sorted(UNITS)
    Random("confusions").shuffle(quantities)
    return {q: UNITS[other] for q, other in zip(quantities, quantities[1:] + quantities[:1], strict=True)}


CONFUSED = _confusions()


def words() -> set[str]:
    """Return every word of the family."""
    fixed = "is not the unit of one options measured in so answer . write and option"
    return set(split_words(" ".join([*UNITS, *UNITS.values(), *TEMPLATES, fixed, SYSTEM]).replace("{}", "")))


def _answer(quantity: str, unit: str) -> Answer:
    return Answer(f"answer {unit}", f"{quantity} is measured in {unit} . so answer {unit}")


def draw(rng: Random) -> Item:
    """Draw a quantity, the two options that matter, two others, an order and a wording."""
    quantity = rng.choice(sorted(UNITS))
    gold, tempting = UNITS[quantity], CONFUSED[quantity]
    others = rng.sample(sorted(set(UNITS.values()) - {gold, tempting}), 2)
    options = rng.sample([gold, tempting, *others], 4)
    return Item(
        family=NAME,
        prompt=rng.choice(TEMPLATES).format(quantity, " ".join(options)),
        meta={"quantity": quantity, "options": options},
        answer=gold,
        correct=_answer(quantity, gold),
        wrong=(_answer(quantity, tempting), _answer(quantity, others[0])),
    )


def grade(row: Row, completion: str) -> Grade:
    """Grade `... answer UNIT`."""
    meta = json.loads(row["meta"])
    said = split_words(completion)
    if len(said) < 2 or said[-2] != "answer":
        return malformed("write answer and one option")
    if said[-1] == row["answer"]:
        return passed()
    if said[-1] not in meta["options"]:
        return wrong("not one of the options")
    return wrong(f"{said[-1]} is not the unit of {meta['quantity']}")


def reasons(row: Row, completion: str) -> bool:
    """Return whether the fact is recalled before it is used."""
    return "is measured in" in " ".join(split_words(completion))


def bearing(row: Row, completion: str) -> list[int]:
    """Return the positions of units."""
    units = set(UNITS.values())
    return [i for i, word in enumerate(split_words(completion)) if word in units]


def first_error(row: Row, completion: str) -> int | None:
    """Return the position of the first unit that is not the right one."""
    said = split_words(completion)
    return next((i for i in bearing(row, completion) if said[i] != row["answer"]), None)
