"""Where each token ends in the text of a response, so that marks on the text can be put on tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def token_ends(ids: Sequence[int], decode: Callable[[Sequence[int]], str], text: str) -> list[int] | None:
    """Return the end of every token in `text`, in characters; None when the tokens do not spell `text`.

    Decodes a few tokens at a time: what a token adds depends on its left neighbours (spaces, parts of a character).
    A token that completes nothing yet, or is not shown, ends where the one before it ends.
    """
    ends: list[int] = []
    total, start, done = 0, 0, 0
    for i in range(len(ids)):
        before, after = decode(ids[start:done]), decode(ids[start : i + 1])
        if not after.endswith("\ufffd"):
            total += len(after) - len(before)
            # The left neighbour is the last token that wrote something: a mark between two turns is none.
            start, done = (done if len(after) > len(before) else start), i + 1
        ends.append(total)
    return ends if total == len(text) else None


def marked_tokens(ends: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Return which tokens overlap one of the (start, end) spans of the text."""
    marked, start = [], 0
    for end in ends:
        marked.append(any(max(start, a) < min(end, b) for a, b in spans))
        start = end
    return marked


def token_at(ends: Sequence[int], position: int) -> int | None:
    """Return the token that writes the character at `position`."""
    return next((i for i, end in enumerate(ends) if end > position), None)
