"""Which words of a run are generic and which are specific to their input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from credit.diagnostics.measures import GENERIC_NATS

SHOWN = 15
SEEN = 3
"""A word must have been written this often (with an S) to be listed: one occurrence proves little (ours)."""


@dataclass
class Words:
    """Sums over all occurrences of each token text that the model wrote and that has an S."""

    sums: dict[str, list[float]] = field(default_factory=dict)
    credit: float = 0.0

    def add(self, row: Mapping[str, Any], texts: Sequence[str], own: Sequence[bool]) -> None:
        """Count the tokens of a response."""
        columns = [row.get(name) or () for name in ("S", "G", "R")]
        if any(len(column) != len(texts) for column in columns):
            return
        for text, mine, *values in zip(texts, own, *columns, strict=True):
            if mine and all(v is not None and math.isfinite(v) for v in values):
                specific, generic, credit = values
                sums = self.sums.setdefault(text, [0, 0.0, 0.0, 0.0, 0.0])
                for place, value in enumerate((1, abs(specific), specific, generic, abs(credit))):
                    sums[place] += value
                self.credit += abs(credit)

    def tables(self) -> dict[str, list[dict[str, float | str]]]:
        """Return `generic`: mean |S| <= log 2, the most frequent first; `specific`: the largest mean |S| first."""
        entries = [
            {
                "text": text,
                "count": count,
                "size": size / count,
                "S": specific / count,
                "G": generic / count,
                "share": credit / self.credit if self.credit else 0.0,
            }
            for text, (count, size, specific, generic, credit) in self.sums.items()
            if count >= SEEN
        ]
        generic = [entry for entry in entries if entry["size"] <= GENERIC_NATS]
        specific = [entry for entry in entries if entry["size"] > GENERIC_NATS]
        return {
            "generic": sorted(generic, key=lambda e: (-e["count"], e["text"]))[:SHOWN],
            "specific": sorted(specific, key=lambda e: (-e["size"], e["text"]))[:SHOWN],
        }
