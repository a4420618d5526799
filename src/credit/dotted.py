"""What people write themselves, by dotted path: `package.module:Name`, also from the current folder."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def by_path(option: str, name: str) -> Any | None:
    """Return the object `name` points to, or None when its module has no such name.

    Args:
        option: the option that was given, for the message.
        name: `package.module:Name`.

    Raises:
        ValueError: not a dotted path, or the module cannot be imported; one line with the fix.
    """
    module, _, attribute = name.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"{option}={name!r} is no dotted path. Write package.module:Name, without .py and slashes.")
    return getattr(_imported(option, module, name), attribute, None)


def _imported(option: str, module: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            raise ValueError(
                f"{option}={name!r}: module {module} is not found. Run from the folder that holds it, or install it."
            ) from None
        raise ValueError(f"{option}={name!r}: module {module} needs {missing}, which is not installed.") from error
    except Exception as error:  # a module of people's own may raise anything
        raise ValueError(
            f"{option}={name!r}: module {module} cannot be imported ({type(error).__name__}: {error})."
        ) from error
