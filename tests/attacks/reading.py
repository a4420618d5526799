"""Secrets: files of the caller, other processes' memory, environments and command lines."""

# ruff: noqa: E501 (programs are written as an attacker would)
from attacks import Attack, simple

ATTACKS = [
    *simple("read", {
        "secret file": "open('@SECRET@').read()",
        "secret file, raw": "os.read(os.open('@SECRET@', os.O_RDONLY), 100)",
        "secret by path handle": "os.open('@SECRET@', os.O_PATH)",
        "world folder": "os.listdir('@WORLD@')",
        "root folder": "os.listdir('/')",
        "home folder": "open('@WORLD@/home/.ssh/id_rsa').read()",
        "/etc/passwd": "open('/etc/passwd').read()",
        "/etc/hostname": "open('/etc/hostname').read()",
        "own environment": "open('/proc/self/environ').read()",
        "parent's environment": "open(f'/proc/{os.getppid()}/environ').read()",
        "parent's memory": "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
        "parent's folder": "os.listdir(f'/proc/{os.getppid()}/cwd/')",
        "parent's files": "os.listdir(f'/proc/{os.getppid()}/fd')",
        "first process": "open('/proc/1/environ').read()",
        "the root of the first process": "open('/proc/1/root@SECRET@').read()",
        "secret by its own root": "open('/proc/self/root@SECRET@').read()",
        "secret by its own folder": "open('/proc/self/cwd/@SECRET@').read()",
        "secret by a way round": "open(os.path.dirname(os.__file__) + '/../../../../../../../..@SECRET@').read()",
        "victim's command line": "open('/proc/@VICTIM@/cmdline').read()",
        "victim's environment": "open('/proc/@VICTIM@/environ').read()",
        "own memory map": "open('/proc/self/maps').read()",
        "kernel log": "open('/dev/kmsg').read()",
        "link target": "os.readlink('@WORLD@/link')",
    }),
    Attack("read: all processes", """
for pid in range(1, 300):
    for name in ('environ', 'cmdline', 'cwd/secret.txt', 'root@SECRET@'):
        try: print(open(f'/proc/{pid}/{name}', 'rb').read())
        except OSError: pass
"""),
    Attack("read: environment variables", "print(os.environ); print(os.environb)"),
    Attack("read: through inherited descriptors", """
for fd in range(3, 1024):
    for path in ('.', '..', 'secret.txt', '../../../../../..@SECRET@'):
        try: won(os.read(os.open(path, os.O_RDONLY, dir_fd=fd), 100))
        except OSError: pass
    try: won(os.read(fd, 100)) if fd > 4 else None
    except OSError: pass
"""),
    Attack("read: by import", """
sys.path.insert(0, '@WORLD@')
import secret_module
"""),
    Attack("read: by other readers", """
import linecache, runpy, tokenize, mmap, pathlib
for read in (linecache.getlines, runpy.run_path, tokenize.open, lambda p: pathlib.Path(p).read_text(), ctypes.CDLL):
    try: print(read('@WORLD@/secret_module.py'))
    except BaseException as error: print(type(error).__name__)
try:
    import sqlite3
    print(sqlite3.connect('file:@SECRET@?mode=ro', uri=True).execute('select 1').fetchall())
except BaseException as error: print(type(error).__name__)
"""),
    Attack("read: raw opens", """
for number, args in ((2, (b'@SECRET@', 0, 0)), (257, (-100, b'@SECRET@', 0, 0)), (257, (-100, b'@SECRET@', 1 << 40, 0)),
                     (2, (b'@SECRET@', 0x10000000000, 0)), (437, (-100, b'@SECRET@', ctypes.addressof((ctypes.c_uint64 * 3)()), 24))):
    fd = raw(number, *args)
    if fd >= 0: won(os.read(fd, 100))
"""),
]  # fmt: skip
