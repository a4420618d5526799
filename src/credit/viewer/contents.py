"""What the page knows of every response without opening it: texts, sums, what to sort and filter by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from credit.contrast import prompt_key
from credit.credit_log import TOKEN_COLUMNS
from credit.diagnostics import OddRollout, Rollouts, measure
from credit.diagnostics.marks import TaskMarks
from credit.report.text import messages, number, visible
from credit.report.tokens import token_text
from credit.viewer.packing import own, pack
from credit.viewer.words import Words


@dataclass
class Contents:
    """The page's data.

    Attributes:
        texts: every text shown, once: each a list of (role, content).
        words: every token text, once.
        responses: one entry per response; texts and words by their place.
        problems: what was odd, in sentences.
        spread: |value| of own tokens per quantity, for the colour scales.
        tokens: what the run's tokens earned, by text.
        marked: whether the task knows of any token that carries the answer.
    """

    texts: list[list[tuple[str, str]]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    responses: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    spread: dict[str, list[float]] = field(default_factory=dict)
    tokens: Words = field(default_factory=Words)
    marked: bool = False


def contents(files: Sequence[Rollouts], task: Any = None, progress: Callable[[int], None] = lambda n: None) -> Contents:
    """Collect the responses of some files, in order.

    Args:
        files: rollouts with token credit.
        task: what knows which tokens carry the answer; see `TaskMarks`.
        progress: called with the number of responses done.
    """
    page, marks = Contents(spread={name: [] for name in (*TOKEN_COLUMNS, "advantage")}), TaskMarks(task)
    texts, words = _Places(page.texts), _Places(page.words)
    for index, file in enumerate(files):
        page.problems += file.problems
        byte_level = any(mark in token for row in file.rows for token in row.get("tokens") or () for mark in "ĠĊ")
        for place in range(len(file.rows)):
            page.responses.append(_response(page, file, place, byte_level, marks, texts, words) | {"file": index})
            progress(1)
    page.problems += marks.problems
    return page


class _Places:
    """Where each distinct value stands in a list, added at its end when it is new."""

    def __init__(self, values: list[Any]):
        self.values, self._places = values, {}

    def of(self, value: Any, key: Any = None) -> int:
        key = value if key is None else key
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def _response(
    page: Contents, file: Rollouts, place: int, byte_level: bool, task_marks: TaskMarks, texts: _Places, words: _Places
) -> dict[str, Any]:
    row = file.rows[place]

    def text(value: Any) -> int | None:
        if value is None:
            return None
        pairs = messages(value)
        return texts.of(pairs, tuple(pairs))

    raw = row.get("tokens") or [f"#{i}" for i in row.get("token_ids") or ()]
    shown = [token_text(token, byte_level) for token in raw]
    marks = task_marks.of(row)
    packed, odd = pack(
        row, len(raw), [words.of(t) for t in shown], marks, lambda token: words.of(token_text(token, byte_level))
    )
    page.problems += [f"{file.where(place)}: {sentence}" for sentence in odd]
    page.marked |= marks.bearing is not None
    mine = own(row, len(raw))
    if not row.get("scored_again"):
        page.tokens.add(row, shown, mine)
    numbers = {**row, "advantage": _advantage(row)}
    for name, sizes in page.spread.items():
        values = numbers.get(name) or ()
        if len(values) == len(raw):
            sizes += [abs(v) for v, m in zip(values, mine, strict=True) if m and v is not None and math.isfinite(v)]
    return {
        "place": place + 1,
        "step": row.get("step"),
        "again": bool(row.get("scored_again")),
        "family": None if row.get("family") is None else visible(row["family"]),
        "score": number(row.get("score")),
        "prompt": text(prompt_key(row["prompt"])),
        "completion": text(row["completion"]),
        "solution": text(row.get("solution")),
        "feedback": text(row.get("feedback")),
        "teacher": text(row.get("teacher_prompt")),
        "negatives": [text(x) for x in row.get("negatives") or ()],
        # Word-level vocabularies write no spaces; everyone else's tokens bring their own.
        "spaced": not any(mark in token for token in raw for mark in "ĠĊ▁ "),
        "own": sum(mine),
        **_numbers(row, marks),
        **packed,
    }


def _advantage(row: dict[str, Any]) -> list[float | None]:
    """R minus what the student could expect, as the page computes it."""
    pairs = zip(row.get("R") or (), row.get("baseline") or (), strict=False)
    return [None if r is None or b is None else r - b for r, b in pairs]


def _numbers(row: dict[str, Any], marks: Any) -> dict[str, Any]:
    """Return the sums of a response; None where one does not exist, and why."""
    nothing: dict[str, Any] = dict.fromkeys(("pmi", "S", "G", "R", "credit", "generic"))
    try:
        found = measure(row, marks)
    except OddRollout as problem:
        return {**nothing, "why": f"{problem}".capitalize() + "."}
    if found is None:
        return {**nothing, "why": "No teacher could be built for this response."}
    generic = found.generic_credit / found.credit if found.generic_credit is not None and found.credit else None
    sums = {"pmi": found.pmi, "S": found.S, "G": found.G, "R": found.R, "credit": found.credit}
    return {**sums, "generic": generic, "why": None if found.S is not None else "No unrelated input was scored."}
