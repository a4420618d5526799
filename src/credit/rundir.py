"""A run's folder: who may write into it, and the files a run leaves.

`config.yaml` (resolved options), `run.json` (what, when, versions), `metrics.jsonl` (one line per log), `eval.json`
and `eval/` (answers before and after), `completions/`, `credit/` (token credit), `checkpoint-*`, `model/` with its
card, `report.html`, `inspect.html`, `nonfinite-step-*` (what a run had to stop at). Files are written whole or appended
line by line, so a kill at any moment loses nothing else.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import yaml

from credit.faults.checkpoints import flaw, sealed, step_of

_OURS = (
    "config.yaml",
    "run.json",
    "metrics.jsonl",
    "eval.json",
    "report.html",
    "inspect.html",
    "README.md",
    ".gitignore",
)
_OUR_FOLDERS = ("eval", "completions", "credit", "model", "runs")
_OUR_KINDS = ("checkpoint-*", "damaged-checkpoint-*", "nonfinite-*")


def differing(saved: dict[str, Any], config: dict[str, Any]) -> str:
    """Return in words how two resolved configs differ, empty if they do not; where a run lies does not count."""
    keys = sorted(k for k in {*saved, *config} if k != "output_dir" and saved.get(k) != config.get(k))
    return ", ".join(f"{k}: {saved.get(k)!r} -> {config.get(k)!r}" for k in keys[:5])


class RunDir:
    """The folder of one run.

    Attributes:
        set_aside: checkpoints found damaged when the run was resumed, and what was wrong with each.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.set_aside: list[str] = []

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def check(self, config: dict[str, Any], resume: bool, overwrite: bool) -> None:
        """Raise ValueError when the folder may not be taken for a run with this resolved config; changes nothing.

        It may not when it holds another run or foreign files, or when `resume` meets different options.
        """
        if resume and overwrite:
            raise ValueError("--resume and --overwrite exclude each other. Pick one.")
        holds_run = (self / "config.yaml").exists()
        if resume and not holds_run:
            raise ValueError(f"{self.path} holds no run to resume. Check --output_dir, or drop --resume.")
        if self.path.is_file() or (not holds_run and self.path.is_dir() and any(self.path.iterdir())):
            raise ValueError(f"{self.path} is not empty and holds no run of this program. Choose another --output_dir.")
        if resume:
            self._refuse_other_config(config)
        elif holds_run and not overwrite:
            raise ValueError(
                f"{self.path} holds another run. Use --resume to go on with it, --overwrite to replace it, or "
                "another --output_dir."
            )

    def take(self, config: dict[str, Any], resume: bool) -> Path | None:
        """Take the folder, after `check`; return the checkpoint to resume from, or None to start at step 0."""
        if resume:
            return self._rewind()
        self._clear()
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_text("config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        return None

    def write_text(self, name: str, text: str) -> None:
        """Write a file whole or not at all."""
        partial = self / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self / name)

    def write_json(self, name: str, content: Any) -> None:
        """Write JSON whole or not at all."""
        self.write_text(name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run."""
        return json.loads((self / name).read_text(encoding="utf-8"))

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        with (self / "metrics.jsonl").open("a", encoding="utf-8") as lines:
            finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in metrics.items()}
            lines.write(json.dumps(finite) + "\n")

    def _refuse_other_config(self, config: dict[str, Any]) -> None:
        saved = yaml.safe_load((self / "config.yaml").read_text(encoding="utf-8"))
        if changes := differing(saved, config):
            processes = "generation_batch_size" in changes and " and as many processes (--launch, --nproc)"
            raise ValueError(
                f"cannot resume {self.path} with other options ({changes}). Use the options of its "
                f"config.yaml{processes or ''}, or start another run."
            )

    def checkpoints(self) -> list[Path]:
        """Return complete checkpoints, oldest first."""
        return sorted(filter(sealed, self.path.glob("checkpoint-*")), key=step_of)

    def _rewind(self) -> Path | None:
        """Drop what was written after the last whole checkpoint; it will be written again, the same."""
        if (self / "run.json").exists():
            self.set_aside = list(self.read_json("run.json").get("set_aside") or [])
        for folder in self.path.glob("checkpoint-*"):
            if not sealed(folder):
                shutil.rmtree(folder)
        last = self._last_whole()
        step = step_of(last) if last else 0
        metrics = self / "metrics.jsonl"
        if metrics.exists():
            kept = [line for line in metrics.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
            self.write_text("metrics.jsonl", "".join(line + "\n" for line in kept))
        return last

    def _last_whole(self) -> Path | None:
        """Return the newest undamaged checkpoint; damaged ones after it are renamed, not lost."""
        for folder in reversed(self.checkpoints()):
            wrong = flaw(folder)
            if wrong is None:
                return folder
            aside = self / f"damaged-{folder.name}"
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            self.set_aside.append(f"{folder.name} is damaged ({wrong}); it is kept as {aside.name}.")
        return None

    def _clear(self) -> None:
        """Remove the files a run leaves, and nothing else."""
        kept = [p for kind in _OUR_KINDS for p in self.path.glob(kind)]
        for folder in [*(self / name for name in _OUR_FOLDERS), *kept]:
            if folder.is_dir():
                shutil.rmtree(folder)
        # config.yaml, the first of them, goes last: it marks the folder as ours if a kill comes in between.
        for name in reversed(_OURS):
            (self / name).unlink(missing_ok=True)


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")  # a line cut short by a kill
