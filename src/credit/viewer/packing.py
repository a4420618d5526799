"""The numbers of one response as bytes a browser reads without rounding: float32 as in the file, gzip, base64."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from credit.credit_log import ALTERNATIVES, TOKEN_COLUMNS
from credit.diagnostics.marks import Marks

OWN, BEARING, BOILERPLATE, FIRST_ERROR = 1, 2, 4, 8
"""Bits of a token's flags; the page's script knows them by the same names."""

NO_TOKEN = 2**32 - 1


def pack(
    row: Mapping[str, Any], size: int, texts: Sequence[int], marks: Marks, word: Callable[[str], int]
) -> tuple[dict[str, Any], list[str]]:
    """Return what the page holds of a response's tokens, and sentences about what could not be read.

    The bytes, in order: `TOKEN_COLUMNS` (Q, T), log-prob under each x' (C, T), `ALTERNATIVES` (4, T, A), all float32;
    texts (T), ids (T), texts of alternatives (T, A), all uint32 places in the page's list of words; flags (T) uint8.

    Args:
        row: a rollout as `credit_log` writes it.
        size: T, its number of tokens.
        texts: place of each token's text in the page's list of words.
        marks: what the task knows about the tokens.
        word: text of a token -> its place in that list.
    """
    odd: list[str] = []
    columns = np.stack([_column(row, name, size, odd) for name in TOKEN_COLUMNS])
    contrast_TC = _nested(row, "logp_contrast", size, odd)
    names = row.get("alt_tokens")
    found = [_nested(row, name, size, odd) for name in ALTERNATIVES] if names is not None else []
    width = max((a.shape[1] for a in found), default=0)
    alternatives = np.full((len(ALTERNATIVES), size, width), np.nan, "<f4")
    words = np.full((size, width), NO_TOKEN, "<u4")
    for place, values in enumerate(found):
        alternatives[place, :, : values.shape[1]] = values
    if width and names is not None and len(names) == size:
        for t, listed in enumerate(names):
            for a, name in enumerate((listed or [])[:width]):
                words[t, a] = word(name)
    ids = np.array([*(row.get("token_ids") or []), *[NO_TOKEN] * size][:size], "<u4")
    data = b"".join(
        part.tobytes()
        for part in (
            columns, contrast_TC.T.copy(), alternatives, np.array(texts, "<u4"), ids, words, _flags(row, size, marks)
        )
    )  # fmt: skip
    return {
        "T": size,
        "C": contrast_TC.shape[1],
        "A": width,
        "data": base64.b64encode(gzip.compress(data, 6, mtime=0)).decode(),
    }, odd


def own(row: Mapping[str, Any], size: int) -> list[bool]:
    """Return which tokens the model wrote: all, unless the file says otherwise."""
    return [mark is not False for mark in [*(row.get("own") or []), *[None] * size][:size]]


def _flags(row: Mapping[str, Any], size: int, marks: Marks) -> np.ndarray:
    flags = np.zeros(size, np.uint8)
    for bit, marked in ((OWN, own(row, size)), (BEARING, marks.bearing), (BOILERPLATE, marks.boilerplate)):
        if marked is not None:
            flags[: len(marked)][np.asarray(marked[:size], bool)] |= bit
    if marks.first_error is not None and marks.first_error < size:
        flags[marks.first_error] |= FIRST_ERROR
    return flags


def _column(row: Mapping[str, Any], name: str, size: int, odd: list[str]) -> np.ndarray:
    values = row.get(name)
    if values is not None and len(values) == size:
        with np.errstate(over="ignore"):
            return np.array([np.nan if v is None else v for v in values], np.float64).astype("<f4")
    if values is not None:
        odd.append(f"{name} has {len(values)} values for {size} tokens; it is left out.")
    return np.full(size, np.nan, "<f4")


def _nested(row: Mapping[str, Any], name: str, size: int, odd: list[str]) -> np.ndarray:
    """Read a list of lists as (T, n); NaN where a token has fewer."""
    values = row.get(name)
    if values is None:
        return np.empty((size, 0), "<f4")
    try:
        if len(values) != size:
            raise ValueError(f"has {len(values)} values for {size} tokens")
        parts = [np.asarray([np.nan if v is None else v for v in part or []], np.float64) for part in values]
    except (TypeError, ValueError) as error:
        odd.append(f"{name} cannot be read ({error}); it is left out.")
        return np.empty((size, 0), "<f4")
    whole = np.full((size, max(map(len, parts), default=0)), np.nan, "<f4")
    for t, part in enumerate(parts):
        whole[t, : len(part)] = part
    return whole
