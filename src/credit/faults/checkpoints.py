"""Whether a checkpoint is whole: sealed when it is, told from a damaged one when it is read. Knows files only."""

from __future__ import annotations

import errno
import json
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from credit.errors import RunError, UserError

SEAL = "credit_complete.json"
"""Written last; a checkpoint without it was interrupted and is never resumed from."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What torch and safetensors, which do their own writing, say of a disk without room.
_FULL_SAID = ("no space left", "disk quota", "file write failed", "unexpected pos")


def step_of(folder: Path) -> int:
    """Return the step of `checkpoint-STEP`."""
    return int(folder.name.rpartition("-")[2])


def seal(folder: Path) -> None:
    """Mark a checkpoint as whole: the seal holds size and CRC-32 of every other file."""
    files = {name: [path.stat().st_size, _crc(path)] for name, path in _files(folder).items()}
    partial = folder / f"{SEAL}.partial"
    partial.write_text(json.dumps({"step": step_of(folder), "files": files}))
    partial.replace(folder / SEAL)


def sealed(folder: Path) -> bool:
    """Say whether writing it came to its end; what became of the files later is `flaw`'s to say."""
    return (folder / SEAL).exists()


def flaw(folder: Path) -> str | None:
    """Say what is wrong with a checkpoint; None when every file is as it was when it was sealed."""
    if not sealed(folder):
        return "it was interrupted while it was written"
    try:
        files = json.loads((folder / SEAL).read_text())["files"]
    except (ValueError, KeyError):
        return f"{SEAL} cannot be read"
    there = _files(folder)
    for name, (size, crc) in files.items():
        if name not in there:
            return f"{name} is missing"
        if (found := there[name].stat().st_size) != size:
            return f"{name} has {found} bytes instead of {size}"
        if _crc(there[name]) != crc:
            return f"{name} was changed after it was written"
    return None


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Leave no half-written checkpoint behind when writing fails, and explain a full disk (`RunError`)."""
    try:
        with explained_if_full(folder):
            yield
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)  # also makes room for what is still to be said
        raise


@contextmanager
def explained_if_full(place: Path) -> Iterator[None]:
    """Explain a full disk, and nothing else.

    Raises:
        RunError: there was no room to write `place` or something in it.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not _is_full(error):
            raise
        raise RunError(
            f"the disk was full while {place} was written. Complete checkpoints are untouched, a half-written one is "
            "removed. Free some space (save_total_limit says how many checkpoints are kept), and go on with --resume."
        ) from error


def _is_full(error: BaseException) -> bool:
    said = str(error).lower()
    return (isinstance(error, OSError) and error.errno in _FULL) or any(text in said for text in _FULL_SAID)


def _files(folder: Path) -> dict[str, Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(SEAL))
    return {path.relative_to(folder).as_posix(): path for path in found}


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            crc = zlib.crc32(part, crc)
    return crc
