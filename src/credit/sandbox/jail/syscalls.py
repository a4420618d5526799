"""Which system calls a program may make, by name, and their numbers.

The x86-64 column is tested. The aarch64 column was written from the kernel's generic table and is untested.
"""

from __future__ import annotations

from dataclasses import dataclass

_NUMBERS = """
read 0 63; write 1 64; open 2 -; openat 257 56; close 3 57; close_range 436 436; stat 4 -; fstat 5 80; lstat 6 -;
newfstatat 262 79; statx 332 291; access 21 -; faccessat 269 48; faccessat2 439 439; poll 7 -; ppoll 271 73;
select 23 -; pselect6 270 72; lseek 8 62; mmap 9 222; mprotect 10 226; munmap 11 215; mremap 25 216; madvise 28 233;
brk 12 214; msync 26 227; rt_sigaction 13 134; rt_sigprocmask 14 135; rt_sigreturn 15 139; rt_sigpending 127 136;
rt_sigtimedwait 128 137; rt_sigsuspend 130 133; sigaltstack 131 132; ioctl 16 29; pread64 17 67; pwrite64 18 68;
readv 19 65; writev 20 66; pipe 22 -; pipe2 293 59; dup 32 23; dup2 33 -; dup3 292 24; sched_yield 24 124;
sched_getaffinity 204 123; nanosleep 35 101; clock_nanosleep 230 115; clock_gettime 228 113; clock_getres 229 114;
gettimeofday 96 169; time 201 -; times 100 153; getrusage 98 165; getitimer 36 102; setitimer 38 103; alarm 37 -;
pause 34 -; getpid 39 172; getppid 110 173; gettid 186 178; getuid 102 174; geteuid 107 175; getgid 104 176;
getegid 108 177; getgroups 115 158; getresuid 118 148; getresgid 120 150; getpgrp 111 -; getpgid 121 155;
getsid 124 156; socketpair 53 199; sendto 44 206; recvfrom 45 207; shutdown 48 210; getsockname 51 204;
getpeername 52 205; getsockopt 55 209; epoll_create 213 -; epoll_create1 291 20; epoll_ctl 233 21; epoll_wait 232 -;
epoll_pwait 281 22; epoll_pwait2 441 441; eventfd2 290 19; clone 56 220; clone3 435 435; openat2 437 437; exit 60 93;
exit_group 231 94; wait4 61 260; waitid 247 95; futex 202 98; set_robust_list 273 99; get_robust_list 274 100;
set_tid_address 218 96; rseq 334 293; membarrier 324 283; restart_syscall 219 128; getrandom 318 278; getcpu 309 168;
sysinfo 99 179; uname 63 160; getcwd 79 17; getdents64 217 61; fcntl 72 25; fsync 74 82; fdatasync 75 83;
ftruncate 77 46; kill 62 129; tgkill 234 131; prctl 157 167; prlimit64 302 261; setrlimit 160 164; getrlimit 97 163;
fork 57 -; execve 59 221; ptrace 101 117; process_vm_readv 310 270; io_uring_setup 425 425; bpf 321 280;
userfaultfd 323 282; keyctl 250 219; memfd_create 319 279; unshare 272 97; mount 165 40; perf_event_open 298 241;
pidfd_open 434 434; shmget 29 194; seccomp 317 277; mq_open 240 180; personality 135 92
"""
"""Name, number on x86-64, number on aarch64; `-` where an architecture has no such call."""

