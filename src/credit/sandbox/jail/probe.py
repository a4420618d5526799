"""Try what is forbidden, in a throw-away process that is confined like a program's, and write down what worked."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import resource
import socket
from collections.abc import Callable

from . import linux
from .syscalls import numbers

_ASK = 0
"""Signal 0 only asks whether a signal could be sent."""


def run(canary: str, report: int) -> None:
    """Try every act and write [[act, refused], ...] to a descriptor; ends the process."""
    table = [(name, _refused(act)) for name, act in _acts(canary).items()]
    os.write(report, json.dumps(table).encode())
    os._exit(0)


def _refused(act: Callable[[], object]) -> bool:
    try:
        return act() is False
    except OSError:
        return True


def _acts(canary: str) -> dict[str, Callable[[], object]]:
    folder = os.path.dirname(canary)
    call = _raw_calls()
    return {
        "read a file of the caller": lambda: open(canary, "rb").read(),
        "read /etc/passwd": lambda: open("/etc/passwd", "rb").read(),
        "read the parent's environment": lambda: open(f"/proc/{os.getppid()}/environ", "rb").read(),
        "list the root folder": lambda: os.listdir("/"),
        "write to a file of the caller": lambda: open(canary, "r+b").write(b"x"),
        "create a file": lambda: open(os.path.join(folder, "created"), "wb"),
        "create a file in /tmp": lambda: open("/tmp/credit-sandbox-probe", "wb"),
        "create shared memory": lambda: open("/dev/shm/credit-sandbox-probe", "wb"),
        "remove a file": lambda: os.unlink(canary),
        "rename a file": lambda: os.rename(canary, canary + ".moved"),
        "change permissions": lambda: os.chmod(canary, 0o777),
        "make a folder": lambda: os.mkdir(os.path.join(folder, "made")),
        "start a process": _fork,
        "run a program": lambda: _is_answered(lambda: os.execv("/nonexistent", ["x"])),
        "signal the parent": lambda: os.kill(os.getppid(), _ASK),
        "signal everything": lambda: os.kill(-1, _ASK),
        "redirect signals to the parent": _own_signals,
        "open an internet socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "open a datagram socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "open a local socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        "open a local datagram pair": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
        "raise a limit": _raise_limit,
        "trace a process": lambda: call("ptrace"),
        "read another process's memory": lambda: call("process_vm_readv", os.getppid()),
        "open a handle on a process": lambda: call("pidfd_open", os.getppid()),
        "make namespaces": lambda: call("unshare", 0x10000000),
        "mount": lambda: call("mount"),
        "use io_uring": lambda: call("io_uring_setup", 1),
        "use bpf": lambda: call("bpf"),
        "use userfaultfd": lambda: call("userfaultfd"),
        "use kernel keys": lambda: call("keyctl"),
        "use performance counters": lambda: call("perf_event_open"),
        "make anonymous files": lambda: call("memfd_create"),
        "use shared memory segments": lambda: call("shmget", 0, 4096, 0o1600),
        "use message queues": lambda: call("mq_open"),
        "change personality": lambda: call("personality", 0),
        "add a filter": lambda: call("seccomp"),
        "make a process by clone3": lambda: call("clone3"),
        "open by openat2": lambda: call("openat2"),
        "keep descriptors": lambda: any(_is_open(number) for number in range(5, 256)),
    }


def _raw_calls() -> Callable[..., bool]:
    table = numbers(platform.machine())

    def call(name: str, *args: int) -> bool:
        return _is_answered(lambda: linux.syscall(table[name], *args, *[0] * (5 - len(args))))

    return call


def _is_answered(act: Callable[[], object]) -> bool:
    """Try an act whose arguments are nonsense: whatever it says but "not permitted" or "no such call", it was heard."""
    try:
        act()
    except OSError as error:
        return error.errno not in (errno.EPERM, errno.ENOSYS)
    return True


def _fork() -> bool:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


def _own_signals() -> bool:
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())
    return True


def _raise_limit() -> bool:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] + 1, before[1] + 1))
    except ValueError:
        return False
    return resource.getrlimit(resource.RLIMIT_NOFILE) != before


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
