"""Runs every identity on every world and says how far each is from holding."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from credit.theory import filtering, gradients, inputs, rounds  # noqa: F401 - they register their identities
from credit.theory.identity import BREAKS, IDENTITIES, TOLERANCE, Ingredients
from credit.theory.world import worlds


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: the identity.
        source: "abstract", "second-hand" or "ours".
        error: largest absolute error over all worlds; NaN when a side of the identity was not a number.
        tolerance: largest error allowed.
        passed: error <= tolerance; NaN never passes.
    """

    name: str
    source: str
    error: float
    tolerance: float
    passed: bool

    def as_json(self) -> dict[str, Any]:
        """Return the row for JSON, where an error that is no number is null."""
        return {**asdict(self), "error": self.error if math.isfinite(self.error) else None}


def breaks_of(name: str) -> str:
    """Return the ingredient a name stands for: itself, or the first one an identity rests on.

    Raises:
        ValueError: the name is neither.
    """
    wanted = name.lower().replace(" ", "-")
    if wanted in BREAKS:
        return wanted
    for identity in IDENTITIES:
        if wanted == identity.name.lower().replace(" ", "-"):
            return identity.needs[0]
    raise ValueError(
        f"--break {name!r} is neither an ingredient ({', '.join(BREAKS)}) nor the name of an identity in the table."
    )


def dependants(ingredient: str) -> list[str]:
    """Return the names of the identities that fail without this ingredient."""
    return [identity.name for identity in IDENTITIES if ingredient in identity.needs]


def verify(broken: str | None = None) -> list[Row]:
    """Check every identity in float64.

    Args:
        broken: spoil this ingredient first, or the first one this identity rests on; see `BREAKS`.

    Raises:
        ValueError: `broken` is unknown.
    """
    use = Ingredients() if broken is None else BREAKS[breaks_of(broken)].spoil()
    everywhere = worlds()
    rows = []
    for identity in IDENTITIES:
        error = torch.stack([identity.error(world, use).detach() for world in everywhere]).max().item()
        rows.append(Row(identity.name, identity.source, error, TOLERANCE, error <= TOLERANCE))
    return rows
