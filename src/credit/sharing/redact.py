"""What may leave this machine: options and texts without credentials, and without its paths."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from credit.report.text import HIDDEN, command_line, without_secrets

_SECRET = re.compile(r"(api_?key|password|secret)|^((hub|hf|access|auth|use_auth)_)?token$", re.IGNORECASE)
_FOLDERS = ("output_dir", "logging_dir")
_ROWS = ("dataset", "eval_dataset")
_ROW_FILES = (".jsonl", ".json", ".parquet")
# An absolute path inside a text, or one that begins with `~`, `./` or `../`; not what follows a word or a protocol.
_PATH = re.compile(
    r"""(?<![\w./\\:~<-])(?:file:/{2}|~[\w.-]*|[A-Za-z]:|\.{1,2})?(?:[/\\]+[^\s/\\"'`,;:=()\[\]{}<>|]+)+[/\\]*"""
)


def redacted(value: Any, name: str = "") -> Any:
    """Return options or texts of a run with credentials hidden and paths of this machine cut to their last name.

    Folders of the run and files of rows keep their last name only, wherever they lie.

    Args:
        value: what YAML or JSON may hold.
        name: the option it is the value of.
    """
    if isinstance(value, dict):
        return {key: redacted(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, name) for item in value]
    if value is not None and not isinstance(value, bool) and _SECRET.search(name):
        return HIDDEN
    if not isinstance(value, str):
        return value
    if name == "command":
        return shlex.join(_argument(part) for part in shlex.split(command_line(value)))
    if name in _FOLDERS or (name in _ROWS and value.endswith(_ROW_FILES)):
        return _last(value)
    return _text(value)


def _argument(value: str) -> str:
    flag, equals, rest = value.partition("=")
    return f"{flag}={_text(rest)}" if equals and flag.startswith("--") else _text(value)


def _text(value: str) -> str:
    if value[:1] in ("{", "["):
        try:
            return json.dumps(redacted(json.loads(value)), ensure_ascii=False)
        except ValueError:
            pass
    if "\n" not in value and _is_local(value):
        return _last(value)
    return without_secrets(_PATH.sub(lambda found: _last(found[0]), value))


def _is_local(value: str) -> bool:
    return PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute() or value.startswith(
        ("~", "./", "../", ".\\", "..\\", "file://")
    )  # fmt: skip


def _last(path: str) -> str:
    kind: type[PurePath] = PureWindowsPath if "\\" in path else PurePosixPath
    return kind(path).name or "."
