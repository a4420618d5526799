"""The token credit of a few responses as spans to colour: what each token earned, and what nobody can say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from credit.credit_log import TOKEN_COLUMNS
from credit.report.figures import nice
from credit.report.text import GAP, messages, number, show, visible

RESPONSES = 6
TOKENS = 600
"""Tokens shown of one response; the rest is counted."""

LABELS = {
    "logp_student": "log p student",
    "logp_teacher": "log p teacher",
    "logp_teacher_nofeedback": "the same, no feedback",
    "r": "r",
    "S": "S",
    "G": "G",
    "R": "R",
}


def _byte_letters() -> dict[str, int]:
    """Return the letters byte-level tokenizers (GPT-2 and its heirs) write for the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTES = _byte_letters()


@dataclass(frozen=True)
class Token:
    """One token: its text, its tone ("up", "down", "gap" or "tool") and strength from 0 to 1, all its numbers."""

    text: str
    tone: str
    strength: str
    title: str
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Response:
    """One logged rollout."""

    prompt: list[tuple[str, str]]
    completion: str
    score: str
    solution: str | None
    feedback: str | None
    negatives: list[list[tuple[str, str]]]
    tokens: list[Token]
    total: int
    valued: int
    foreign: int
    sums: str
    spaced: bool


@dataclass(frozen=True)
class HeatMap:
    """What the section shows; `limit` is the |R| of the full colour."""

    file: str
    step: str
    logged: int
    limit: float
    beyond: int
    responses: list[Response] = field(default_factory=list)

    @property
    def scale(self) -> list[str]:
        """Numbers under the legend, from the most negative to the most positive."""
        digits = 3 if self.limit < 0.1 else 2 if self.limit < 1 else 1
        return [show(self.limit * x, digits, sign=True) for x in (-1, -0.5, 0, 0.5, 1)]


def heat_map(file: str | None, rows: list[dict[str, Any]]) -> HeatMap | None:
    """Choose responses without looking at the result: those with credit first, in the file's order."""
    if file is None:
        return None
    chosen = sorted(rows, key=lambda row: not any(c is not None for c in _credit(row)))[:RESPONSES]
    sizes = sorted(abs(c) for row in chosen for c in _credit(row)[:TOKENS] if c is not None)
    # One extreme token must not make all others pale, so the colour is full from the 95th percentile on.
    limit = nice(sizes[int(0.95 * (len(sizes) - 1))] or 1.0) if sizes else 1.0
    byte_level = any(mark in token for row in chosen for token in _tokens(row) for mark in "ĠĊ")
    step = next((str(row["step"]) for row in rows if row.get("step") is not None), "unknown")
    beyond = sum(size > limit for size in sizes)
    return HeatMap(file, step, len(rows), limit, beyond, [_response(row, limit, byte_level) for row in chosen])


def token_text(token: str, byte_level: bool) -> str:
    """Return what a vocabulary entry writes; unseen whitespace gets a visible sign."""
    if byte_level and all(letter in _BYTES for letter in token):
        try:
            token = bytes(_BYTES[letter] for letter in token).decode()
        except UnicodeDecodeError:  # part of a character: only the raw entry is true
            return visible(token)
    text = visible(token.replace("▁", " ")).replace("\n", "↵\n").replace("\t", "⇥\t")
    return text or "∅"


def _response(row: dict[str, Any], limit: float, byte_level: bool) -> Response:
    tokens = _tokens(row)
    columns = {name: _numbers(row, name, len(tokens)) for name in TOKEN_COLUMNS}
    own = _own(row, len(tokens))
    ids = [*_list(row, "token_ids"), *[None] * len(tokens)]
    shown = []
    for i, raw in enumerate(tokens[:TOKENS]):
        values = {name: column[i] for name, column in columns.items()}
        numbers = tuple(show(values[name]) for name in LABELS)
        lines = [f"token {i + 1} of {len(tokens)}: {visible(raw)} (id {GAP if ids[i] is None else ids[i]})"]
        lines += [f"{label} {text}" for label, text in zip(LABELS.values(), numbers, strict=True)]
        if not own[i]:
            lines.insert(1, "what a tool answered: not the model's own")
        tone = _colour(values["R"], limit) if own[i] else ("tool", "0")
        shown.append(Token(token_text(raw, byte_level), *tone, "\n".join(lines), numbers))
    return Response(
        prompt=messages(row.get("prompt")),
        completion=visible(row.get("completion")),
        score=show(row.get("score")),
        solution=_text(row.get("solution")),
        feedback=_text(row.get("feedback")),
        negatives=[messages(text) for text in _list(row, "negatives")],
        tokens=shown,
        total=len(tokens),
        valued=sum(value is not None and mine for value, mine in zip(columns["R"], own, strict=True)),
        foreign=own.count(False),
        sums=_sums(columns, own),
        # Word-level vocabularies write no spaces; everyone else's tokens bring their own.
        spaced=not any(mark in token for token in tokens for mark in "ĠĊ▁ "),
    )


def _colour(value: float | None, limit: float) -> tuple[str, str]:
    if value is None:
        return "gap", "0"
    return "up" if value >= 0 else "down", f"{min(1.0, abs(value) / limit):.2f}"


def _sums(columns: dict[str, list[float | None]], own: list[bool]) -> str:
    """Sums over the model's own tokens; a sum with a gap in it is not a sum."""
    parts = []
    for name in ("r", "R"):
        present = [value for value, mine in zip(columns[name], own, strict=True) if mine and value is not None]
        if present and len(present) == sum(own):
            parts.append(f"sum of {name} {show(sum(present), sign=True)}")
    return ", ".join(parts)


def _text(value: Any) -> str | None:
    return None if value is None else visible(value)


def _tokens(row: dict[str, Any]) -> list[str]:
    tokens = _list(row, "tokens") or [f"#{index}" for index in _list(row, "token_ids")]
    return [token if isinstance(token, str) else visible(token) for token in tokens]


def _credit(row: dict[str, Any]) -> list[float | None]:
    return _numbers(row, "R", len(_tokens(row)))


def _own(row: dict[str, Any], length: int) -> list[bool]:
    """Which tokens the model wrote: all, unless the file says otherwise."""
    return [mark is not False for mark in (_list(row, "own") + [None] * length)[:length]]


def _numbers(row: dict[str, Any], name: str, length: int) -> list[float | None]:
    values = [number(value) for value in _list(row, name)]
    return (values + [None] * length)[:length]


def _list(row: dict[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    return value if isinstance(value, list) else []
