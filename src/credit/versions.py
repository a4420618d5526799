"""Versions of what a result depends on, and where the project lives."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, metadata, version

PACKAGE = "credit-distill"
_SHOWN = {"credit": PACKAGE, "torch": "torch", "trl": "trl", "transformers": "transformers"}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    found = {"python": platform.python_version()}
    for name, package in _SHOWN.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def project_url() -> str | None:
    """Return the project's address as its package states it (`[project.urls]`); None when it states none."""
    try:
        urls = metadata(PACKAGE).get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    found = dict(entry.split(", ", 1) for entry in urls)
    return found.get("Repository") or found.get("Homepage")
