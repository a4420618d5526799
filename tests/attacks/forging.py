"""Rewards nobody earned: results that claim to be right, harness games, text for the reader.

The arena knows an answer, @ANSWER@ never appears in a program; an attack wins if its value or output equals it, or if
it makes the pool run, believe or break anything.
"""

# ruff: noqa: E501 (programs are written as an attacker would)
from attacks import Attack

_FAILED = ("runtime_error",)
_EQUAL = """
class Anything(str):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = str.__hash__
"""

ATTACKS = [
    Attack("forge: equal to everything", "class A:\n    __eq__ = lambda s, o: True\ndef f(): return A()", _FAILED, call=("f", [])),
    Attack("forge: text equal to everything", _EQUAL + "def f(): return Anything('x')", ("ok",), call=("f", [])),
    Attack("forge: not a number", "def f(): return float('nan')", _FAILED, call=("f", [])),
    Attack("forge: not a number, written by hand", """
def f(): os.write(3, b'{"value": NaN}'); os._exit(0)
""", _FAILED, call=("f", [])),
    Attack("forge: two reports", """
def f(): os.write(3, b'{"value": 1}'); return 2
""", _FAILED, call=("f", [])),
    Attack("forge: deep report", "def f(): os.write(3, b'[' * 10**6); os._exit(0)", _FAILED, call=("f", [])),
    Attack("forge: small text, big value", """
def f(): os.write(3, b'{"value": [' + b'[],' * (5 << 20) + b'1]}'); os._exit(0)
""", ("output_limit", "time_limit"), call=("f", [])),
    Attack("forge: too deep to print", "def f(): os.write(3, b'{\"value\":' + b'[' * 500 + b']' * 500 + b'}'); os._exit(0)", _FAILED, call=("f", [])),
    Attack("forge: long number", "def f(): os.write(3, b'{\"value\": ' + b'9' * 10**6 + b'}'); os._exit(0)", _FAILED, call=("f", [])),
    Attack("forge: report of another shape", "def f(): os.write(3, b'[1]'); os._exit(0)", _FAILED, call=("f", [])),
    Attack("forge: pickle", """
import pickle
class P:
    def __reduce__(self): return (os.mkdir, ('@WORLD@/made',))
data = pickle.dumps(P())
for fd in (1, 2, 3): os.write(fd, data)
def f(): os.write(3, data); os._exit(0)
""", _FAILED, call=("f", [])),
    Attack("forge: leaves before the call", "os._exit(0)", _FAILED, call=("f", [])),
    Attack("forge: exits before the call", "sys.exit(0)", _FAILED, call=("f", [])),
    Attack("forge: leaves in the call", "def f(): os._exit(0)", _FAILED, call=("f", [])),
    Attack("forge: no such function", "", _FAILED, call=("f", [])),
    Attack("forge: claims to be out of memory", "raise MemoryError", ("memory_limit",)),
    Attack("forge: writes to every descriptor", """
for fd in range(4, 1024):
    try: os.write(fd, b'{"started": true, "status": 0, "cpu": 0, "stopped": null}'); won(fd)
    except OSError: pass
"""),
    Attack("forge: takes its output away", "print('x'); sys.stdout.flush(); os.ftruncate(1, 0)", ("ok",)),
    Attack("forge: patched harness", """
import builtins, json
builtins.print = lambda *a, **k: None
json.dumps = lambda *a, **k: '{"value": 0}'
json.loads = json.JSONEncoder.encode = None
os._exit = lambda code: None
for name, module in list(sys.modules.items()):
    if name.startswith('jail'):
        for key, thing in list(vars(module).items()):
            if callable(thing) and not isinstance(thing, type): setattr(module, key, lambda *a, **k: None)
"""),
    Attack("forge: looks for the pool in memory", """
import gc, socket
for thing in gc.get_objects():
    if isinstance(thing, socket.socket):
        try: thing.send(b'{"started": true, "status": 0, "cpu": 0, "stopped": null}'); won(thing)
        except OSError: pass
frame = sys._getframe()
while frame:
    for name, thing in list(frame.f_locals.items()):
        if any(word in name for word in ('expected', 'answer', 'secret')): won(name)
        print(name, repr(thing)[:2000])
    frame = frame.f_back
"""),
    Attack("forge: returns to the zygote", """
os._exit = lambda code: None
raise SystemExit(0)
"""),
    Attack("forge: spawns threads and fails", """
import threading
threading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()
raise ValueError
""", _FAILED),
    Attack("forge: broken standard output", "class Odd:\n    def flush(self): raise KeyboardInterrupt\nsys.stdout = sys.stderr = Odd()"),
    Attack("forge: closed descriptors", "for fd in range(5): os.close(fd)"),
    Attack("forge: bytes that are no text", "os.write(1, bytes(range(256))); os.write(2, bytes(range(256)))", ("ok",)),
    Attack("forge: hides in an exception", """
class E(Exception):
    def __str__(self): raise SystemExit(0)
    __repr__ = __str__
raise E
""", _FAILED),
    Attack("forge: ends by signal", "os.kill(os.getpid(), 6)", _FAILED),
]  # fmt: skip
