"""Run a Python script as in a container whose profile refuses some system calls.

python container_profile.py PROFILE -c SCRIPT; profiles: `default` (as container engines ship it), `no_landlock`,
`no_seccomp`.
"""

from __future__ import annotations

import ctypes
import os
import sys

from credit.sandbox.jail import linux
from credit.sandbox.jail.seccomp import _Instruction, _Program

_EPERM, _ENOSYS, _ALLOW = 0x00050001, 0x00050026, 0x7FFF0000
# unshare, setns, mount, pivot_root, umount2, bpf, perf_event_open, keyctl, userfaultfd, io_uring_setup
_DEFAULT = dict.fromkeys((272, 308, 165, 155, 166, 321, 298, 250, 323, 425), _EPERM) | {435: _ENOSYS}
_LANDLOCK = dict.fromkeys((444, 445, 446), _ENOSYS)
PROFILES = {
    "default": _DEFAULT,
    "no_landlock": _DEFAULT | _LANDLOCK,
    "no_seccomp": _DEFAULT | _LANDLOCK | {317: _EPERM},
}
_CLONE, _NEW_NAMESPACES = 56, 0x7E020000


def install(profile: str) -> None:
    lines = [(0x20, 0, 0, 0)]
    for number, answer in PROFILES[profile].items():
        lines += [(0x15, 0, 1, number), (0x06, 0, 0, answer)]
    if profile == "no_seccomp":  # prctl(PR_SET_SECCOMP)
        lines += [(0x15, 0, 4, 157), (0x20, 0, 0, 16), (0x15, 0, 1, 22), (0x06, 0, 0, _EPERM), (0x20, 0, 0, 0)]
    lines += [(0x15, 0, 3, _CLONE), (0x20, 0, 0, 16), (0x45, 0, 1, _NEW_NAMESPACES), (0x06, 0, 0, _EPERM)]
    lines += [(0x06, 0, 0, _ALLOW)]
    code = (_Instruction * len(lines))(*(_Instruction(*line) for line in lines))
    linux.drop_capabilities()
    linux.prctl(linux.SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.SET_SECCOMP, 2, _Program(len(lines), ctypes.addressof(code)))


if __name__ == "__main__":
    install(sys.argv[1])
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
