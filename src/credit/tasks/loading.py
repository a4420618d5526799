"""Reading rows from files and the hub, and what every row must have. Bad rows are named by file, row and field."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from credit.contrast import prompt_key
from credit.tasks.base import Row

T = TypeVar("T")
HOLDOUT = 0.1
"""Share of prompts held out for the test when no evaluation file is given (ours)."""


class Reader:
    """Reads and checks rows. A bad one is an error; with `skip_bad_rows` it is left out and listed in `bad_rows`.

    What concerns a whole file (it is missing, the hub cannot be reached, no row is good) is always an error.
    """

    def __init__(self, skip_bad_rows: bool = False):
        self.skip = skip_bad_rows
        self.bad_rows: list[str] = []

    def load(self, source: str, split: str, check: Callable[[dict[str, Any], str], T]) -> list[T]:
        """Return what `check(row, where)` makes of every row of a .jsonl, .json or .parquet file, or a hub data set.

        Args:
            source: path of the file, or a hub id.
            split: asked of the hub; a file is read whole.
            check: raises ValueError with `where`, the field, the reason and the fix.
        """
        return self.check(((f"{source}, row {number}", raw) for number, raw in _read(source, split)), source, check)

    def check(self, rows: Iterable[tuple[str, Any]], source: str, check: Callable[[dict[str, Any], str], T]) -> list[T]:
        """Do the same for rows at hand, each with where it stands; text in bytes is decoded first."""
        good, bad = [], []
        for where, raw in rows:
            try:
                good.append(check(_object(raw, where), where))
            except ValueError as error:
                if not self.skip:
                    raise
                bad.append(str(error))
        self.bad_rows += bad
        if not good:
            raise ValueError(f"{source} holds no rows{f' that are good; the first: {bad[0]}' if bad else '.'}")
        return good


def files_of(path: str, name: str = "") -> tuple[str, str | None]:
    """Return the train and test file of a folder; a file stands for itself, without one for the test.

    In a folder, `<anything>-NAME-train.jsonl` and `NAME-test.jsonl` are found, and `train.jsonl` and `test.jsonl`.
    """
    folder = Path(path)
    if not folder.is_dir():
        if not folder.exists():
            raise ValueError(f"path={path!r} does not exist. Name a file, or a folder with train and test files.")
        return path, None
    found = []
    for split in ("train", "test"):
        pattern = re.compile(rf"((.*[-_])?{re.escape(name)}[-_])?{split}\.(jsonl|json|parquet)")
        files = sorted(str(file) for file in folder.iterdir() if pattern.fullmatch(file.name))
        if len(files) != 1:
            wanted = f"{name}-{split}.jsonl" if name else f"{split}.jsonl"
            raise ValueError(
                f"folder {path} holds {len(files)} files like {wanted}, expected one. Name the file itself."
            )
        found += files
    return found[0], found[1]


def _read(source: str, split: str) -> Iterator[tuple[int, Any]]:
    path = Path(source)
    if path.is_dir():
        raise ValueError(f"{source} is a folder. Name a .jsonl, .json or .parquet file in it.")
    if not path.exists():
        yield from enumerate(_hub_rows(source, split), start=1)
    elif path.suffix == ".parquet":
        import pyarrow.parquet as pq

        yield from enumerate(pq.read_table(path).to_pylist(), start=1)
    else:
        with path.open("rb") as lines:
            yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _object(raw: Any, where: str) -> dict[str, Any]:
    if isinstance(raw, bytes):
        raw = _parsed(raw, where)
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: is a {type(raw).__name__}; write one JSON object per line.")
    return raw


def _parsed(line: bytes, where: str) -> Any:
    try:
        found = parsed(line.decode("utf-8-sig"))
        if b"\\ud" in line.lower():  # half of a character, which JSON can hold and text cannot
            json.dumps(found, ensure_ascii=False).encode("utf-8")
        return found
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8 text (byte {error.start}). Save the file as UTF-8.") from None
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON ({error}). Write one object per line.") from None


def parsed(text: str) -> Any:
    """Parse JSON; every way it can fail, too deep or a number too long included, is a ValueError in one line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_json(value: Any, depth: int = 100) -> bool:
    """Whether a value is plain JSON, without NaN or infinity, at most `depth` deep."""
    if isinstance(value, list | dict):
        items = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(is_json(item, depth - 1) for item in items)
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _hub_rows(source: str, split: str) -> Iterator[Any]:
    if source.startswith((".", "/", "~")) or source.endswith((".jsonl", ".json", ".parquet")):
        raise ValueError(f"data set file {source} does not exist. Check --dataset.")
    import datasets

    try:
        yield from datasets.load_dataset(source, split=split)
    except Exception as error:  # the hub client raises many kinds; all mean "not to be had"
        raise ValueError(
            f"data set {source!r} is neither a file nor loadable from the hub ({type(error).__name__}: {error})."
        ) from error


def require(raw: dict[str, Any], where: str, *names: str) -> None:
    """Raise unless the row has these fields."""
    for name in names:
        if name not in raw:
            raise ValueError(f"{where}: field '{name}' is missing (found: {', '.join(sorted(raw)) or 'nothing'}).")


def conversation(raw: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Return the row's prompt as messages, its `system` text in front."""
    prompt = raw["prompt"]
    if isinstance(prompt, str) and not prompt.strip():
        raise ValueError(f"{where}: field 'prompt' is empty. Fill it or remove the row.")
    if not is_prompt(prompt):
        raise ValueError(
            f"{where}: field 'prompt' must be text, or a list of messages with 'role' and 'content', with a user turn."
        )
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    system = raw.get("system")
    if isinstance(system, str) and system.strip():
        prompt = [{"role": "system", "content": system}, *prompt]
    return prompt


def splits(rows: list[Row], test_rows: list[Row] | None) -> dict[str, list[Row]]:
    """Return train and test rows; without test rows a tenth of the prompts, by content hash, is held out."""
    if test_rows is not None:
        return {"train": rows, "test": test_rows}
    held = _held_out(rows)
    return {
        "train": [r for r in rows if prompt_key(r["prompt"]) not in held],
        "test": [r for r in rows if prompt_key(r["prompt"]) in held],
    }


def split_of(rows: dict[str, list[Row]], split: str, limit: int | None) -> list[Row]:
    """Return the first `limit` rows of a split, or raise with the names there are."""
    if split not in rows:
        raise ValueError(f"split={split!r} is unknown here. Use one of {', '.join(rows)}.")
    return rows[split][:limit]


def _held_out(rows: list[Row]) -> set[str]:
    keys = sorted({prompt_key(r["prompt"]) for r in rows}, key=lambda k: hashlib.sha256(k.encode()).hexdigest())
    if len(keys) < 2:
        raise ValueError("at least 2 different prompts are needed to hold one out for the test. Add rows.")
    return set(keys[: max(1, round(HOLDOUT * len(keys)))])


def is_prompt(prompt: Any) -> bool:
    """Return whether this is text, or a list of messages with a user turn."""
    if isinstance(prompt, str):
        return bool(prompt.strip())
    return (
        isinstance(prompt, list)
        and all(isinstance(m, dict) and all(isinstance(m.get(k), str) for k in ("role", "content")) for m in prompt)
        and any(m["role"] == "user" and m["content"].strip() for m in prompt)
    )
