"""An interpreter and a folder that an unprivileged user can read, for tests that give up root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NOBODY = 65534
ROOT = Path(__file__).parents[1]


def as_nobody() -> dict:
    """Return the `subprocess` arguments that give up root; none are needed where there is none to give up."""
    return {} if os.geteuid() != 0 else {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def interpreter() -> str | None:
    """Return a Python that nobody in particular can start, or None."""
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        test = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(test, check=False, stderr=subprocess.DEVNULL, cwd="/", **as_nobody()).returncode == 0:
                return python
        except OSError:
            continue
    return None


def publish(folder: Path) -> None:
    """Copy what the arena needs into a folder that everyone may read, whoever may read the checkout."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "credit" / "sandbox", folder / "src" / "credit" / "sandbox", ignore=skip)
    shutil.copy(ROOT / "src" / "credit" / "__init__.py", folder / "src" / "credit")
    shutil.copytree(ROOT / "tests" / "attacks", folder / "attacks", ignore=skip)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    folder.chmod(0o777)  # the arena builds its world and leaves its results here
