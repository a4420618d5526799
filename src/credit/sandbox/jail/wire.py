"""Messages between the pool and a zygote: a JSON header, then byte strings. Nothing is ever unpickled."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!I")


def send(link: socket.socket, header: dict[str, Any], *blobs: bytes) -> None:
    """Send a header and some bytes."""
    head = json.dumps({**header, "sizes": [len(blob) for blob in blobs]}).encode()
    link.sendall(b"".join((_LENGTH.pack(len(head)), head, *blobs)))


def receive(link: socket.socket) -> tuple[dict[str, Any], list[bytes]]:
    """Receive what `send` sent; raise EOFError when the other side is gone."""
    (length,) = _LENGTH.unpack(_exactly(link, _LENGTH.size))
    header = json.loads(_exactly(link, length))
    return header, [_exactly(link, size) for size in header.pop("sizes")]


def _exactly(link: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        received = link.recv_into(view[got:])
        if not received:
            raise EOFError("the other side closed the connection")
        got += received
    return bytes(data)
