"""Graders for rows with a known `answer`: exact match and multiple choice. They never raise on what a model wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from credit.context import strip_thinking
from credit.sandbox import sanitise
from credit.tasks.base import Grade, Row

# Every pattern reads a text once: no opening is searched for its end beyond the next opening.
_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", flags=re.DOTALL | re.IGNORECASE)
_STATED = re.compile(r"\banswer(?:\s+is)?\s*[:=]?\s*(\S[^\n]*)", flags=re.IGNORECASE)
_PICKED = re.compile(r"\b(?:option|choice)(?:\s+is)?\s*[:=]?\s*(\S[^\n]*)", flags=re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{")
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s*\{([^{}]*)\}")
_DRESS = re.compile(r"\\[()\[\]]|\*\*")  # LaTeX delimiters, bold
_NUMBER = re.compile(r"([+-]?)([0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)?(\.[0-9]*)?(e[+-]?[0-9]{1,4})?", flags=re.IGNORECASE)
_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[:.)][ \t]+(\S[^\n]*?)[ \t]*$", flags=re.MULTILINE)
_NAMED = re.compile(r"(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s+", flags=re.IGNORECASE)
# "B: text", "(b) text", "B - text"; not "A charge", not "x-ray".
_LABELLED = re.compile(r"[(\[]?([A-Za-z])(?:[)\]]?\s*[:.,)\]]+|\s+[–—-]+\s)\s*(.*)", flags=re.DOTALL)
_ANOTHER = re.compile(
    r"(?:(?:and|or|/|&|,)\s*)*[(\[]?[A-Za-z]\b(?:\W*$|[)\]]?\s*[:.,)\]/&]|[)\]]?\s+(?:and|or)\b)", flags=re.IGNORECASE
)
LONGEST_NUMBER = 100


def final_answer(completion: str) -> str:
    r"""Return the last `<answer>`, else `\boxed{}`, else what follows "answer:" or "answer is", else the last line."""
    tagged = _tagged(completion)
    if tagged is not None:
        return tagged.strip()
    boxed = _boxed(completion)
    if boxed is not None:
        return boxed
    stated = _STATED.findall(completion)
    return stated[-1].strip() if stated else _last_line(completion)


def _tagged(text: str) -> str | None:
    """Return what the last `<answer>` holds, also where none is closed, which often just ends the turn."""
    tagged = _TAGGED.findall(text)
    if tagged:
        return tagged[-1]
    opened = text.lower().rfind("<answer>")
    return text[opened + len("<answer>") :] if opened >= 0 else None


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2].strip()


def _boxed(text: str) -> str | None:
    """Return what the last `\\boxed{...}` holds, braces within it included."""
    starts = [found.end() for found in _BOXED.finditer(text)]
    depth = 1
    for at in range(starts[-1], len(text)) if starts else ():
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[starts[-1] : at].strip()
    return None


def _normal(text: str) -> str:
    text = _DRESS.sub("", _boxed(text) or text)
    return " ".join(text.split()).strip(" \"'`$*").rstrip(".").strip(" \"'`$*")


def _number(text: str) -> Decimal | None:
    """Read a number: 1,000 and 42.0 and 1e3. Units are not guessed: "42 km" is none."""
    text = text.replace("\N{MINUS SIGN}", "-").replace("{,}", ",")
    found = _NUMBER.fullmatch(text) if len(text) <= LONGEST_NUMBER else None
    if found is None or not (found[2] or (found[3] or ".") != "."):
        return None
    return Decimal(text.replace(",", ""))


def exact(answer: str, completion: str) -> Grade:
    """1.0 when the final answer is `answer`: the same text but for case, spacing and quotes, or the same number."""
    given, wanted = _normal(final_answer(strip_thinking(completion))), _normal(answer)
    if not given:
        return Grade(0.0, "No answer was found. Finish with <answer>...</answer>.", "format_error")
    number = _number(given)
    if given.casefold() == wanted.casefold() or (number is not None and number == _number(wanted)):
        return Grade(1.0, None, "passed")
    return Grade(0.0, f'The final answer "{sanitise(given, 200)}" is not correct.', "wrong_answer")


def options_of(prompt: Any) -> dict[str, str]:
    """Return the options a prompt lists, by letter: the last lines "A: ...", "B: ..." and so on, two at least."""
    if not isinstance(prompt, str):
        prompt = next((m["content"] for m in reversed(prompt) if m["role"] == "user"), "")
    found: dict[str, str] = {}
    options: dict[str, str] = {}
    for letter, text in _OPTION.findall(prompt):
        if letter == "A":
            found = {}
        if letter == chr(ord("A") + len(found)):
            found[letter] = text
            options = found if len(found) > 1 else options
    return options


def choice(answer: str, completion: str, options: Mapping[str, str] | None = None) -> Grade:
    """1.0 when the final answer names the option `answer`. A wrong letter gets no feedback, as in the benchmarks.

    An option is named by its letter in any common dress, or by its text when that is the text of one option only.
    Several letters, or a letter with another option's text, name none: that is an error of format.
    """
    letter = next(
        (found for text in _candidates(strip_thinking(completion)) if (found := _letter(text, options))), None
    )
    if letter is None:
        return Grade(0.0, "No option letter was found. Finish with <answer>X</answer>.", "format_error")
    if letter == answer.strip().upper():
        return Grade(1.0, None, "passed")
    return Grade(0.0, None, "wrong_answer")


def _candidates(completion: str) -> Iterator[str]:
    """Yield where a choice may be stated, the most explicit first; with an `<answer>` nothing else counts."""
    tagged = _tagged(completion)
    if tagged is not None:
        yield tagged
        return
    boxed = _boxed(completion)
    if boxed is not None:
        yield boxed
    for pattern in (_STATED, _PICKED):
        yield from reversed(pattern.findall(completion))
    yield _last_line(completion)


def _letter(text: str, options: Mapping[str, str] | None) -> str | None:
    """Return the option a short text names, or None."""
    text = _plain(text)
    text = _NAMED.sub("", text, count=1) if _NAMED.match(text) else text
    bare = text.strip("()[]{}<>:.,;! ").upper()
    if re.fullmatch("[A-Z]", bare):
        return bare if not options or bare in options else None
    named = _option_with(text, options)
    if named is not None:  # before labels are read: an option may be "B. subtilis"
        return named
    if options and text[1:2] == " " and _same(text[2:].strip("()"), options.get(text[0].upper(), "")):
        return text[0].upper()
    found = _LABELLED.fullmatch(text)
    if found is None:
        return None
    letter, rest = found[1].upper(), found[2].strip()
    if (options and letter not in options) or _option_with(rest, options) not in (None, letter):
        return None
    own = options is not None and _same(rest, options.get(letter, ""))
    return letter if own or not _ANOTHER.match(rest) else None


def _option_with(text: str, options: Mapping[str, str] | None) -> str | None:
    for same in (lambda a, b: a == b, lambda a, b: a.casefold() == b.casefold()):  # mW is not MW
        letters = [letter for letter, option in (options or {}).items() if same(_plain(option), text)]
        if letters:
            return letters[0] if len(letters) == 1 else None
    return None


def _same(text: str, option: str) -> bool:
    return text.casefold() == _plain(option).casefold()


def _plain(text: str) -> str:
    """Drop what only dresses a text: emphasis, quotes, dollar signs, LaTeX text commands, a full stop at the end."""
    text = _DRESS.sub("", _WRAPPED.sub(r"\1", text[:2000]))
    return " ".join(text.split()).strip(" *_`\"'$").rstrip(".").strip(" *_`\"'$")


GRADERS: dict[str, Callable[[Row, str], Grade]] = {
    "exact": lambda row, completion: exact(row["answer"], completion),
    "choice": lambda row, completion: choice(row["answer"], completion, options_of(row["prompt"])),
}
