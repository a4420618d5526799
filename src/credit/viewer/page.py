"""Puts the viewer together: scored rollouts in, one `inspect.html` out that works from a file and asks for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from credit.credit_log import ALTERNATIVES, TOKEN_COLUMNS
from credit.diagnostics.summary import MEANING
from credit.report.figures import nice
from credit.report.templates import fill, write_page
from credit.report.text import visible
from credit.viewer.contents import Contents
from credit.viewer.packing import BEARING, BOILERPLATE, FIRST_ERROR, NO_TOKEN, OWN

SCRIPTS = ("data.js", "colour.js", "tokens.js", "list.js", "panels.js", "main.js")

# name -> (label, what it is, whether it has two sides). `advantage` is computed on the page, from R and baseline.
QUANTITIES = {
    "S": ("S", "input-specific part of the teacher, log p_T − G", True),
    "G": ("G", "input-generic part: mean log p_T under unrelated inputs x'", False),
    "r": ("r", "self-distillation reward, log p_T − log p", True),
    "R": ("R", "credit as the method defines it", True),
    "advantage": ("R − E R", "credit above what the student could expect there: what its gradient follows", True),
    "logp_student": ("log p", "student", False),
    "logp_teacher": ("log p_T", "teacher: the same model shown solution or feedback", False),
    "logp_teacher_nofeedback": ("log p_T0", "the teacher's weights without feedback", False),
}


def write_viewer(
    path: Path,
    title: str,
    page: Contents,
    names: Sequence[str],
    steps: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: of the page.
        title: what is shown, for example the run's name.
        page: the responses, from `contents`.
        names: of the files they come from.
        steps: `diagnose` of each file, then of all of them.
        notes: sentences about what is shown, for example a form or a limit.
    """
    script = "\n".join((package_files("credit.viewer") / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode()
    data = _json(_data(title, page, names, steps, notes))
    return write_page(
        path, fill("inspect.html", "credit.viewer", title=visible(title), script=script, digest=digest, data=data)
    )


def _data(title: str, page: Contents, names: Sequence[str], steps: Sequence[Mapping[str, Any]], notes: Sequence[str]):
    return {
        "title": visible(title),
        "files": [visible(name) for name in names],
        "texts": page.texts,
        "words": page.words,
        "responses": page.responses,
        "columns": TOKEN_COLUMNS,
        "alternatives": ALTERNATIVES,
        "bits": {"own": OWN, "bearing": BEARING, "boilerplate": BOILERPLATE, "error": FIRST_ERROR, "none": NO_TOKEN},
        "quantities": [
            {"key": key, "label": label, "meaning": meaning, "sides": sides, "limit": _limit(page, key)}
            for key, (label, meaning, sides) in QUANTITIES.items()
        ],
        "marked": page.marked,
        "meaning": MEANING,
        "steps": [{"counts": step["counts"], "summary": step["summary"]} for step in steps],
        "tables": page.tokens.tables(),
        "notes": [*map(visible, notes)],
        "problems": [*dict.fromkeys(map(visible, page.problems))],
    }


def _limit(page: Contents, key: str) -> float:
    """Return where the colour is full: the 95th percentile of sizes, so that one extreme token pales no others."""
    sizes = sorted(page.spread[key])
    return nice(sizes[int(0.95 * (len(sizes) - 1))] or 1.0) if sizes else 1.0


def _json(data: Any) -> str:
    """Write JSON that cannot end the element it stands in; NaN, which JSON lacks, becomes null."""
    text = json.dumps(_finite(data), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value
