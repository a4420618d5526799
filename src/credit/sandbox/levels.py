"""The levels of protection: what each starts, and what is missing where one cannot be proven."""

from __future__ import annotations

import json
import os
import shutil
import site
import sys
import sysconfig
from pathlib import Path
from typing import get_args

from .result import Level

PROTECTED: tuple[Level, ...] = ("namespaced", "locked", "locked_no_landlock")
"""What `auto` may choose, strongest first."""
LEVELS: tuple[Level, ...] = get_args(Level)

NEEDS: dict[Level, str] = {
    "namespaced": "bubblewrap (`apt-get install bubblewrap`), leave to make user namespaces, and all of `locked`",
    "locked": "Linux 5.13 or newer with Landlock and seccomp, on x86-64 or aarch64",
    "locked_no_landlock": "Linux 5.9 or newer with seccomp, on x86-64 or aarch64",
    "process": "nothing, and protects from nothing",
}

JAIL = Path(__file__).parent / "jail"

_SYSTEM = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime"]
_DEVICES = ["/dev/null", "/dev/zero", "/dev/urandom"]
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from jail.{0} import main; sys.path.pop(0); main()"


def environment() -> dict[str, str]:
    """Return the whole environment of the interpreters we start: nothing of the caller's but where libraries are."""
    fixed = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",  # the same program prints its sets in the same order every time
        "OMP_NUM_THREADS": "1",  # a zygote must be single-threaded, and thread pools eat address space
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    return fixed | {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"}


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs `main` of a module of the jail in an interpreter like this one.

    `-s -P` and an environment of our own are `-I` without its one drawback: that ignores PYTHONHASHSEED.
    """
    return [sys.executable, "-s", "-P", "-B", "-X", "utf8", "-c", _START.format(module), str(JAIL.parent), *arguments]


def command(level: Level, canary: str) -> list[str]:
    """Return the command that starts a zygote of a level."""
    roots = readable()
    zygote = python("zygote", json.dumps({"level": level, "roots": [*roots, *_DEVICES], "canary": canary}))
    return [*_bubblewrap(roots), *zygote] if level == "namespaced" else zygote


def readable() -> list[str]:
    """Return what programs may read: the interpreter, its libraries and those of the system. All else is hidden."""
    wanted = list(_SYSTEM)
    for prefix in {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}:
        wanted += [f"{prefix}/{name}" for name in ("lib", "lib64", "bin", "pyvenv.cfg")]
    paths = sysconfig.get_paths()
    wanted += [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    wanted += [*site.getsitepackages(), str(Path(os.path.realpath(sys.executable)).parent)]
    both = {p for path in wanted for p in (os.path.abspath(path), os.path.realpath(path)) if os.path.exists(p)}
    return sorted(both)


def _bubblewrap(roots: list[str]) -> list[str]:
    """Return the wrapper: own users, processes, network, hostname and a file system of the readable folders only."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        raise FileNotFoundError("bwrap is not installed")
    binds = [word for root in [*roots, str(JAIL)] for word in ("--ro-bind", root, root)]
    # Process 1 is the zygote: when it dies, the kernel kills whatever is left in its namespace.
    life = ["--die-with-parent", "--as-pid-1", "--new-session"]
    return [
        bubblewrap, "--unshare-all", "--cap-drop", "ALL", "--hostname", "sandbox", *life, *binds,
        "--proc", "/proc", "--dev", "/dev", "--chdir", "/", "--",
    ]  # fmt: skip
