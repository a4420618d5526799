"""The options of a run: value, who set it, default, and where the default comes from.

Defaults and help texts are read from the sources of the option classes without importing them. Importing would need
TRL, and a report must be possible where nothing can be trained. The classes stay the one source.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from credit.report.text import HIDDEN, setting, visible, without_secrets

_PACKAGE = Path(__file__).parents[1]
METHOD, RUN = ("config.py",), ("sources.py", "experiment.py")
"""Files with the options of the method, and with those of `credit train` itself; all others are TRL's."""

SOURCES = {
    "paper": "paper, second-hand",
    "its paper": "the method's own paper, second-hand",
    "ours": "ours",
    "as SDPO": "as SDPO",
}


@dataclass(frozen=True)
class Option:
    """One line of a table; `changed` is None where there is no default to compare with."""

    name: str
    value: str
    default: str = ""
    source: str = ""
    changed: bool | None = None
    set_by: str = ""
    meaning: str = ""


@cache
def declared(files: tuple[str, ...]) -> dict[str, tuple[Any, str]]:
    """Return name -> (default, help) in the order of the classes, for every `option(default, help, ...)` in `files`."""
    found: dict[str, tuple[Any, str]] = {}
    for name in files:
        for node in ast.walk(ast.parse((_PACKAGE / name).read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and isinstance(node.value, ast.Call)
                and isinstance(node.value.func, ast.Name)
                and node.value.func.id in ("_option", "option")
            ):
                default, meaning = (ast.literal_eval(argument) for argument in node.value.args[:2])
                found[node.target.id] = (default, meaning)
    return found


def source_of_default(meaning: str) -> str:
    """Return where a default comes from, as its help text says; "" if it says nothing."""
    found = re.search(rf"Default: ({'|'.join(SOURCES)})\b", meaning)
    return SOURCES[found[1]] if found else ""


def tables(config: dict[str, Any], origins: Any) -> list[tuple[str, list[Option]]]:
    """Return the options of the method, of the run and of TRL, each group with its title.

    Args:
        config: `config.yaml`.
        origins: `origins` of `run.json`: option -> `flag`, `preset NAME` or `config FILE`; anything else is
            "not recorded".
    """
    method, run = declared(METHOD), declared(RUN)
    groups = []
    for title, known in (("The method", method), ("The run: model, data, evaluation", run)):
        lines = []
        for name, (default, meaning) in known.items():
            if name not in config and known is run:
                continue  # how a run is started is no part of what it computes
            value = setting(name, config[name]) if name in config else "not recorded"
            changed = config[name] != default if name in config else None
            source = source_of_default(meaning) or "ours"
            lines.append(
                Option(name, value, setting(name, default), source, changed, _set_by(name, origins, changed), meaning)
            )
        groups.append((title, lines))
    others = [name for name in sorted(config) if name not in method and name not in run]
    rest = [Option(name, setting(name, config[name]), set_by=_set_by(name, origins, None)) for name in others]
    return [*groups, ("Everything else, of TRL and the Trainer", rest)]


def as_config(config: dict[str, Any], origins: Any) -> str:
    """Return the options that were set as the text of a config file that sets them again; "" where that is unknown.

    `config.yaml` itself also holds what TRL derives from other options, and refuses to be told twice.
    """
    if not isinstance(origins, dict):
        return ""
    import yaml

    chosen = {name: config[name] for name in origins if name in config and setting(name, config[name]) != HIDDEN}
    chosen.pop("output_dir", None)
    text = yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True)
    return without_secrets(visible(text)) if chosen else ""


def summary(groups: list[tuple[str, list[Option]]]) -> str:
    """Say in one sentence who set how many options, and where the method's defaults come from."""
    by = Counter(option.set_by for _, lines in groups for option in lines)
    by_name = [f"{count} by {name}" for name, count in sorted(by.items(), key=lambda pair: pair[0] != "hand")
               if name not in ("default", "not recorded")]  # fmt: skip
    method = Counter(option.source for option in groups[0][1] if option.set_by == "default")
    said = f"Options set: {', '.join(by_name)}." if by_name else ""
    if method:
        sources = "; ".join(f"{count} {name}" for name, count in method.items())
        said += f" Options of the method at their default: {method.total()} ({sources})."
    return said.strip()


def _set_by(name: str, origins: Any, changed: bool | None) -> str:
    if not isinstance(origins, dict):
        return "not recorded" if changed is not False else "default"
    origin = visible(origins.get(name, "default"))
    return "hand" if origin == "flag" else origin
