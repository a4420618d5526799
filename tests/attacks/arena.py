"""Where attacks are run: a world with something to win, an unprivileged user, namespaces of its own.

`python arena.py FOLDER LEVEL` runs every attack at a level and writes FOLDER/results-LEVEL.json:
`{"refused": why it did not run}` or `{"controls": {name: traces}, "attacks": {name: [what was won, outcome, ...]}}`.
`confined_command` starts it as it must be started; it refuses to run in any other way.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import secrets
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

NOBODY = 65534
_CPU_S = 0.3


def confined_command(python: str, folder: Path, level: str) -> list[str]:
    """Return the command that runs this file in namespaces of its own; as root it gives up root first thing."""
    users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    own = ["unshare", *users, "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc"]
    return [*own, python, "-s", "-P", str(folder / "attacks" / "arena.py"), str(folder), level]


def enter(folder: Path) -> None:
    """Become harmless: no root, no capabilities, few processes; refuse to go on otherwise."""
    if os.getpid() != 1:
        raise SystemExit("the arena must be the first process of its own process namespace")
    _raise_loopback()
    if Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
    if "CapEff:\t0000000000000000" not in Path("/proc/self/status").read_text():
        raise SystemExit("the arena could not give up its capabilities")
    for kind, value in ((resource.RLIMIT_NPROC, 400), (resource.RLIMIT_FSIZE, 256 << 20), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (value, value))
    libc.prctl(1, 9, 0, 0, 0)  # ends with the test run
    os.chdir(folder)


def _raise_loopback() -> None:
    with socket.socket() as any_socket:
        request = struct.pack("16sh", b"lo", 0x41)  # up, running
        fcntl.ioctl(any_socket, 0x8914, request)


class Arena:
    """A small world with secrets, listeners, a victim, and eyes on all of them."""

    def __init__(self, folder: Path, level: str):
        self.secret, self.answer = f"secret-{secrets.token_hex(8)}", secrets.token_hex(8)
        self.world = folder / f"world-{level}"
        (self.world / "home" / ".ssh").mkdir(parents=True)
        for name in ("secret.txt", "home/.ssh/id_rsa", "secret_module.py"):
            (self.world / name).write_text(f"value = {self.secret!r}\nprint(value)\n")
        self.canary = self.world / "canary.txt"
        self.canary.write_text("untouched")
        (self.world / "link").symlink_to(self.world / "secret.txt")
        os.environ.update(SECRET_TOKEN=self.secret, HOME=str(self.world / "home"))
        os.chdir(self.world)
        self.victim = subprocess.Popen(
            [
                "sleep",
                "1000",
            ],
            env={"SECRET": self.secret},
        )
        self._listen()
        self.before = self._files()

    def _listen(self) -> None:
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(self.tcp.getsockname())
        self.stream, self.datagram, self.abstract = (socket.socket(socket.AF_UNIX, kind) for kind in (1, 2, 2))
        self.abstract_name = f"arena-{secrets.token_hex(4)}"
        self.stream.bind(str(self.world / "stream"))
        self.stream.listen()
        self.datagram.bind(str(self.world / "datagram"))
        self.abstract.bind(f"\0{self.abstract_name}")
        self.listeners = (self.tcp, self.udp, self.stream, self.datagram, self.abstract)
        for listener in self.listeners:
            listener.setblocking(False)

    def places(self) -> dict[str, str]:
        """Return what the @WORDS@ in attacks stand for."""
        return {
            "@SECRET@": str(self.world / "secret.txt"),
            "@WORLD@": str(self.world),
            "@CANARY@": str(self.canary),
            "@PORT@": str(self.tcp.getsockname()[1]),
            "@STREAM@": str(self.world / "stream"),
            "@DATAGRAM@": str(self.world / "datagram"),
            "@ABSTRACT@": self.abstract_name,
            "@VICTIM@": str(self.victim.pid),
        }

    def fill(self, code: str) -> str:
        """Put the places into an attack's text."""
        for word, place in self.places().items():
            code = code.replace(word, place)
        return code

    def _files(self) -> dict[str, tuple[int, int, int]]:
        found = [
            *self.world.rglob("*"),
            *Path("/tmp").glob("made-*"),
            *Path("/tmp").glob("left"),
            Path("/tmp/credit-sandbox-probe"),
        ]
        found += [*Path("/dev/shm").glob("*made*"), *Path("/dev/shm").glob("*left*"), *Path("/var/tmp").glob("left")]
        stats = {str(path): path.lstat() for path in found if path.exists()}
        return {name: (stat.st_size, stat.st_mtime_ns, stat.st_mode) for name, stat in stats.items()}

    def traces(self, result: Any) -> list[str]:
        """Return every sign that an attack got something; forget them for the next."""
        shown = f"{result.stdout}{result.stderr}{result.value}"
        won = [line for line in result.stdout.splitlines() if line.startswith("PWNED")][:3]
        won += [name for name, text in (("secret", self.secret), ("answer", self.answer)) if text in shown]
        if self._files() != self.before:
            won.append("files changed")
        for listener in self.listeners:
            with suppress(OSError):
                listener.accept() if listener in (self.tcp, self.stream) else listener.recv(100)
                won.append("connection")
        if self.victim.poll() is not None or Path(f"/proc/{self.victim.pid}/stat").read_text().split()[2] == "T":
            won.append("victim")
        return won

    def processes(self) -> int:
        """Count what lives in this namespace; the zombies of orphans are reaped first."""
        return sum(name.isdigit() for name in os.listdir("/proc"))


