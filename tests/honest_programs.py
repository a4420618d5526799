"""Programs that deserve their points: name -> (program, standard input, expected output)."""

BIG = "\n".join(str(i) for i in range(450_000)) + "\n"  # 3 MB

PROGRAMS: dict[str, tuple[str, str, str]] = {
    "input": ("print(int(input()) + int(input()))", "1\n2\n", "3\n"),
    "input until the end": ("""
import sys
print(sum(int(line) for line in sys.stdin))
""", "1\n2\n3", "6\n"),
    "input loop": ("""
n = 0
try:
    while True:
        n += int(input())
except EOFError:
    print(n)
""", "1\n2\n3\n", "6\n"),
    "open(0)": ("print(open(0).read().split())", "a b\n", "['a', 'b']\n"),
    "open(0) after input": ("""
a = input(); print(a)
import sys; print(sys.stdin.read())
""", "a\nb", "a\nb\n"),
    "buffer.readline twice": ("import sys; r = sys.stdin.buffer.readline; print(int(r()) + int(r()))", "1\n2\n", "3\n"),
    "os.read": ("import os; print(os.read(0, 100).decode().upper(), end='')", "abc\n", "ABC\n"),
    "exit()": ("print(1); exit(); print(2)", "", "1\n"),
    "quit()": ("print(1); quit(0); print(2)", "", "1\n"),
    "sys.exit(0)": ("import sys; print(1); sys.exit(0); print(2)", "", "1\n"),
    "os._exit(0)": ("import os; print(1, flush=True); os._exit(0)", "", "1\n"),
    "main guard": ("""
def main(): print(__name__)
if __name__ == '__main__': main()
""", "", "__main__\n"),
    "threads": ("""
import threading
x = []
t = [threading.Thread(target=x.append, args=(i,)) for i in range(8)]
for a in t: a.start()
for a in t: a.join()
print(sorted(x))
""", "", "[0, 1, 2, 3, 4, 5, 6, 7]\n"),
    "thread outlives main": ("""
import threading, time
threading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()
print('main')
""", "", "main\nlate\n"),
    "thread pool": ("""
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as p:
    print(list(p.map(abs, [-1, -2])))
""", "", "[1, 2]\n"),
    "deep recursion": ("""
import sys
sys.setrecursionlimit(10**6)
def f(n): return 0 if n == 0 else 1 + f(n - 1)
print(f(50000))
""", "", "50000\n"),
    "deep recursion in a thread": ("""
import sys, threading
sys.setrecursionlimit(10**6)
threading.stack_size(1 << 27)
def f(n): return 0 if n == 0 else 1 + f(n - 1)
t = threading.Thread(target=lambda: print(f(50000)))
t.start(); t.join()
""", "", "50000\n"),
    "stack limit by habit": ("""
import resource
resource.setrlimit(resource.RLIMIT_STACK, (1 << 28, 1 << 28))
print('on')
""", "", "on\n"),
    "big input": ("""
import sys
print(len(sys.stdin.read()))
""", BIG, f"{len(BIG)}\n"),
    "big output": ("print('\\n'.join(map(str, range(450000))))", "", BIG),
    "echo": ("""
import sys
for line in sys.stdin: sys.stdout.write(line)
""", BIG, BIG),
    "asyncio": ("""
import asyncio
async def f():
    await asyncio.sleep(0.01); print('slept')
asyncio.run(f())
""", "", "slept\n"),
    "asyncio in threads": ("""
import asyncio
async def f(): print(await asyncio.to_thread(sum, [1, 2]))
asyncio.run(f())
""", "", "3\n"),
    "usual imports": ("""
import collections, heapq, itertools, functools, math, bisect, string, re, random, copy, operator, fractions
import decimal, statistics, datetime, json, typing, dataclasses, enum, time, array, cmath, hashlib, queue
from collections import *
from math import *
from typing import *
print(Counter('aab').most_common(1), gcd(4, 6))
""", "", "[('a', 2)] 2\n"),
    "dataclass": ("""
from dataclasses import dataclass
from typing import *
@dataclass
class P:
    x: int
print(P(1))
""", "", "P(x=1)\n"),
    "pickle of an own class": ("""
import pickle
class A: x = 1
print(pickle.loads(pickle.dumps(A())).x)
""", "", "1\n"),
    "standard output replaced": ("""
import io, sys
old, sys.stdout = sys.stdout, io.StringIO()
print('x')
t = sys.stdout.getvalue()
sys.stdout = old
print(t * 2, end='')
""", "", "x\nx\n"),
    "writes at exit": ("import atexit; atexit.register(print, 'end'); print('start')", "", "start\nend\n"),
    "no newline": ("import sys; sys.stdout.write('x')", "", "x"),
    "unicode": ("print(input()[::-1], '\\u20ac')", "äß\n", "ßä €\n"),
    "memory": ("x = bytearray(300 << 20); print(len(x))", "", f"{300 << 20}\n"),
    "random is repeatable": ("import random; print(random.random())", "", "0.8444218515250481\n"),
    "alarm": ("""
import signal, time
def f(*_): raise TimeoutError
signal.signal(signal.SIGALRM, f); signal.setitimer(0, 0.02)
try: time.sleep(1)
except TimeoutError: print('rang')
""", "", "rang\n"),
    "fast input by mapping": ("""
import mmap
print(mmap.mmap(0, 0, access=mmap.ACCESS_READ).readline())
""", "1\n", "b'1\\n'\n"),
    "fast input template": ("""
import sys, os
from io import BytesIO, IOBase
class FastIO(IOBase):
    newlines = 0
    def __init__(self, file):
        self._fd, self.buffer = file.fileno(), BytesIO()
        self.writable = "x" in file.mode or "r" not in file.mode
    def read(self): return os.read(self._fd, 1 << 16)
    def write(self, data): os.write(self._fd, data)
fast, out = FastIO(sys.stdin), FastIO(sys.stdout)
out.write(fast.read().upper())
print(sys.stdin.name, sys.stdout.name, sys.stderr.mode, fast.writable, out.writable)
""", "ab\n", "AB\n<stdin> <stdout> w False True\n"),
    "byte order mark": ("\ufeffprint(1)", "", "1\n"),
    "handles MemoryError": ("""
try: x = bytearray(1 << 40)
except MemoryError: print('too much')
""", "", "too much\n"),
    "spooled file": ("import tempfile; f = tempfile.SpooledTemporaryFile(1 << 20); print(f.write(b'abc'))", "", "3\n"),
    "own name": ("print(__name__, __file__)", "", "__main__ solution.py\n"),
    "exec and eval": ("exec('a = 1'); print(eval('a + 1'), globals()['a'])", "", "2 1\n"),
    "doctest of itself": ("""
import unittest
class T(unittest.TestCase):
    def test(self): self.assertEqual(1, 1)
r = unittest.main(exit=False, argv=['x']).result
print(r.wasSuccessful())
""", "", "True\n"),
}  # fmt: skip

NUMPY: dict[str, tuple[str, str, str]] = {
    "numpy": ("import numpy as np; print(int(np.arange(10).sum()))", "", "45\n"),
    "numpy is repeatable": ("import numpy as np; print(np.random.rand())", "", "0.5488135039273248\n"),
    "numpy algebra": ("""
import numpy as np
a = np.random.rand(200, 200)
print(np.allclose(a @ np.linalg.inv(a), np.eye(200)))
""", "", "True\n"),
}  # fmt: skip

READS_FILES: dict[str, tuple[str, str, str]] = {
    "late import": ("import sqlite3, colorsys; print(colorsys.rgb_to_hsv(0, 0, 0))", "", "(0.0, 0.0, 0)\n"),
    "reads its input by name": ("print(open('/dev/stdin').read(), end='')", "x\n", "x\n"),
    "time zone": ("import zoneinfo; print(zoneinfo.ZoneInfo('Europe/Paris'))", "", "Europe/Paris\n"),
}  # fmt: skip
"""Programs that must open files: impossible without Landlock, see docs/sandbox.md."""
