"""The tiny task: rows of all families, their splits, their grades, and what can be measured on an answer."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from functools import cache, cached_property
from random import Random
from typing import Any

from credit.tasks.base import Grade, Row
from credit.tasks.code import shared_sandbox
from credit.tiny.families import FAMILIES, Item, code, split_words
from credit.tiny.families.base import WORD

_logger = logging.getLogger(__name__)

SIZES = {"train": 1024, "validation": 128, "test": 256}
LEAK_PHRASES = ("as shown above", "as noted above", "given the feedback")
_PATIENCE = 20_000  # draws without a new prompt before a family counts as exhausted


def split_of(family: str, prompt: str) -> str:
    """Return the split a prompt belongs to, by the hash of its text: 70% train, 10% validation, 20% test."""
    bucket = int(_digest(family, prompt), 16) % 10
    return "test" if bucket < 2 else "validation" if bucket == 2 else "train"


def _digest(family: str, prompt: str) -> str:
    return hashlib.sha256(f"{family}\n{prompt}".encode()).hexdigest()[:12]


def row_of(item: Item) -> Row:
    """Return the dataset row of an item; all rows have the same columns, `meta` is one JSON string."""
    return {
        "prompt": [
            {"role": "system", "content": FAMILIES[item.family].SYSTEM},
            {"role": "user", "content": item.prompt},
        ],
        "family": item.family,
        "answer": item.answer,
        "correct": item.correct.reasoned,
        "id": f"{item.family}-{_digest(item.family, item.prompt)}",
        "meta": json.dumps(item.meta, sort_keys=True),
    }


def items(family: str, split: str, seed: int = 0) -> Iterator[Item]:
    """Yield distinct items of one family and split; ends only when the family has no more."""
    rng, seen, idle = Random(f"{family} {split} {seed}"), set(), 0
    while idle < _PATIENCE:
        item = FAMILIES[family].draw(rng)
        idle += 1
        if item.prompt not in seen and split_of(family, item.prompt) == split:
            seen.add(item.prompt)
            idle = 0
            yield item


def has_reasoning(row: Row, completion: str) -> bool | None:
    """Return whether the steps are written out; None where the family does not need them."""
    family = FAMILIES[row["family"]]
    return family.reasons(row, completion) if family.NEEDS_REASONING else None


def leaks(completion: str) -> bool:
    """Return whether an answer talks as if it had been shown a solution or feedback."""
    text = " ".join(split_words(completion))
    return any(phrase in text for phrase in LEAK_PHRASES)


def bearing_words(row: Row, completion: str) -> list[int]:
    """Return the word positions (= token positions) of a completion that carry the answer."""
    return FAMILIES[row["family"]].bearing(row, completion)


@cache
def boilerplate_words(family: str) -> frozenset[str]:
    """Return the words that every right answer of a family holds, and those that leak."""
    source = items(family, "train")
    held = [set(split_words(next(source).correct.reasoned)) for _ in range(100)]
    return frozenset.intersection(*map(frozenset, held)) | set(split_words(" ".join(LEAK_PHRASES)))


def _word_spans(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in WORD.finditer(text)]


class TinyTask:
    """Four families, interleaved, so that every batch mixes them."""

    name = "tiny"

    def __init__(self, seed: int = 0, families: tuple[str, ...] = tuple(FAMILIES)):
        unknown = set(families) - set(FAMILIES)
        if unknown or not families:
            raise ValueError(f"families={families!r}: choose some of {sorted(FAMILIES)}.")
        self.seed, self.families = seed, families

    def rows(self, split: str, limit: int | None = None) -> list[Row]:
        """Return the first `limit` rows of a split; a shorter list is a prefix of a longer one."""
        if split not in SIZES:
            raise ValueError(f"split={split!r}: choose one of {sorted(SIZES)}.")
        wanted = SIZES[split] if limit is None else min(limit, SIZES[split])
        sources = [items(family, split, self.seed) for family in self.families]
        rows: list[Row] = []
        while len(rows) < wanted and sources:
            for source in list(sources):
                item = next(source, None)
                if item is None:
                    sources.remove(source)
                else:
                    rows.append(row_of(item))
        return rows[:wanted]

    def grade(self, row: Row, completion: str) -> Grade:
        """Grade a completion; any text is allowed. Functions of the code family run in the sandbox."""
        if row["family"] == code.NAME:
            return code.grade(row, completion, self._values)
        return FAMILIES[row["family"]].grade(row, completion)

    def gold(self, row: Row) -> str:
        """Return the right answer, written out; `answer` alone is not always one."""
        return row["correct"]

    @cached_property
    def _values(self) -> Any:
        try:
            return code.sandboxed(shared_sandbox().run)
        except RuntimeError as error:
            _logger.warning(
                "The code family is graded by walking its expressions, since no program can be run safely here: %s",
                error,
            )
            return code.evaluated

    def extras(self, records: list[dict[str, Any]]) -> dict[str, float | None]:
        """Return shares over all sampled answers of an evaluation: reasoning kept (where needed) and leaks."""
        reasons, leaked = [], []
        for record in records:
            for text in record["sampled"]:
                leaked.append(leaks(text))
                reasons.append(has_reasoning(record, text))
        needed = [r for r in reasons if r is not None]
        return {
            "reasoning_kept": sum(needed) / len(needed) if needed else None,
            "boilerplate_leak": sum(leaked) / len(leaked) if leaked else None,
        }

    def bearing(self, row: Row, completion: str) -> list[tuple[int, int]]:
        """Return the spans of the text that carry the answer."""
        spans = _word_spans(completion)
        return [spans[i] for i in bearing_words(row, completion)]

    def boilerplate(self, row: Row, completion: str) -> list[tuple[int, int]]:
        """Return the spans that say nothing about this item: boilerplate words, if not in the prompt or bearing."""
        words, bearing = boilerplate_words(row["family"]), set(bearing_words(row, completion))
        words = words - set(split_words(row["prompt"][-1]["content"]))
        spans = _word_spans(completion)
        return [s for i, s in enumerate(spans) if i not in bearing and completion[slice(*s)] in words]

    def first_error(self, row: Row, completion: str) -> int | None:
        """Return where the first wrong word starts; None when there is none, or the family cannot tell."""
        word = FAMILIES[row["family"]].first_error(row, completion)
        return None if word is None else _word_spans(completion)[word][0]

    def choices(self, row: Row, completion: str) -> tuple[list[str], int | None] | None:
        """Return the options of a multiple-choice item and where the response names a unit first; None for others."""
        options = json.loads(row["meta"]).get("options")
        named = self.bearing(row, completion)
        return None if options is None else (options, named[0][0] if named else None)
