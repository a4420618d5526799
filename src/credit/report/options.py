"""The options of credit with default and meaning, read from the source of `credit.config` without importing.

Importing would need TRL, and a report must be possible where nothing can be trained. The dataclass stays the
one source.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from credit.report.text import setting

_SOURCE = Path(__file__).parents[1] / "config.py"


@dataclass(frozen=True)
class Option:
    """One line of the options table; `changed` is None where there is no default to compare with."""

    name: str
    value: str
    default: str = ""
    changed: bool | None = None
    meaning: str = ""


@cache
def credit_options() -> dict[str, tuple[Any, str]]:
    """Return name -> (default, help) in the order of the dataclass."""
    found: dict[str, tuple[Any, str]] = {}
    for node in ast.walk(ast.parse(_SOURCE.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == "_option"
        ):
            default, meaning = (ast.literal_eval(argument) for argument in node.value.args[:2])
            found[node.target.id] = (default, meaning)
    return found


def tables(config: dict[str, Any]) -> tuple[list[Option], list[Option]]:
    """Return the options of credit in their documented order, and all others by name."""
    known = credit_options()
    ours = []
    for name, (default, meaning) in known.items():
        if name in config:
            changed = config[name] != default
            ours.append(Option(name, setting(name, config[name]), setting(name, default), changed, meaning))
        else:
            ours.append(Option(name, "not recorded", setting(name, default), None, meaning))
    others = [Option(name, setting(name, config[name])) for name in sorted(config) if name not in known]
    return ours, others
