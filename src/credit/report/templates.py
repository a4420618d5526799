"""Fills the templates of this folder; every value is escaped unless a figure made it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def fill(template: str, room: str = "credit.report", **values: Any) -> str:
    """Return a template of a room as text; it may include those of this one. A name that nobody gave is an error."""
    loader = ChoiceLoader([PackageLoader(room, "."), PackageLoader("credit.report", ".")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(values)


def write_page(path: Path, text: str) -> Path:
    """Write a page whole or not at all: beside its place, then moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
