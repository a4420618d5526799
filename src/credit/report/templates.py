"""Fills the templates of this folder; every value is escaped unless a figure made it."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def fill(template: str, **values: Any) -> str:
    """Return the page as text; a name the template uses and nobody gave is an error."""
    environment = Environment(
        loader=PackageLoader("credit.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(values)
