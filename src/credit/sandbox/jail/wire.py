"""Messages between the pool and a zygote: one JSON object each, with descriptors. Nothing is ever unpickled.

Programs, inputs and outputs travel in anonymous files that a zygote passes on and never reads: what it does not hold
in its memory, no later program can find there.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

FILES = ("stdin", "stdout", "stderr", "report", "job")
"""The anonymous files of a program, in the order of its descriptors 0 to 4."""

_LARGEST = 1 << 16


def pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection that keeps messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(link: socket.socket, content: dict[str, Any], files: Sequence[int] = ()) -> None:
    """Send an object and some descriptors."""
    socket.send_fds(link, [json.dumps(content).encode()], files)


def receive(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive what `send` sent; raise EOFError when the other side is gone."""
    data, files, _, _ = socket.recv_fds(link, _LARGEST, len(FILES))
    if not data:
        raise EOFError("the other side closed the connection")
    return json.loads(data), files


@contextmanager
def new_files(contents: dict[str, bytes]) -> Iterator[list[int]]:
    """Open new anonymous files, in the order of `FILES`, with these contents."""
    files: list[int] = []
    try:
        for name in FILES:
            files.append(os.memfd_create(name))
            write(files[-1], contents.get(name, b""))
            os.lseek(files[-1], 0, os.SEEK_SET)
        yield files
    finally:
        for file in files:
            os.close(file)


def write(file: int, data: bytes) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def tail(file: int, limit: int) -> bytes:
    """Return an anonymous file's last bytes, at most `limit`."""
    return read(file, limit, max(0, os.fstat(file).st_size - limit))


def read(file: int, limit: int, size: int = 0) -> bytes:
    """Return an anonymous file's content from offset `size`, at most `limit` bytes."""
    left, parts = min(os.fstat(file).st_size - size, limit), []
    while left > 0 and (part := os.pread(file, left, size)):
        parts.append(part)
        left, size = left - len(part), size + len(part)
    return b"".join(parts)
