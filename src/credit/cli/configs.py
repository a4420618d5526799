"""What is known about a command before the heavy libraries are imported: its flags, its config file, its run."""

from __future__ import annotations

import json
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from credit.errors import UserError
from credit.sources import SourceOptions


def split_flags(argv: list[str]) -> list[str]:
    """Turn `--some-name=value` into `--some_name value`."""
    parts: list[str] = []
    for arg in argv:
        if not arg.startswith("--"):
            parts.append(arg)
            continue
        name, equals, value = arg.partition("=")
        parts += ["--" + name[2:].replace("-", "_"), *([value] if equals else [])]
    return parts


def take(argv: list[str], flag: str) -> tuple[str | None, list[str]]:
    """Return the flag's value, or None, and the other arguments."""
    if flag not in argv:
        return None, argv
    at = argv.index(flag)
    if at + 1 >= len(argv):
        raise UserError(f"{flag} needs a value.")
    return argv[at + 1], argv[:at] + argv[at + 2 :]


def builtin_configs() -> dict[str, Path]:
    """Return the configs that come with the package, by name."""
    return {Path(str(f)).stem: Path(str(f)) for f in files("credit.configs").iterdir() if f.name.endswith(".yaml")}


class _Loader(yaml.SafeLoader):
    """Safe, and refuses a key that is there twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_config(name: str) -> tuple[str, dict[str, Any]]:
    """Read options from a built-in name or a path, foundations included; return the file's name and the options."""
    found = layers(name)
    return found[-1][0], {key: value for _, content in found for key, value in content.items()}


def layers(name: str, above: tuple[Path, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Return the options of a YAML file with its foundations, lowest first: (name of the file, its own options).

    `config: NAME`, or a list of names, puts other files below this one: built-in ones, or paths seen from its folder.
    """
    path = builtin_configs().get(name, Path(name))
    if above and name not in builtin_configs():
        path = above[-1].parent / name
    if not path.is_file():
        raise UserError(f"config {name!r} is neither a file nor one of: {', '.join(sorted(builtin_configs()))}.")
    if path.resolve() in above:
        raise UserError(f"{path.name} is a foundation of itself. Remove `config` from one of: "
                        f"{', '.join(p.name for p in above)}.")  # fmt: skip
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path.name} must hold a mapping of options, one `name: value` per line.")
    below = content.pop("config", None) or []
    names = below if isinstance(below, list) else [below]
    stack = (*above, path.resolve())
    return [*(layer for other in names for layer in layers(str(other), stack)), (path.name, content)]


def source_of(argv: list[str]) -> SourceOptions:
    """Return model, task and dataset as flags and config name them, for what must be known before parsing."""
    config_name, rest = take(argv, "--config")
    config = read_config(config_name)[1] if config_name else {}
    if "methods" in config:
        raise UserError(f"{config_name} is a study, not one run. Run it with: credit compare --config {config_name}")
    options = SourceOptions()
    for name in ("model", "task", "dataset"):
        setattr(options, name, take(rest, f"--{name}")[0] or config.get(name) or getattr(options, name))
    return options


def asks_for_push(argv: list[str]) -> bool:
    """Return whether flags or config ask for `push_to_hub`, before parsing."""
    config_name, rest = take(argv, "--config")
    return "--push_to_hub" in rest or bool(config_name and read_config(config_name)[1].get("push_to_hub"))


def recall(argv: list[str]) -> list[str]:
    """Let `--resume --output_dir RUN` stand for the command that started RUN; other flags are added to it."""
    folder, rest = take(argv, "--output_dir")
    if "--resume" not in rest or "--config" in rest or folder is None:
        return argv
    added = [flag for flag in rest if flag != "--resume"]
    record = Path(folder) / "run.json"
    if not record.is_file():
        raise UserError(f"{folder} holds no run to resume. Check --output_dir, or repeat the whole command.")
    command = shlex.split(json.loads(record.read_text(encoding="utf-8"))["command"])
    _, flags = take(command[2:], "--output_dir")  # the folder may have moved
    if any(flags[at : at + len(added)] == added for at in range(len(flags))):
        added = []  # said again, flags and values in one piece
    return [*(f for f in flags if f not in ("--resume", "--overwrite")), *added, "--output_dir", folder, "--resume"]
