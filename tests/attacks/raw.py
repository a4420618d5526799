"""Raw system calls, other call tables, machine code."""

# ruff: noqa: E501 (programs are written as an attacker would)
from attacks import Attack

_ALLOWED = """
0 1 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 28 32 33 34 35 36 37 38 39 44 45 48 51 52 53 55 60 61
62 63 72 74 75 77 78 79 96 97 98 99 100 102 104 107 108 110 111 115 118 120 121 124 127 128 130 131 157 158 160 186 201
202 204 213 217 218 219 228 229 230 231 232 233 234 247 257 262 269 270 271 273 274 281 290 291 292 293 302 309 318 324
332 334 436 439 441 2 56
"""

ATTACKS = [
    Attack("raw: every other call", f"""
allowed = set(map(int, '''{_ALLOWED}'''.split()))
for number in range(512):
    if number in allowed: continue
    ctypes.set_errno(0)
    result = raw(number, 0, 0, 0, 0, 0)
    if ctypes.get_errno() not in (1, 13, 38): won((number, result, ctypes.get_errno()))
"""),
    Attack("raw: x32 numbers", "raw(0x40000000 + 39); won('x32')", ("runtime_error",)),
    Attack("raw: x32 fork", "raw(0x40000000 + 57); won('x32')", ("runtime_error",)),
    Attack("raw: 32-bit gate", """
import mmap
# mov eax, 20 (getpid); int 0x80; ret
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
won(call())
""", ("runtime_error",)),
    Attack("raw: high halves of arguments", """
for number, args in ((56, ((1 << 32) | 17, 0, 0, 0, 0)), (302, (0, 7, 0, 0)), (302, (@VICTIM@, 7, 0, ctypes.addressof((ctypes.c_uint64 * 2)()))),
                     (157, ((1 << 32) + 4, 1, 0, 0, 0)), (44, (0, 0, 0, 0, 1 << 32, 0))):
    if raw(number, *args) > 0: won(number)
if raw(302, @VICTIM@, 7, 0, ctypes.addressof((ctypes.c_uint64 * 2)())) == 0 and errno.EPERM == 0: won('limits')
"""),
    Attack("raw: namespaces", """
for flags in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x7E020000):
    if raw(272, flags) == 0: won(flags)
    if raw(56, flags | 17, 0, 0, 0, 0) >= 0: won(flags)
    if raw(56, flags | 0x3D0F00, 0, 0, 0, 0) > 0: won(flags)
if raw(435, ctypes.addressof((ctypes.c_uint64 * 11)(0x10000000)), 88) >= 0: won('clone3')
"""),
    Attack("raw: terminal", """
import fcntl, termios
for request in (termios.TIOCSTI, termios.TIOCSCTTY, 0x5423, 0x541D, 0x894B):
    try: fcntl.ioctl(1, request, b'x'); won(request)
    except OSError as error:
        if error.errno != errno.EPERM: won((request, error))
"""),
    Attack("raw: keeps no capabilities", """
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
if libc.capget(header, data) == 0 and any(data): won(list(data))
"""),
]  # fmt: skip
