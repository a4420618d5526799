"""Reading rows from files and the hub, and what every row must have. Bad rows are named by file, row and field."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from credit.contrast import prompt_key
from credit.tasks.base import Row

HOLDOUT = 0.1
"""Share of prompts held out for the test when no evaluation file is given (ours)."""


def raw_rows(source: str, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, row) of a .jsonl, .json or .parquet file, or of a hub data set; numbers count from 1."""
    for number, raw in _read(source, split):
        if not isinstance(raw, dict):
            raise ValueError(f"{source}, row {number}: is a {type(raw).__name__}; write one JSON object per line.")
        yield number, raw


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
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _parsed(line, source, number)


def _parsed(line: bytes, source: str, number: int) -> Any:
    try:
        return parsed(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source}, row {number}: not UTF-8 text (byte {error.start}). Save the file as UTF-8."
        ) from None
    except ValueError as error:
        raise ValueError(f"{source}, row {number}: not valid JSON ({error}). Write one object per line.") from None


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
    if isinstance(prompt, str):
        if not prompt.strip():
            raise ValueError(f"{where}: field 'prompt' is empty. Fill it or remove the row.")
        prompt = [{"role": "user", "content": prompt}]
    elif not _is_conversation(prompt):
        raise ValueError(
            f"{where}: field 'prompt' must be text, or a list of messages with 'role' and 'content', with a user turn."
        )
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


def _is_conversation(prompt: Any) -> bool:
    return (
        isinstance(prompt, list)
        and all(isinstance(m, dict) and isinstance(m.get("content"), str) and "role" in m for m in prompt)
        and any(m["role"] == "user" and m["content"].strip() for m in prompt)
    )
