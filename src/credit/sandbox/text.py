"""Text that a program wrote, made fit to be shown to a person or a model."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\Z)"  # titles, links and other strings for a terminal
    r"|\x1b.?",
    re.DOTALL,
)
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_MARK = " [...] "


def sanitise(text: str, limit: int = 2000) -> str:
    """Return text without terminal codes, control, direction-changing or invisible characters, `limit` at most.

    Long text keeps its beginning and its end. What remains is still the program's own words: put it between
    delimiters, and never after an instruction to obey.
    """
    if limit < 32:
        raise ValueError(f"limit={limit} must be at least 32 characters.")
    text = _shortened(text, 8 * limit)  # megabytes of output need no careful reading
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    return _shortened(_INVISIBLE.sub("", _ESCAPES.sub("", text)), limit)


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    kept = limit - len(_MARK)
    return text[: kept - kept // 2] + _MARK + text[len(text) - kept // 2 :]
