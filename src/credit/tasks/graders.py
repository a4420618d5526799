"""Graders for rows with a known `answer`: exact match and multiple choice. They never raise on what a model wrote."""

from __future__ import annotations

import re
from collections.abc import Callable

from credit.tasks.base import Grade

_TAGGED = re.compile(r"<answer>(.*?)</answer>", flags=re.DOTALL | re.IGNORECASE)
_STATED = re.compile(r"\banswer(?:\s+is)?\s*[:=]?\s*(\S[^\n]*)", flags=re.IGNORECASE)
# A letter by itself, or marked as an option: "B", "(b)", "**B**.", "B: 56 pC". Not the article in "A charge moves".
_LETTER = re.compile(r"^\W*([A-Za-z])(?:\W*$|\s*[:.,)\]])")


def final_answer(completion: str) -> str:
    """Return the last `<answer>`, else what follows the last "answer:" or "answer is", else the last line."""
    tagged = _TAGGED.findall(completion)
    if tagged:
        return tagged[-1].strip()
    stated = _STATED.findall(completion)
    if stated:
        return stated[-1].strip()
    lines = [line.strip() for line in completion.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _normal(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .\"'`")


def exact(answer: str, completion: str) -> Grade:
    """1.0 when the final answer equals `answer`, ignoring case, spacing and a trailing full stop."""
    given = final_answer(completion)
    if not _normal(given):
        return Grade(0.0, "No answer was found. Finish with <answer>...</answer>.", "format_error")
    if _normal(given) == _normal(answer):
        return Grade(1.0, None, "passed")
    return Grade(0.0, f'The final answer "{given[:200]}" is not correct.', "wrong_answer")


def choice(answer: str, completion: str) -> Grade:
    """1.0 when the letter of the final answer is `answer`. A wrong letter gets no feedback, as in the benchmarks."""
    letter = _LETTER.match(final_answer(completion))
    if letter is None:
        return Grade(0.0, "No option letter was found. Finish with <answer>X</answer>.", "format_error")
    if letter[1].upper() == answer.strip().upper():
        return Grade(1.0, None, "passed")
    return Grade(0.0, None, "wrong_answer")


GRADERS: dict[str, Callable[[str, str], Grade]] = {"exact": exact, "choice": choice}
