"""Programs that deserve their points pass at every level that is available here."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from credit.sandbox import LEVELS, Sandbox, Unavailable

BIG = "\n".join(str(i) for i in range(450_000)) + "\n"  # 3 MB

PROGRAMS: dict[str, tuple[str, str, str]] = {
    "input": ("print(int(input()) + int(input()))", "1\n2\n", "3\n"),
    "input until the end": ("import sys\nprint(sum(int(line) for line in sys.stdin))", "1\n2\n3", "6\n"),
    "input loop": (
        "n = 0\ntry:\n    while True:\n        n += int(input())\nexcept EOFError:\n    print(n)", "1\n2\n3\n", "6\n",
    ),
    "open(0)": ("print(open(0).read().split())", "a b\n", "['a', 'b']\n"),
    "open(0) after input": ("a = input(); print(a)\nimport sys; print(sys.stdin.read())", "a\nb", "a\nb\n"),
    "buffer.readline twice": (
        "import sys; r = sys.stdin.buffer.readline; print(int(r()) + int(r()))", "1\n2\n", "3\n",
    ),
    "os.read": ("import os; print(os.read(0, 100).decode().upper(), end='')", "abc\n", "ABC\n"),
    "exit()": ("print(1); exit(); print(2)", "", "1\n"),
    "quit()": ("print(1); quit(0); print(2)", "", "1\n"),
    "sys.exit(0)": ("import sys; print(1); sys.exit(0); print(2)", "", "1\n"),
    "os._exit(0)": ("import os; print(1, flush=True); os._exit(0)", "", "1\n"),
    "main guard": ("def main(): print(__name__)\nif __name__ == '__main__': main()", "", "__main__\n"),
    "threads": (
        "import threading\nx = []\nt = [threading.Thread(target=x.append, args=(i,)) for i in range(8)]\n"
        "for a in t: a.start()\nfor a in t: a.join()\nprint(sorted(x))", "", "[0, 1, 2, 3, 4, 5, 6, 7]\n",
    ),
    "thread outlives main": (
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()\nprint('main')",
        "", "main\nlate\n",
    ),
    "thread pool": (
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as p:\n"
        "    print(list(p.map(abs, [-1, -2])))", "", "[1, 2]\n",
    ),
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(50000))", "", "50000\n",
    ),
    "deep recursion in a thread": (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 27)\n"
        "def f(n): return 0 if n == 0 else 1 + max(map(f, [n - 1]))\n"
        "t = threading.Thread(target=lambda: print(f(20000)))\nt.start(); t.join()", "", "20000\n",
    ),
    "stack limit by habit": (
        "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 28, 1 << 28))\nprint('on')", "", "on\n",
    ),
    "big input": ("import sys\nprint(len(sys.stdin.read()))", BIG, f"{len(BIG)}\n"),
    "big output": ("print('\\n'.join(map(str, range(450000))))", "", BIG),
    "echo": ("import sys\nfor line in sys.stdin: sys.stdout.write(line)", BIG, BIG),
    "asyncio": ("import asyncio\nasync def f():\n    await asyncio.sleep(0.01); print('slept')\nasyncio.run(f())", "", "slept\n"),
    "asyncio in threads": (
        "import asyncio\nasync def f(): print(await asyncio.to_thread(sum, [1, 2]))\nasyncio.run(f())", "", "3\n",
    ),
    "usual imports": (
        "import collections, heapq, itertools, functools, math, bisect, string, re, random, copy, operator, fractions,"
        " decimal, statistics, datetime, json, typing, dataclasses, enum, time, array, cmath, hashlib, queue\n"
        "from collections import *\nfrom math import *\nfrom typing import *\nprint(Counter('aab').most_common(1), gcd(4, 6))",
        "", "[('a', 2)] 2\n",
    ),
    "dataclass": (
        "from dataclasses import dataclass\nfrom typing import *\n@dataclass\nclass P:\n    x: int\nprint(P(1))", "", "P(x=1)\n",
    ),
    "pickle of an own class": ("import pickle\nclass A: x = 1\nprint(pickle.loads(pickle.dumps(A())).x)", "", "1\n"),
    "standard output replaced": (
        "import io, sys\nold, sys.stdout = sys.stdout, io.StringIO()\nprint('x')\nt = sys.stdout.getvalue()\n"
        "sys.stdout = old\nprint(t * 2, end='')", "", "x\nx\n",
    ),
    "writes at exit": ("import atexit; atexit.register(print, 'end'); print('start')", "", "start\nend\n"),
    "no newline": ("import sys; sys.stdout.write('x')", "", "x"),
    "unicode": ("print(input()[::-1], '\\u20ac')", "äß\n", "ßä €\n"),
    "memory": ("x = bytearray(300 << 20); print(len(x))", "", f"{300 << 20}\n"),
    "random is repeatable": ("import random; print(random.random())", "", "0.8444218515250481\n"),
    "alarm": (
        "import signal, time\ndef f(*_): raise TimeoutError\nsignal.signal(signal.SIGALRM, f); signal.setitimer(0, 0.02)\n"
        "try: time.sleep(1)\nexcept TimeoutError: print('rang')", "", "rang\n",
    ),
    "fast input by mapping": ("import mmap; print(mmap.mmap(0, 0, access=mmap.ACCESS_READ).readline())", "1\n", "b'1\\n'\n"),
    "handles MemoryError": (
        "try: x = bytearray(1 << 40)\nexcept MemoryError: print('too much')", "", "too much\n",
    ),
    "exec and eval": ("exec('a = 1'); print(eval('a + 1'), globals()['a'])", "", "2 1\n"),
    "doctest of itself": (
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(1, 1)\n"
        "r = unittest.main(exit=False, argv=['x']).result\nprint(r.wasSuccessful())", "", "True\n",
    ),
}  # fmt: skip
NUMPY = {
    "numpy": ("import numpy as np; print(int(np.arange(10).sum()))", "", "45\n"),
    "numpy algebra": (
        "import numpy as np\na = np.random.rand(200, 200)\nprint(np.allclose(a @ np.linalg.inv(a), np.eye(200)))", "", "True\n",
    ),
}  # fmt: skip
if importlib.util.find_spec("numpy"):
    PROGRAMS |= NUMPY

READS_FILES = {
    "late import": ("import sqlite3, colorsys; print(colorsys.rgb_to_hsv(0, 0, 0))", "", "(0.0, 0.0, 0)\n"),
    "reads its input by name": ("print(open('/dev/stdin').read(), end='')", "x\n", "x\n"),
    "time zone": ("import zoneinfo; print(zoneinfo.ZoneInfo('Europe/Paris'))", "", "Europe/Paris\n"),
}  # fmt: skip
"""Programs that must open files: impossible without Landlock, see docs/sandbox.md."""


@pytest.fixture(scope="module", params=LEVELS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    try:
        opened = Sandbox(request.param, workers=1)
    except Unavailable as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.mark.parametrize("name", [*PROGRAMS, *READS_FILES])
def test_honest_program_passes(sandbox: Sandbox, name: str) -> None:
    if name in READS_FILES and sandbox.level == "locked_no_landlock":
        pytest.skip("documented: this level opens no files")
    code, stdin, expected = (PROGRAMS | READS_FILES)[name]
    result = sandbox.run(code, stdin, cpu_s=4.0)
    assert result.outcome == "ok", result
    assert result.stdout == expected
    assert result.level == sandbox.level


@pytest.mark.parametrize(
    ("code", "call", "value"),
    [
        ("def f(x): return x + 1", ("f", [1]), 2),
        ("class Solution:\n    def f(self, xs, k): return sorted(xs)[:k]", ("Solution.f", [[3, 1, 2], 2]), [1, 2]),
        ("class Solution:\n    def f(self): return (1, 'ä', None, {'a': [True]})", ("Solution.f", []), [1, "ä", None, {"a": [True]}]),
        ("class A:\n    @staticmethod\n    def f(): return 1.5", ("A.f", []), 1.5),
        ("f = lambda s: s[::-1]", ("f", ["a\ud800"]), "\ud800a"),
        ("def f(n): return list(range(n))", ("f", [300_000]), list(range(300_000))),
        ("def f(xs): return len(xs)\nif __name__ == '__main__': input()", ("f", [[0] * 300_000]), 300_000),
        ("def f(): print('said'); return 3", ("f", []), 3),
    ],
)  # fmt: skip
def test_calls_return_values(sandbox: Sandbox, code: str, call: tuple[str, list], value: object) -> None:
    result = sandbox.run(code, call=call)
    assert result.outcome == "ok", result
    assert result.value == value
