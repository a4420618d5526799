"""One parser for all commands: defaults < YAML config < preset typed by hand < flags. Unknown keys are errors."""

from __future__ import annotations

import difflib
import json
from argparse import SUPPRESS
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, NoReturn

from transformers import HfArgumentParser

from credit.cli.configs import layers, split_flags, take
from credit.errors import UserError


class Parser(HfArgumentParser):
    """HfArgumentParser whose complaints are one line, and whose help fits a screen unless asked for everything."""

    def __init__(self, types: list[Any], **options: Any):
        super().__init__(types, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Complain in one line; the caller adds the command's name."""
        raise UserError(message)

    def arrange(self, sections: Mapping[str, Iterable[str]]) -> None:
        """Leave only these options, under these titles and in this order, each in one spelling; parses no more."""
        shown = {
            action.dest: action
            for action in self._actions
            if action.option_strings and not action.option_strings[0].startswith("--no_")
        }
        for group in self._action_groups:
            group._group_actions = [action for action in group._group_actions if action is shown["help"]]
        for title, names in sections.items():
            self.add_argument_group(title)._group_actions += [_plainly(shown[name]) for name in names]


def _plainly(action: Any) -> Any:
    """Show an option by one name and what it takes, no default where it has none, and of long texts the beginning."""
    action.option_strings = action.option_strings[:1]
    if isinstance(action.default, bool):
        action.metavar = "true|false"
    elif not action.choices:
        action.metavar = {int: "N", float: "X"}.get(action.type, "...")
    text, ours, source = action.help.rpartition("Default: ")
    if ours and action.default is not None:
        action.help = f"{text}(default: %(default)s; source: {source.rstrip('.')})"
    elif not ours and len(action.help) > 200:
        action.help = action.help.partition(". ")[0].rstrip(".") + "."
    if action.default is None:
        action.default = SUPPRESS
    return action


def parse(parser: Parser, argv: list[str], presets: dict[str, dict[str, Any]] | None = None) -> tuple[Any, ...]:
    """Return the parser's dataclasses from flags and `--config`."""
    file, config, _, flags = _foundation(argv, presets)
    known = [f.name for t in parser.dataclass_types for f in fields(t) if f.init]
    for key in config:
        if key not in known:
            raise UserError(f"unknown key {key!r} in {file}{_did_you_mean(str(key), known)}")
    unwritable = (None, [])  # what no flag can say
    parser.set_defaults(**{key: value for key, value in config.items() if value in unwritable})
    typed = [part for key, value in config.items() if value not in unwritable for part in _as_flags(key, value)]
    *result, unknown = parser.parse_args_into_dataclasses(
        args=[*typed, *flags], look_for_args_file=False, return_remaining_strings=True
    )
    if unknown:
        raise UserError(f"unknown option {unknown[0]}{_did_you_mean(unknown[0].lstrip('-'), known)}")
    return tuple(result)


def origins(argv: list[str], presets: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return what set each option: `flag`, `preset NAME` or `config FILE`; an option not in it kept its default."""
    _, _, found, flags = _foundation(argv, presets)
    return {**found, **{flag[2:].removeprefix("no_"): "flag" for flag in flags if flag.startswith("--")}}


def _foundation(
    argv: list[str], presets: dict[str, dict[str, Any]] | None
) -> tuple[str, dict[str, Any], dict[str, str], list[str]]:
    """Return the config file's name, what it and the preset set, which of them did, and the flags."""
    config_name, flags = take(split_flags(argv), "--config")
    stack = layers(config_name) if config_name else [("", {})]
    file, config = stack[-1][0], {key: value for _, content in stack for key, value in content.items()}
    found = {str(key): f"config {name}" for name, content in stack for key in content}
    named, _ = take(flags, "--preset") if presets is not None else (None, [])
    name = named or config.get("preset")
    if presets is None or name is None:
        return file, config, found, flags
    if name not in presets:
        raise UserError(f"preset {name!r} is unknown. Use one of {', '.join(presets)}.")
    by_preset = dict.fromkeys(presets[name], f"preset {name}")
    if named:  # typed by hand: wins over the file, whose note then no longer holds
        found.pop("note", None)
        return file, {**config, **presets[name], "preset": name, "note": None}, {**found, **by_preset}, flags
    return file, {**presets[name], **config}, {**by_preset, **found}, flags


def _as_flags(key: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"--{key}", json.dumps(value)]
    if isinstance(value, list):
        return [f"--{key}", *(str(v) for v in value)]
    return [f"--{key}", str(value)]


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else "; --help lists them, of credit train --help-all."
