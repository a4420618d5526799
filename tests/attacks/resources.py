"""Bombs: time, memory, output, threads, descriptors."""

# ruff: noqa: E501 (programs are written as an attacker would)
from attacks import Attack

_TIME = ("time_limit",)
_MEMORY = ("memory_limit", "runtime_error")

ATTACKS = [
    Attack("bomb: endless loop", "while True: pass", _TIME),
    Attack("bomb: sleep for ever", "time.sleep(10**6)", _TIME),
    Attack("bomb: many short naps", "while True: time.sleep(0.002)", _TIME),
    Attack("bomb: deadlock", "import threading; l = threading.Lock(); l.acquire(); l.acquire()", _TIME),
    Attack("bomb: wait for a pipe", "os.read(os.pipe()[0], 1)", _TIME),
    Attack("bomb: endless loop in a thread", "import threading; threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()", _TIME),
    Attack("bomb: ignores every signal and exception", """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True:
    try:
        while True: pass
    except BaseException: pass
""", _TIME),
    Attack("bomb: regular expression", "import re; re.match('(a+)+$', 'a' * 64 + 'b')", _TIME),
    Attack("bomb: hangs at exit", "import atexit; atexit.register(lambda: [0 for _ in iter(int, 1)])", _TIME),
    Attack("bomb: stops itself", "os.kill(os.getpid(), 19)\nwhile True: time.sleep(1)"),
    Attack("bomb: one big block", "x = bytearray(1 << 33); won('8 GiB')", _MEMORY),
    Attack("bomb: growing list", "x = []\nwhile True: x.append(bytes(1 << 20))", _MEMORY),
    Attack("bomb: memory, caught again and again", """
x = []
while True:
    try:
        while True: x.append(bytes(1 << 20))
    except MemoryError: pass
    if len(x) > 2000: won('2 GB'); break
""", ("time_limit", "memory_limit")),
    Attack("bomb: mappings", "import mmap\nx = [mmap.mmap(-1, 1 << 30) for _ in range(64)]; won('64 GiB')"),
    Attack("bomb: big number", "x = 10 ** 10 ** 9", ("time_limit", "memory_limit", "runtime_error")),
    Attack("bomb: C recursion", "x = []\nfor _ in range(10**6): x = [x]\nrepr(x); del x"),
    Attack("bomb: Python recursion", "sys.setrecursionlimit(10**9)\ndef f(): f()\nf()"),
    Attack("bomb: raises its own limits", """
import resource
for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
    before = resource.getrlimit(kind)
    try: resource.setrlimit(kind, (-1, -1))
    except Exception: pass
    if resource.getrlimit(kind) != before: won('a limit changed')
    if raw(302, 0, kind, ctypes.addressof((ctypes.c_uint64 * 2)(2**64-1, 2**64-1)), 0) == 0 and resource.getrlimit(kind) != before: won('raw')
x = bytearray(1 << 31); won('2 GiB')
"""),
    Attack("bomb: standard output", "while True: print('x' * 10**6)", ("output_limit",)),
    Attack("bomb: standard error", "while True: print('x' * 10**6, file=sys.stderr)", ("output_limit",)),
    Attack("bomb: output, errors caught", """
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for _ in range(10**4):
    try: os.write(1, b'x' * 10**6)
    except OSError: pass
""", ("output_limit", "time_limit")),
    Attack("bomb: sparse output", "os.ftruncate(1, 1 << 40); won('a terabyte')", ("output_limit", "runtime_error")),
    Attack("bomb: output by offset", "os.pwrite(1, b'x', 1 << 40); won('a terabyte')", ("output_limit", "runtime_error")),
    Attack("bomb: grown input", "os.ftruncate(0, 1 << 40); won('a terabyte')", ("output_limit", "runtime_error")),
    Attack("bomb: value", "def f(): return 'x' * (40 << 20)", ("output_limit", "memory_limit", "time_limit"), call=("f", [])),
    Attack("bomb: threads", """
import threading
threading.stack_size(32768)
count = 0
try:
    while True:
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start(); count += 1
        if count > 5000: won('5000 threads'); break
except BaseException: pass
time.sleep(30)
""", ("runtime_error", "memory_limit", "time_limit")),
    Attack("bomb: descriptors", "x = []\nwhile True:\n    x.append(os.pipe())\n    if len(x) > 500: won('1000 descriptors'); break"),
]  # fmt: skip
