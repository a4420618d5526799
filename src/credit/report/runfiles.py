"""Tolerant readers of a run directory. What cannot be read is left out, and named."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from credit.credit_log import TOKEN_COLUMNS
from credit.report.text import number

ROW_COLUMNS = ("prompt", "completion", "score", "solution", "feedback", "negatives", "tokens", "token_ids")


@dataclass
class RunFiles:
    """Everything the page is made of. `problems` says, in sentences, what was missing or damaged."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    credit_file: str | None = None
    credit_rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    inspected: bool = False
    """Whether the page of `credit inspect` is there."""


def read_run(run_dir: Path) -> RunFiles:
    """Read all files of a run.

    Raises:
        NotADirectoryError: `run_dir` is not a directory; nothing else raises.
    """
    if not run_dir.is_dir():
        raise NotADirectoryError(f"{run_dir} is not a run directory. Pass the output_dir of a training run.")
    files = RunFiles(run_dir.resolve().name)
    files.config = _mapping(run_dir / "config.yaml", files.problems, "the options of the run are unknown")
    files.run = _mapping(run_dir / "run.json", files.problems, "status, command, versions and times are unknown")
    if (run_dir / "eval.json").exists():  # absent when evaluation was skipped: the verdict says so
        files.evaluation = _mapping(run_dir / "eval.json", files.problems, "accuracy is unknown")
    files.metrics = read_metrics(run_dir / "metrics.jsonl", files.problems)
    files.inspected = (run_dir / "inspect.html").is_file()
    files.credit_file, files.credit_rows = read_token_credit(run_dir / "credit", files.problems)
    return files


def read_metrics(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """Return the logged lines by step, one per step; after a resume the values logged last count."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        problems.append(f"metrics.jsonl {_why(error)}: there are no curves.")
        return []
    by_step: dict[float, dict[str, Any]] = {}
    damaged, last, repeated = [], 0.0, 0
    for count, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        entry: dict[str, Any] = {}
        try:
            entry = json.loads(line)
            step = number(entry["step"])
        except (ValueError, KeyError, TypeError, RecursionError):
            step = None
        if step is None:
            damaged.append(count)
            continue
        repeated += step < last
        last = step
        by_step[step] = {**by_step.get(step, {}), **entry}
    if damaged and damaged[-1] == len(lines):
        damaged.pop()
        problems.append("The last line of metrics.jsonl is damaged, as after an interrupted write; it is left out.")
    if damaged:
        problems.append(f"metrics.jsonl: line {', '.join(map(str, damaged))} cannot be read and is left out.")
    if repeated:
        problems.append("metrics.jsonl goes back in steps (the run was resumed); the value logged last counts.")
    if not by_step:
        problems.append("metrics.jsonl holds no readable line: there are no curves.")
    return [by_step[step] for step in sorted(by_step)]


def read_token_credit(folder: Path, problems: list[str]) -> tuple[str | None, list[dict[str, Any]]]:
    """Return name and rows of the newest readable Parquet file of token credit."""
    for path in sorted(folder.glob("*.parquet"), key=_step_of, reverse=True):
        try:
            import pyarrow.parquet as pq

            table = pq.read_table(path)
            rows = table.to_pylist()
        except ImportError as error:
            problems.append(f"Token credit cannot be read without {error.name}. Install 'credit-distill[train]'.")
            return None, []
        except Exception as error:  # pyarrow raises many kinds for a damaged file
            problems.append(
                f"credit/{path.name} cannot be read ({type(error).__name__}); an earlier file is looked for."
            )
            continue
        missing = [name for name in (*ROW_COLUMNS, *TOKEN_COLUMNS) if name not in table.column_names]
        if missing:
            problems.append(f"credit/{path.name} has no column {', '.join(missing)}; what needs it is left out.")
        return path.name, rows
    return None, []


def _mapping(path: Path, problems: list[str], consequence: str) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            value = json.loads(text)
        else:
            import yaml

            value = yaml.safe_load(text)
    except OSError as error:
        problems.append(f"{path.name} {_why(error)}: {consequence}.")
        return {}
    except Exception as error:  # json and yaml raise different kinds; none may cost the reader the page
        problems.append(f"{path.name} is damaged ({type(error).__name__}): {consequence}.")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name} does not hold a mapping: {consequence}.")
        return {}
    return {str(key): item for key, item in value.items()}


def _why(error: OSError) -> str:
    return "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({type(error).__name__})"


def _step_of(path: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", path.stem)
    return (int(digits[-1]) if digits else -1, path.name)
