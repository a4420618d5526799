"""File access: a program may read the interpreter and its libraries, and nothing else."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from . import linux

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # version -> how many file rights it knows
_TCP, _SCOPES = 0b11, 0b11  # bind and connect; abstract sockets and signals


class _Ruleset(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def version() -> int:
    """Return the kernel's Landlock version; raise OSError where there is none."""
    try:
        return linux.syscall(_CREATE, None, 0, _VERSION)
    except OSError as error:
        raise OSError(error.errno, "this kernel has no Landlock, or a container's profile hides it") from None


def ruleset(roots: Sequence[str]) -> int:
    """Return a descriptor of the rules: everything is refused but reading below `roots`."""
    known = version()
    rights = (1 << max(count for since, count in _RIGHTS.items() if since <= known)) - 1
    rules = _Ruleset(rights, _TCP if known >= 4 else 0, _SCOPES if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    descriptor = linux.syscall(_CREATE, rules, size, 0)
    for root in roots:
        opened = os.open(root, os.O_PATH | os.O_CLOEXEC)
        allowed = _READ_FILE | _READ_DIR if os.path.isdir(root) else _READ_FILE
        linux.syscall(_ADD_RULE, descriptor, _PATH_BENEATH, _PathBeneath(allowed, opened), 0)
        os.close(opened)
    return descriptor


def restrict(descriptor: int) -> None:
    """Put this process under the rules for good. Needs no_new_privs."""
    linux.syscall(_RESTRICT, descriptor, 0)
