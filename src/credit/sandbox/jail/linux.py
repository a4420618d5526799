"""The few Linux calls that Python's standard library does not offer."""

from __future__ import annotations

import ctypes
import os

SET_PDEATHSIG, SET_DUMPABLE, SET_SECCOMP, SET_NO_NEW_PRIVS = 1, 4, 22, 38
_CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def check(result: int, what: str) -> int:
    """Return a libc call's result, or raise its error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, *args: int | bytes | ctypes.Structure | None) -> int:
    """Call the kernel directly."""
    words = [
        ctypes.c_void_p(a) if isinstance(a, int | None) else ctypes.byref(a) if isinstance(a, ctypes.Structure) else a
        for a in args
    ]
    return check(libc.syscall(ctypes.c_long(number), *words), f"system call {number}")


def prctl(option: int, value: int | ctypes.Structure, extra: int | ctypes.Structure = 0) -> None:
    """Change an attribute of this process."""
    args = [ctypes.byref(a) if isinstance(a, ctypes.Structure) else ctypes.c_ulong(a) for a in (value, extra)]
    check(libc.prctl(ctypes.c_int(option), *args, ctypes.c_ulong(0), ctypes.c_ulong(0)), f"prctl({option})")


def drop_capabilities() -> None:
    """Give up all capabilities: root keeps its number and its own files, and loses its powers."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def cpu_clock(pid: int) -> int:
    """Return the clock (for `time.clock_gettime`) that counts the CPU time of another process, all its threads."""
    clock = ctypes.c_int()
    if error := libc.clock_getcpuclockid(ctypes.c_int(pid), ctypes.byref(clock)):
        raise OSError(error, os.strerror(error))
    return clock.value
