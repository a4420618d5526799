"""Numbers and untrusted texts as a reader should see them. What does not exist is a gap, never a zero."""

from __future__ import annotations

import json
import math
import re
from typing import Any

GAP = "–"
"""Shown where a number does not exist."""

# What would act on the page instead of being read: control characters, direction overrides, halves of a
# surrogate pair (which UTF-8 cannot hold). Joiners stay, because scripts and emoji need them.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_SECRET = re.compile(r"(hub[_-]?token|api[_-]?key|password|secret)", re.IGNORECASE)
_SECRET_FLAG = re.compile(r"(--\S*(?:hub[_-]?token|api[_-]?key|password|secret)\S*?[= ]+)(\S+)", re.IGNORECASE)
# Inside values, as in `--model_init_kwargs '{"token": "..."}'`; and what hubs and services hand out, anywhere.
_SECRET_ENTRY = re.compile(r"""((?<!\w)(?:hub_|access_|auth_|use_auth_)?token["']?\s*[:=]\s*["']?)([^\s"',}]+)""")
_SECRET_VALUE = re.compile(r"\b(?:hf_|ghp_|github_pat_|sk-|xox[bp]-)[A-Za-z0-9_-]{16,}")
HIDDEN = "(hidden)"


def number(value: Any) -> float | None:
    """Return `value` as a finite float, or None for anything else (null, NaN, infinity, text, booleans)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    # No float32 reaches 1e39; what is far beyond is damage, and no figure could hold it.
    return value if math.isfinite(value) and abs(value) < 1e100 else None


def lookup(tree: Any, *keys: str) -> Any:
    """Follow `keys` through nested mappings; None as soon as one is missing."""
    for key in keys:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(key)
    return tree


def show(value: Any, digits: int = 3, sign: bool = False) -> str:
    """Format a number with fixed decimals and a real minus sign; `GAP` when there is none."""
    value = number(value)
    if value is None:
        return GAP
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if not text.strip("+-0."):  # neither "-0.000" nor "+0.000"
        text = text.lstrip("+-")
    return text.replace("-", "−")


def compact(value: Any) -> str:
    """Format a number of unknown size, so that a small one is not shown as zero."""
    value = number(value)
    if value is not None and value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}".replace("-", "−")
    return show(value)


def percent(value: Any) -> str:
    """Format a share; a share that exists but rounds to nothing is told from none at all."""
    value = number(value)
    if value is None:
        return GAP
    return "< 0.1%" if 0 < value < 0.001 else show(100 * value, 1) + "%"


def duration(seconds: Any) -> str:
    """Format seconds with the unit a person would use."""
    value = number(seconds)
    if value is None or value < 0:
        return GAP
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(count: Any) -> str:
    """Format bytes with the unit a person would use, 1 MB being a million bytes."""
    value = number(count)
    if value is None or value < 0:
        return GAP
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def visible(value: Any) -> str:
    """Return text in which nothing is invisible: unseen characters are named, as in `⟨U+202E⟩`."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text.replace("\r\n", "\n"))


def messages(value: Any) -> list[tuple[str, str]]:
    """Split a prompt into (role, content) pairs; plain text has the role "".

    Args:
        value: text, a message list, or a message list as JSON text (as the trainer writes it).
    """
    parsed = value
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
    if not (isinstance(parsed, list) and parsed and all(isinstance(m, dict) and "role" in m for m in parsed)):
        return [("", visible(value))]
    return [(visible(str(message["role"])), _content(message)) for message in parsed]


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(
            p["text"] if isinstance(p, dict) and isinstance(p.get("text"), str) else visible(p) for p in content
        )
    # Tool calls, names and the like are part of what the model read.
    rest = {key: value for key, value in message.items() if key not in ("role", "content") and value is not None}
    return "\n".join(visible(part) for part in (content, rest or None) if part is not None)


def setting(name: str, value: Any) -> str:
    """Format an option for the table; a page that is meant to be shared holds no credentials."""
    if value is not None and _SECRET.search(name):
        return HIDDEN
    return "none" if value is None else without_secrets(visible(value))


def without_secrets(text: str) -> str:
    """Return the text with what looks like a credential hidden."""
    return _SECRET_VALUE.sub(HIDDEN, _SECRET_ENTRY.sub(rf"\g<1>{HIDDEN}", text))


def command_line(value: Any) -> str:
    """Return the command without credentials."""
    return without_secrets(_SECRET_FLAG.sub(rf"\g<1>{HIDDEN}", visible(value)))
