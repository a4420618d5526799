"""How fast programs run at each level, beside a plain subprocess, in one sitting.

    python benchmarks/sandbox.py --runs 400 --workers 1 2

Latency is that of one caller with one worker. The machine's own noise is in the numbers: `process` is the yardstick.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from credit.sandbox import LEVELS, Sandbox, Unavailable

PROGRAM = "print(sum(map(int, input().split())))"


def measure(level: str, runs: int, workers: list[int]) -> dict[str, float]:
    row: dict[str, float] = {}
    for count in workers:
        with Sandbox(level, workers=count) as sandbox:
            sandbox.run_many([{"code": PROGRAM, "stdin": "1 2"}] * 10)
            began = time.perf_counter()
            results = sandbox.run_many([{"code": PROGRAM, "stdin": "1 2"}] * runs)
            row[f"runs/s, {count} workers"] = runs / (time.perf_counter() - began)
            if any(result.stdout != "3\n" for result in results):
                raise RuntimeError(f"{level} gave wrong results")
    with Sandbox(level, workers=1) as sandbox:
        began = time.perf_counter()
        times, cpu = [], 0.0
        for _ in range(runs):
            began = time.perf_counter()
            cpu += sandbox.run(PROGRAM, stdin="1 2").cpu_s
            times.append(1000 * (time.perf_counter() - began))
    times.sort()
    return row | {"p50 ms": times[runs // 2], "p95 ms": times[int(0.95 * runs)], "CPU ms": 1000 * cpu / runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    options = parser.parse_args()
    table = {}
    for level in LEVELS:
        try:
            table[level] = measure(level, options.runs if level != "process" else options.runs // 8, options.workers)
        except Unavailable as error:
            print(error)
    columns = list(next(iter(table.values())))
    print(f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores\n")
    print("| level |", " | ".join(columns), "|\n|---" + "|---:" * len(columns) + "|")
    for level, row in table.items():
        print(f"| {level} |", " | ".join(f"{row[column]:.1f}" for column in columns), "|")
    if options.out:
        options.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