# Tame acts, run without protection: if they leave no trace, then neither would an attack. Never put a hostile one here.
CONTROLS = {
    "PWNED": "print('PWNED')",
    "secret": "print(open('@SECRET@').read())",
    "files changed": "open('@WORLD@/control', 'w').close()",
    "connection": "import socket; socket.socket(1, 2).sendto(b'hello', '@DATAGRAM@')",
}


def run(folder: Path, level: str) -> dict[str, Any]:
    """Run every attack, and after each an honest program."""
    from attacks import PRELUDE, every_attack
    from credit.sandbox import Sandbox, Unavailable

    arena = Arena(folder, level)
    controls: dict[str, list[str]] = {}
    with Sandbox("process", workers=1) as unprotected:
        for name, code in CONTROLS.items():
            controls[name] = arena.traces(unprotected.run(arena.fill(code)))
            (arena.world / "control").unlink(missing_ok=True)
            arena.before = arena._files()
    try:
        sandbox = Sandbox(level, workers=1)
    except Unavailable as error:
        return {"refused": str(error)}
    results = {}
    with sandbox:
        quiet = arena.processes()
        for attack in every_attack():
            if attack.after is not None:
                sandbox.run(arena.fill(PRELUDE + attack.after), attack.stdin)
            began = time.monotonic()
            result = sandbox.run(arena.fill(PRELUDE + attack.code), attack.stdin, attack.call, _CPU_S, 256)
            took = time.monotonic() - began
            won = arena.traces(result)
            if result.outcome not in attack.outcomes:
                won.append(f"outcome {result.outcome}")
            if result.value == arena.answer:
                won.append("forged")
            if took > 40:  # a busy machine may take long; for ever is what must not be
                won.append(f"took {took:.0f} s")
            if arena.processes() > quiet:
                won.append("process left behind")
            honest = sandbox.run("print(int(input()) + 1)", "41")
            if (honest.outcome, honest.stdout) != ("ok", "42\n"):
                won.append(f"harmed the next program: {honest}")
            results[attack.name] = [won, result.outcome, result.stdout[-500:], result.stderr[-500:], took]
    arena.victim.kill()
    arena.victim.wait()
    return {"controls": controls, "attacks": results}


def main() -> None:
    folder, level = Path(sys.argv[1]), sys.argv[2]
    enter(folder)
    print("entered", flush=True)
    sys.path[:0] = [str(folder / "src"), str(folder)]
    results = run(folder, level)
    (folder / f"results-{level}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
