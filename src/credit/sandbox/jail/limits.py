"""Resource limits, soft = hard but for the stack, which counts as address space anyway."""

from __future__ import annotations

import math
import resource
from contextlib import suppress
from dataclasses import dataclass

STACK = 96 << 20
"""For deep recursion in the main thread; the kernel keeps at least 128 MiB free below it."""


def address_space() -> int:
    """Return the bytes of address space this process occupies, or 0 where the system does not say."""
    with suppress(OSError), open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()
    return 0


@dataclass(frozen=True)
class Limits:
    """CPU seconds, bytes of memory beyond what the bare interpreter occupies, bytes of each output."""

    cpu_s: float
    memory: int
    output: int


def apply(limit: Limits, occupied: int) -> None:
    """Limit this process, of which `occupied` bytes of address space are the bare interpreter's."""
    limits = {
        "CPU": math.ceil(limit.cpu_s) + 1,  # in the kernel, should the watching process fail; verdicts are finer
        "AS": occupied + limit.memory,
        "FSIZE": limit.output,
        "STACK": STACK,
        "NOFILE": 64,
        "CORE": 0,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
        "NICE": 0,
        "RTPRIO": 0,
    }
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, hard if name == "STACK" else value))
