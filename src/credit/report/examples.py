"""Answers that training gained and lost: how many there are in all, and a few to read."""

from __future__ import annotations

from typing import Any

from credit.report.text import lookup, messages, number, show, visible

OPEN = 3
"""Examples of a kind in plain view; the others unfold."""


def examples(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return `said`, and for gained and lost: their number in all, and the stored examples.

    Examples without two scores belong nowhere. Runs of older versions did not count: then only the stored are known.
    """
    stored = lookup(evaluation, "examples")
    stored = [e for e in stored if isinstance(e, dict)] if isinstance(stored, list) else []
    groups: dict[str, list[dict[str, Any]]] = {"gained": [], "lost": [], "unchanged": []}
    for example in stored:
        before, after = number(example.get("before_score")), number(example.get("after_score"))
        if before is not None and after is not None:
            groups["gained" if after > before else "lost" if after < before else "unchanged"].append(example)
    counts = {name: number(lookup(evaluation, "changes", name)) for name in groups}
    kinds = [
        {
            "name": name,
            "total": None if (count := counts[name]) is None else f"{count:g}",
            "shown": [_example(e) for e in groups[name]],
        }
        for name in ("gained", "lost")
    ]
    return {"stored": len(stored), "kinds": kinds, "open": OPEN, "said": _said(counts, groups, len(stored))}


def _said(counts: dict[str, float | None], groups: dict[str, list[Any]], stored: int) -> str:
    known = {name: count for name, count in counts.items() if count is not None}
    if len(known) == len(counts):
        parts = ", ".join(f"{count:g} {name}" for name, count in known.items())
        first = " The examples are the first of each kind." if stored else ""
        return f"Greedy answers to {sum(known.values()):g} prompts: {parts}.{first}"
    parts = ", ".join(f"{len(group)} {name}" for name, group in groups.items())
    return (
        f"How many there are in all is not recorded. eval.json holds {stored} example{'' if stored == 1 else 's'}: "
        f"{parts}."
    )


def _example(example: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt": messages(example.get("prompt")),
        **{key: visible(example.get(key)) for key in ("family", "before", "after", "answer")},
        "before_score": show(example.get("before_score"), 2),
        "after_score": show(example.get("after_score"), 2),
    }
