"""The system call filter: an allowlist, built once per zygote, installed by every program's process as its last act."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Sequence

from . import linux
from .syscalls import ALLOWED, ARCHITECTURES, ENOSYS, EPERM, NEWER, NO_OPEN, OWN_PID, RULES, Arg, Null, Rule, numbers

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data
_X32 = 0x40000000
_MODE_FILTER = 2


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_uint16), ("filter", ctypes.c_void_p)]


class Filter:
    """An allowlist ready to be installed in a fork."""

    def __init__(self, may_open: bool):
        lines = _assemble(RULES if may_open else RULES | NO_OPEN, platform.machine())
        self._own_pid = [i for i, line in enumerate(lines) if line[3] == OWN_PID]
        self._code = (_Instruction * len(lines))(
            *(_Instruction(code, jt, jf, 0 if k == OWN_PID else k) for code, jt, jf, k in lines)
        )

    def install(self) -> None:
        """Confine this process for good. Needs no_new_privs."""
        for index in self._own_pid:
            self._code[index].k = os.getpid()
        program = _Program(len(self._code), ctypes.addressof(self._code))
        linux.prctl(linux.SET_SECCOMP, _MODE_FILTER, program)


_Line = tuple[int, int, int, "int | str"]


def _assemble(rules: dict[str, Rule], machine: str) -> list[_Line]:
    table = numbers(machine)
    lines: list[_Line] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, ARCHITECTURES[machine][0]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),  # the x32 numbers of the same calls; no other architecture goes that high
        (_RETURN, 0, 0, _KILL_PROCESS),
        # Calls that are younger than the tables: C libraries try them and fall back when told they do not exist.
        (_AT_LEAST, 0, 1, NEWER),
        (_RETURN, 0, 0, _ERRNO | ENOSYS),
    ]
    lines += _jump_to((_RETURN, 0, 0, _ALLOW), [table[name] for name in ALLOWED if name in table])
    for name, rule in rules.items():
        if name in table:
            body = _body(rule)
            lines += [(_EQUAL, 0, len(body), table[name]), *body]
    return [*lines, (_RETURN, 0, 0, _ERRNO | EPERM)]


def _body(rule: Rule) -> list[_Line]:
    lines: list[_Line] = []
    for demand in rule:
        refuse: _Line = (_RETURN, 0, 0, _ERRNO | demand.errno)
        low = 16 + 8 * demand.index  # both architectures are little-endian
        if isinstance(demand, Null):
            lines += [(_LOAD, 0, 0, low), (_EQUAL, 1, 0, 0), refuse, (_LOAD, 0, 0, low + 4), (_EQUAL, 1, 0, 0), refuse]
        else:
            lines += [(_LOAD, 0, 0, low), (_AND, 0, 0, demand.mask), *_match(demand, refuse)]
    return [*lines, (_RETURN, 0, 0, _ALLOW)]


def _match(demand: Arg, refuse: _Line) -> list[_Line]:
    """Compare what was loaded: fall into `refuse`, the last line, or jump over it."""
    if demand.forbid:
        return _jump_to(refuse, demand.values)
    left = len(demand.values)
    return [*((_EQUAL, left - i, 0, value) for i, value in enumerate(demand.values)), refuse]


def _jump_to(answer: _Line, values: Sequence[int | str]) -> list[_Line]:
    """Compare what was loaded: jump to `answer`, the last line, or over it. At most 255 values."""
    last = len(values) - 1
    return [*((_EQUAL, last - i, int(i == last), value) for i, value in enumerate(values)), answer]
