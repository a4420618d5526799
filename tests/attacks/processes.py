"""Processes and signals."""

# ruff: noqa: E501 (programs are written as an attacker would)
from attacks import Attack, simple

ATTACKS = [
    *simple("process", {
        "fork": "os.fork() or os._exit(0)",
        "forkpty": "os.forkpty()",
        "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
        "shell": "print(1 / (os.system('touch @WORLD@/made') == 0))",
        "subprocess": "__import__('subprocess').run([sys.executable, '-c', 'print(1)'])",
        "exec": "os.execv('/bin/sh', ['sh', '-c', 'echo PWNED'])",
        "exec by descriptor": "os.execve(os.open(sys.executable, os.O_RDONLY), ['x'], {})",
        "multiprocessing": "__import__('multiprocessing').get_context('fork').Process(target=print).start()",
        "kill the victim": "os.kill(@VICTIM@, 9)",
        "stop the victim": "os.kill(@VICTIM@, 19)",
        "ask for the victim": "os.kill(@VICTIM@, 0)",
        "kill the parent": "os.kill(os.getppid(), 9)",
        "kill the first": "os.kill(1, 9)",
        "kill everybody": "os.kill(-1, 9)",
        "kill the parent's group": "os.killpg(os.getpgid(os.getppid()), 9)",
        "kill the own group": "os.killpg(0, 9)",
        "handle on the victim": "os.pidfd_open(@VICTIM@)",
        "priority": "os.nice(-5)",
        "priority of others": "os.setpriority(os.PRIO_USER, 0, 19)",
        "scheduler": "os.sched_setscheduler(@VICTIM@, os.SCHED_IDLE, os.sched_param(0))",
        "affinity": "os.sched_setaffinity(@VICTIM@, [0])",
        "limits of the victim": "__import__('resource').prlimit(@VICTIM@, 7, (0, 0))",
        "become root": "os.setuid(0)",
    }),
    Attack("process: fork bomb", """
while True:
    try: os.fork(); won('fork')
    except OSError: break
"""),
    Attack("process: daemon", """
for fork in (os.fork, lambda: raw(57), lambda: raw(58), lambda: raw(56, 17, 0, 0, 0, 0), lambda: raw(56, 0x4000 | 0x100, 0, 0, 0, 0)):
    try: pid = fork()
    except OSError: continue
    if pid == 0: time.sleep(20); os._exit(0)
    if pid > 0: won('fork')
"""),
    Attack("process: kills itself to be left out", "os.kill(os.getpid(), 9)\nwhile True: pass"),
    Attack("process: kills itself by raw calls", """
import threading
for number, args in ((234, (os.getpid(), threading.get_native_id(), 9)), (200, (os.getpid(), 9)), (62, (0, 9)), (62, (-1, 9)),
                     (129, (os.getpid(), 9, 0)), (424, (0, 9, 0, 0)), (62, ((1 << 32) + os.getpid(), 9))):
    raw(number, *args)
"""),
    Attack("process: signals by raw calls", """
for number, args in ((62, (@VICTIM@, 9)), (234, (@VICTIM@, @VICTIM@, 9)), (200, (@VICTIM@, 9)), (129, (@VICTIM@, 9, 0)),
                     (297, (@VICTIM@, @VICTIM@, 9, 0)), (434, (@VICTIM@, 0)), (62, ((1 << 32) + @VICTIM@, 9))):
    if raw(number, *args) >= 0: won(number)
"""),
    Attack("process: signals by owned descriptors", """
import fcntl, socket, struct
a, b = socket.socketpair()
for command, value in ((8, @VICTIM@), (10, 9), (15, struct.pack('ii', 1, @VICTIM@)), (fcntl.F_SETFL, os.O_ASYNC)):
    try: fcntl.fcntl(a, command, value)
    except (OSError, ValueError): continue
    if command != fcntl.F_SETFL: won(command)
for request in (0x8901, 0x8902):
    try: fcntl.ioctl(a, request, struct.pack('i', @VICTIM@)); won(request)
    except OSError: pass
b.send(b'x'); time.sleep(0.05)
"""),
    Attack("process: cuts its ties", """
import signal
if libc.prctl(1, 0, 0, 0, 0) == 0: won('parent death signal')
if libc.prctl(4, 1, 0, 0, 0) == 0: won('dumpable')
if libc.prctl(36, 1, 0, 0, 0) == 0: won('subreaper')
if libc.prctl(22, 0, 0, 0, 0) == 0: won('seccomp')
if raw(112) >= 0: won('setsid')
if raw(109, 0, os.getppid()) >= 0: won('setpgid')
"""),
    Attack("process: traces and reads others", """
pid = @VICTIM@
buffer = ctypes.create_string_buffer(64)
for number, args in ((101, (16, pid, 0, 0)), (101, (0x4206, pid, 0, 0)), (101, (0, 0, 0, 0)), (310, (pid, 0, 0, 0, 0, 0)),
                     (311, (pid, 0, 0, 0, 0, 0)), (438, (3, 0, 0)), (312, (os.getpid(), pid, 0, 0, 0)), (440, (3, 0, 0, 20, 0))):
    if raw(number, *args) >= 0: won(number)
"""),
]  # fmt: skip
