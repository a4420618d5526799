"""Enumerable worlds with an exact posterior teacher, and every identity of the analysis checked on them. Torch only."""

from credit.theory.identity import BREAKS, IDENTITIES, Break, Identity, Ingredients
from credit.theory.verify import Row, breaks_of, dependants, verify
from credit.theory.world import World, capitals, posterior, random_world, worlds

__all__ = [
    "BREAKS",
    "IDENTITIES",
    "Break",
    "Identity",
    "Ingredients",
    "Row",
    "World",
    "breaks_of",
    "capitals",
    "dependants",
    "posterior",
    "random_world",
    "verify",
    "worlds",
]
