"""Sockets: the arena listens on every kind."""

from attacks import Attack, simple

ATTACKS = [
    *simple("network", {
        "tcp": "__import__('socket').create_connection(('127.0.0.1', @PORT@), 1)",
        "tcp6": "__import__('socket').socket(10, 1).connect(('::1', @PORT@))",
        "udp": "__import__('socket').socket(2, 2).sendto(b'hello', ('127.0.0.1', @PORT@))",
        "http": "__import__('urllib.request').request.urlopen('http://127.0.0.1:@PORT@', timeout=1)",
        "local stream": "__import__('socket').socket(1, 1).connect('@STREAM@')",
        "local datagram": "__import__('socket').socket(1, 2).sendto(b'hello', '@DATAGRAM@')",
        "abstract": "__import__('socket').socket(1, 2).sendto(b'hello', '\\0@ABSTRACT@')",
        "raw": "__import__('socket').socket(2, 3, 1)",
        "netlink": "__import__('socket').socket(16, 3, 0)",
        "packet": "__import__('socket').socket(17, 3, 0)",
        "vsock": "__import__('socket').socket(40, 1, 0)",
        "listen": "__import__('socket').create_server(('127.0.0.1', 0))",
        "names": "__import__('socket').getaddrinfo('example.com', 80)",
        "pair of datagrams": "__import__('socket').socketpair(1, 2)",
        "pair of internet": "__import__('socket').socketpair(2, 1)",
        "connect a pair": "__import__('socket').socketpair()[0].connect('@STREAM@')",
        "name a pair": "__import__('socket').socketpair()[0].bind('\\0mine')",
        "address on a pair": "__import__('socket').socketpair()[0].sendto(b'hello', '@DATAGRAM@')",
        "message on a pair": "__import__('socket').socketpair()[0].sendmsg([b'x'], [], 0, '@DATAGRAM@')",
    }),
    Attack("network: asyncio", """
import asyncio
async def main():
    await asyncio.open_connection('127.0.0.1', @PORT@)
tries('asyncio', lambda: asyncio.run(main()))
"""),
    Attack("network: raw calls", """
for number, args in ((41, (2, 1, 0)), (41, (1, 1, 0)), (53, (1, 2, 0, ctypes.addressof((ctypes.c_int * 2)()))),
                     (41, ((1 << 32) + 2, 1, 0)), (49, (0, 0, 0)), (42, (0, 0, 0))):
    if raw(number, *args) >= 0: won(number)
"""),
]  # fmt: skip
