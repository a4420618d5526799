"""What one program leaves for the next in the same zygote."""

# ruff: noqa: E501 (programs are written as an attacker would)
from attacks import Attack

_CHANGE = """
import builtins, json, random, math, resource, threading, signal
builtins.sum = lambda *a: 'changed'
math.sqrt = lambda x: 'changed'
json.left = os.left = sys.left = True
sys.modules['left_behind'] = sys
os.environ['LEFT'] = '1'
sys.path.append('/left')
sys.setrecursionlimit(77777)
random.seed(99)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.umask(0)
import atexit; atexit.register(print, 'left')
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""
_LOOK = """
import json, math, random, signal, threading
if sum([1, 2]) != 3 or math.sqrt(4) != 2: won('patched functions')
if any(hasattr(m, 'left') for m in (json, os, sys)) or 'left_behind' in sys.modules: won('modules')
if 'LEFT' in os.environ or '/left' in sys.path or sys.getrecursionlimit() == 77777: won('settings')
if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN or threading.active_count() != 1: won('signals or threads')
"""
# The first program fills its memory with a word. The second knows it in another spelling, so that finding it twice in a
# row can only mean that it found the first one's.
_WORD = "NPKTQRRCIR"
FILL = f"x = {_WORD!r} * 10000; print(x); print(x, file=sys.stderr); y = input()"
_NEEDLE = f"needle = bytes(c ^ 1 for c in {bytes(c ^ 1 for c in _WORD.encode())!r})\n"

ATTACKS = [
    Attack("left: changed state", _LOOK, ("ok",), after=_CHANGE),
    Attack("left: objects", _NEEDLE + """
import gc
for thing in gc.get_objects():
    for value in list(thing.values()) if isinstance(thing, dict) else list(thing) if isinstance(thing, list | tuple) else []:
        data = value.encode(errors='replace') if isinstance(value, str) else value if isinstance(value, bytes) else b''
        at = data.find(needle)
        if at >= 0 and data[at + len(needle):][:len(needle)] == needle: won('old text in an object')
""", ("ok",), after=FILL, stdin=_WORD * 10000),
    Attack("left: raw memory", _NEEDLE + """
source, sink = os.pipe()
seen = 0
libc.sbrk.restype = ctypes.c_void_p
blocks = [ctypes.addressof(ctypes.create_string_buffer(size)) for size in (100, 10**5, 10**6)]
for base in (id(needle), id(sys), id(object), libc.sbrk(0), *blocks):
    for page in range((base & ~0xFFF) - (12 << 20), (base & ~0xFFF) + (12 << 20), 4096):
        if libc.write(sink, ctypes.c_void_p(page), ctypes.c_size_t(4096)) != 4096: continue
        data = os.read(source, 4096); seen += 1
        at = data.find(needle)
        if at >= 0 and data[at + len(needle):][:len(needle)] == needle: won('old text in memory')
if seen < 1000: raise RuntimeError('saw too little')
""", ("ok",), after=FILL, stdin=_WORD * 10000),
    Attack("left: files and sockets", """
for path in ('/tmp/left', '/dev/shm/left', '/var/tmp/left'):
    if os.path.exists(path): won(path)
if raw(29, 4242, 10, 0) >= 0: won('shared memory')
""", ("ok",), after="""
for path in ('/tmp/left', '/dev/shm/left', '/var/tmp/left'):
    try: open(path, 'w')
    except OSError: pass
raw(29, 4242, 10, 0o1666)
"""),
]  # fmt: skip
