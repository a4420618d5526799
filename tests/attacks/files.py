"""Files: write, create, remove, rename, relabel."""

from attacks import Attack, simple

ATTACKS = [
    *simple("file", {
        "overwrite": "open('@CANARY@', 'w').write('x')",
        "append": "open('@CANARY@', 'a').write('x')",
        "update": "open('@CANARY@', 'r+').write('x')",
        "truncate": "os.truncate('@CANARY@', 0)",
        "remove": "os.unlink('@CANARY@')",
        "rename": "os.rename('@CANARY@', '@CANARY@.x')",
        "permissions": "os.chmod('@CANARY@', 0o777)",
        "owner": "os.chown('@CANARY@', os.getuid(), os.getgid())",
        "times": "os.utime('@CANARY@', (0, 0))",
        "attributes": "os.setxattr('@CANARY@', 'user.x', b'x')",
        "link": "os.link('@CANARY@', '@WORLD@/made')",
        "symbolic link": "os.symlink('@SECRET@', '@WORLD@/made')",
        "fifo": "os.mkfifo('@WORLD@/made')",
        "device": "os.mknod('@WORLD@/made')",
        "folder": "os.mkdir('@WORLD@/made')",
        "create": "open('@WORLD@/made', 'w')",
        "create in /tmp": "open('/tmp/made-by-attack', 'w')",
        "create in /dev/shm": "open('/dev/shm/made-by-attack', 'w')",
        "temporary": "__import__('tempfile').TemporaryFile()",
        "unnamed": "os.open('/tmp', os.O_TMPFILE | os.O_RDWR)",
        "shared memory": "__import__('multiprocessing.shared_memory').shared_memory.SharedMemory(create=True, size=10)",
        "anonymous": "os.memfd_create('x')",
        "change folder": "os.chdir('@WORLD@')",
        "change root": "os.chroot('@WORLD@')",
        "library": "open(os.__file__ + '.made', 'w')",
        "out of memory score": "open('/proc/self/oom_score_adj', 'w').write('-1000')",
        "lock": "__import__('fcntl').flock(os.open(os.__file__, os.O_RDONLY), 2)",
        "terminal": "open('/dev/tty', 'w').write('x')",
    }),
    Attack("file: raw opens for writing", """
for flags in (1, 2, 0o100, 0o1000, 0o2001, 0o20200002, (1 << 40) | 1, 3):
    for number, args in ((2, (b'@CANARY@', flags, 0o666)), (257, (-100, b'@CANARY@', flags, 0o666))):
        if raw(number, *args) >= 0: won((number, flags))
if raw(85, b'@WORLD@/made', 0o666) >= 0: won('creat')
"""),
    Attack("file: writable view of a readable file", """
import mmap
fd = os.open(os.__file__, os.O_RDONLY)
tries('map', lambda: mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))
tries('reopen', lambda: os.open(f'/proc/self/fd/{fd}', os.O_RDWR))
"""),
]  # fmt: skip
