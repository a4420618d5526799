"""Hostile programs, each with a way to see from outside whether it got what it wanted.

They are run by `arena.py` only: as an unprivileged user, in process, network and mount namespaces of their own, with
limits on processes, and always inside the sandbox under test. A program that succeeds prints PWNED, or leaves a trace
that the arena looks for: the secret in its output, a changed or new file, a connection, a dead process.

In the texts, @WORDS@ stand for places in the arena: see `Arena.places`.
"""

from __future__ import annotations

from dataclasses import dataclass

PRELUDE = """
import ctypes, errno, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def won(what): print("PWNED", what, flush=True)
def raw(number, *args):
    return libc.syscall(ctypes.c_long(number), *[a if isinstance(a, bytes) else ctypes.c_void_p(a) for a in args])
def tries(what, act):
    try:
        result = act()
    except BaseException as error:
        print(what, "failed:", type(error).__name__)
    else:
        won(f"{what} {result!r:.200}")
"""


@dataclass(frozen=True)
class Attack:
    """One hostile program."""

    name: str
    code: str
    outcomes: tuple[str, ...] = ("ok", "runtime_error", "memory_limit", "time_limit", "output_limit")
    """What it may come to. Never a sandbox_error: a program must not be able to get itself left out."""
    stdin: str = ""
    call: tuple[str, list] | None = None
    after: str | None = None
    """A program run just before, in the same zygote."""


def simple(family: str, what: dict[str, str]) -> list[Attack]:
    """Return attacks that are one expression each, won if it raises nothing."""
    return [Attack(f"{family}: {name}", f"tries({name!r}, lambda: {act})") for name, act in what.items()]


def every_attack() -> list[Attack]:
    from attacks import files, forging, leftovers, network, processes, raw, reading, resources

    modules = (resources, reading, network, processes, files, raw, forging, leftovers)
    return [attack for module in modules for attack in module.ATTACKS]
