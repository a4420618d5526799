"""Kill runs at random moments, resume each, and compare with the run that was left alone.

    python benchmarks/kills.py --ranks 1 2 --kills 20 --json benchmarks/results/kills.json

A moment is uniform between the run's first file and its end: it may fall into an evaluation, a step or the last
report. A save is short and seldom met that way, so `--saves` more kills wait for a checkpoint that is being written,
and come up to 50 ms later. With several ranks the victim is drawn too; torchrun stops the others. What has to agree:
every logged metric but seconds (the largest difference is printed), the evaluation, and the bytes of the last
checkpoint's weights and teacher. Linux only: ranks are found in /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STEPS = 12
FLAGS = (
    "--config", "quickstart", "--max_steps", str(STEPS), "--save_steps", "2", "--save_total_limit", "2",
    "--eval_limit", "8", "--credit_log_steps", "4", "--report_to", "none",
)  # fmt: skip


def start(out: Path, ranks: int, *flags: str) -> subprocess.Popen:
    launch = () if ranks == 1 else ("--launch", "ddp", "--nproc", str(ranks))
    command = [sys.executable, "-m", "credit", "train", *FLAGS, "--output_dir", str(out), *launch, *flags]
    log = (out.parent / f"{out.name}.log").open("a")
    return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})


def victims(out: Path, ranks: int, process: subprocess.Popen) -> list[int]:
    """Process ids of the ranks, in order."""
    if ranks == 1:
        return [process.pid]
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode().split("\0")
            given = dict(p.split("=", 1) for p in (entry / "environ").read_bytes().decode().split("\0") if "=" in p)
        except (OSError, UnicodeDecodeError):
            continue
        if str(out) in command and "LOCAL_RANK" in given:
            found[int(given["LOCAL_RANK"])] = int(entry.name)
    return [found[rank] for rank in sorted(found)]


def left_by(out: Path) -> dict[str, Any]:
    """What a complete run leaves that has to be the same."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    last = out / f"checkpoint-{STEPS}"
    return {
        "metrics": [{k: v for k, v in line.items() if not k.startswith("step_time")} for line in lines],
        "eval": json.loads((out / "eval.json").read_text()),
        "bytes": [(last / name).read_bytes() for name in ("model.safetensors", "credit_teacher.safetensors")],
    }


def largest_difference(one: list[dict], other: list[dict]) -> float:
    """Over all logged numbers; infinite when different things were logged."""
    if [list(a) for a in one] != [list(b) for b in other]:
        return float("inf")
    pairs = [(a[k], b[k]) for a, b in zip(one, other, strict=True) for k in a]
    if any((x is None) != (y is None) for x, y in pairs):
        return float("inf")
    return max(abs(x - y) for x, y in pairs if x is not None)


def whole_run(out: Path, ranks: int) -> tuple[float, float]:
    """Run undisturbed; return when its first file appeared and when it ended, in seconds."""
    began, process, first = time.time(), start(out, ranks), 0.0
    while process.poll() is None:
        if not first and (out / "run.json").exists():
            first = time.time() - began
        time.sleep(0.01)
    assert process.returncode == 0, (out.parent / f"{out.name}.log").read_text()[-3000:]
    return first, time.time() - began


def kill_once(out: Path, ranks: int, after: float, rank: int, save: str | None = None) -> dict[str, Any] | None:
    """Kill one rank that many seconds after a file is there, and say where that was; None if the run had ended.

    The file is the run's first, or the folder of the checkpoint `save`.
    """
    process, first = start(out, ranks), None
    while process.poll() is None and (first is None or time.time() < first + after):
        if first is None and (out / (save or "run.json")).exists():
            first = time.time()
        time.sleep(0.002)
    alive = victims(out, ranks, process) if process.poll() is None else []
    if len(alive) < ranks:
        process.wait(timeout=300)
        return None
    os.kill(alive[rank], signal.SIGKILL)
    process.wait(timeout=300)
    log = out / "metrics.jsonl"
    checkpoints = [p for p in out.glob("checkpoint-*") if not (p / "credit_complete.json").exists()]
    return {
        "rank": rank,
        "seconds": round(after, 3),
        "aimed_at": save,
        "steps": log.read_text().count("\n") if log.exists() else 0,
        "half_written": [p.name for p in checkpoints],
        "status": json.loads((out / "run.json").read_text())["status"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kills", type=int, default=20, help="for each number of ranks")
    parser.add_argument("--saves", type=int, default=10, help="more kills for each, while a checkpoint is written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="save the outcome here, beside what the file holds already")
    options = parser.parse_args()
    draw, outcome, failed = random.Random(options.seed), [], 0
    with tempfile.TemporaryDirectory() as folder:
        for ranks in options.ranks:
            whole = Path(folder) / f"whole-{ranks}"
            first, end = whole_run(whole, ranks)
            expected, done = left_by(whole), 0
            print(f"{ranks} rank(s): {end:.0f} s undisturbed, first file after {first:.0f} s", flush=True)
            while done < options.kills + options.saves:
                out = Path(folder) / f"killed-{ranks}-{done}"
                save = f"checkpoint-{draw.randrange(2, STEPS + 1, 2)}" if done >= options.kills else None
                after = draw.uniform(0, 0.05 if save else end - first)
                where = kill_once(out, ranks, after, draw.randrange(ranks), save)
                if where is None:
                    subprocess.run(["rm", "-r", str(out)], check=True)
                    continue
                status = start(out, ranks, "--resume").wait(timeout=600)
                found = left_by(out)
                where |= {
                    "ranks": ranks,
                    "exit": status,
                    "difference": largest_difference(found["metrics"], expected["metrics"]),
                    "same_eval": found["eval"] == expected["eval"],
                    "same_bytes": found["bytes"] == expected["bytes"],
                }
                good = status == 0 and where["difference"] <= 1e-6 and where["same_eval"] and where["same_bytes"]
                failed += not good
                outcome.append(where)
                done += 1
                print(json.dumps(where), "" if good else "  <- NOT THE SAME RUN", flush=True)
    if options.json:
        if options.json.exists():
            outcome = json.loads(options.json.read_text())["kills"] + outcome
        options.json.write_text(json.dumps({"steps": STEPS, "seed": options.seed, "kills": outcome}, indent=1) + "\n")
    print(f"{len(outcome)} kills, {failed} not resumed to the same run")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
