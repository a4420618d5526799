"""The families of the tiny world, one module each."""

from __future__ import annotations

from credit.tiny.families import code, facts, route, tools
from credit.tiny.families.base import Answer, Family, Item, split_words

FAMILIES: dict[str, Family] = {"code": code, "facts": facts, "route": route, "tools": tools}

__all__ = ["FAMILIES", "Answer", "Family", "Item", "split_words"]