NEWER = 447
"""Where the calls begin that no table here knows; the numbers are the same on every architecture."""

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Machine name -> (the kernel's AUDIT_ARCH value, column of the table above)."""

_ALLOWED = """
read write close close_range stat fstat lstat newfstatat statx access faccessat faccessat2 poll ppoll select pselect6
lseek mmap mprotect munmap mremap madvise brk msync rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending
rt_sigtimedwait rt_sigsuspend sigaltstack pread64 pwrite64 readv writev pipe pipe2 dup dup2 dup3 sched_yield
sched_getaffinity nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times getrusage getitimer
setitimer alarm pause getpid getppid gettid getuid geteuid getgid getegid getgroups getresuid getresgid getpgrp getpgid
getsid recvfrom shutdown getsockname getpeername getsockopt epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
epoll_pwait2 eventfd2 exit exit_group wait4 waitid futex set_robust_list get_robust_list set_tid_address rseq
membarrier restart_syscall getrandom getcpu sysinfo uname getcwd getdents64 fsync fdatasync ftruncate getrlimit
"""
ALLOWED = _ALLOWED.split()
"""Calls that are allowed whatever their arguments."""

OWN_PID = "own pid"
"""Stands for the program's process id, which is known only after the fork."""

EPERM, EACCES, ENOSYS = 1, 13, 38
SUCCESS = 0
"""As an errno: the call does nothing and says it worked."""


@dataclass(frozen=True)
class Arg:
    """A demand on one argument: its masked low 32 bits are among `values` (or, with `forbid`, are not)."""

    index: int
    values: tuple[int | str, ...]
    mask: int = 0xFFFFFFFF
    forbid: bool = False
    errno: int = EPERM


@dataclass(frozen=True)
class Null:
    """A demand on one argument: all 64 bits are zero."""

    index: int
    errno: int = EPERM


Rule = tuple[Arg | Null, ...]
"""A call is allowed when all demands hold; the first that does not gives the error."""

_WRITING = 0o3 | 0o100 | 0o1000 | 0o2000 | 0o20000 | 0o10000000 | 0o20000000
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_ASYNC, O_PATH, O_TMPFILE: the same on both architectures."""
_THREAD = 0x3D0F00
"""What the C libraries pass to clone for a thread, and nothing else: no namespaces, no processes, no pidfd."""


def _never(errno: int) -> Rule:
    return (Arg(0, (), errno=errno),)


RULES: dict[str, Rule] = {
    "open": (Arg(1, (0,), _WRITING, errno=EACCES),),
    "openat": (Arg(2, (0,), _WRITING, errno=EACCES),),
    "clone": (Arg(0, (_THREAD, _THREAD | 0x400000)),),  # musl adds CLONE_DETACHED
    "clone3": _never(ENOSYS),  # its flags lie in memory, out of a filter's sight; C libraries fall back to clone
    "openat2": _never(ENOSYS),
    # SIGKILL and SIGSTOP come only from outside, so that no program can pass for a victim of the infrastructure.
    "kill": (Arg(0, (OWN_PID,)), Arg(1, (9, 19), forbid=True)),
    "tgkill": (Arg(0, (OWN_PID,)), Arg(2, (9, 19), forbid=True)),
    # asyncio wakes itself through a pair. Datagram pairs, sendmsg and addresses could reach sockets of others.
    "socketpair": (Arg(0, (1,)), Arg(1, (1,), 0xFFFFFFFF ^ 0o2004000), Arg(2, (0,))),
    "sendto": (Null(4),),
    # Duplicates and flags only: F_SETOWN and F_SETSIG would send signals to other processes.
    "fcntl": (Arg(1, (0, 1, 2, 3, 4, 1030)),),
    "ioctl": (Arg(1, (0x5421, 0x5450, 0x5451, 0x541B, 0x5401, 0x5413)),),  # FIONBIO, close-on-exec, sizes
    "prctl": (Arg(0, (15, 16)),),  # thread names
    # Programs raise their stack limit by habit. Reading is allowed; changing does nothing and says it worked.
    "prlimit64": (Arg(0, (0, OWN_PID)), Null(2, errno=SUCCESS)),
    "setrlimit": _never(SUCCESS),
}

NO_OPEN: dict[str, Rule] = {"open": _never(EACCES), "openat": _never(EACCES)}
"""Rules for kernels without Landlock: a filter cannot read paths, so no file is opened at all."""


def numbers(machine: str) -> dict[str, int]:
    """Return the table of an architecture; raise NotImplementedError for one that has none."""
    if machine not in ARCHITECTURES:
        raise NotImplementedError(f"no system call table for {machine}; only {', '.join(ARCHITECTURES)} are known")
    column = ARCHITECTURES[machine][1]
    rows = (row.split() for row in _NUMBERS.split(";"))
    return {name: int(columns[column]) for name, *columns in rows if columns[column] != "-"}
