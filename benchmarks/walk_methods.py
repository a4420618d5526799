"""Methods side by side on conversations: the walk of the embedded world (`--task tiny-walk`), several seeds, paired.

    nice -n 5 python benchmarks/walk_methods.py --out runs/walk_methods

The quickstart with the task of the walk, fewer steps and one method changed. Finished runs are reused. Writes a JSON of
all numbers and paired intervals, and prints the table. Accuracy is avg@4 at T=0.6 of whole conversations on held-out
prompts; intervals are Student's t over seeds, two-sided 95%.

One variant asks whether the form of a shown conversation matters: a solution is written with brackets and JSON, words
that the embedded model has never seen; in the variant it is written in words of its vocabulary alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tiny_methods import LABELS, interval, run

COMPARED = ("grpo", "sdpo", "paper", "guided")
OURS = "guided"
PLAIN = "guided, solutions in words"
STEPS, PROMPTS = 30, 96
FLAGS = (
    "--task", "tiny-walk", "--max_tool_calling_iterations", "2",
    "--max_steps", str(STEPS), "--eval_limit", str(PROMPTS),
)  # fmt: skip
COLUMNS = ("accuracy", "greedy", "first try", "walk written", "map asked", "tokens", "seconds")


def in_words(completion: Any) -> str:
    """Write a conversation as `credit.context.transcript` does, without brackets and JSON."""
    parts = []
    for message in completion:
        parts.append(message.get("content") or "")
        for call in message.get("tool_calls") or []:
            parts += [call["function"]["name"], *call["function"]["arguments"].values()]
    return " ".join(part for part in parts if part)


def train_in_words(argv: list[str]) -> int:
    """Run `credit` with solutions in words."""
    import credit.trainer
    from credit.cli import main

    credit.trainer.transcript = in_words
    return main(argv)


def numbers(folder: Path) -> dict[str, float]:
    """Return what one run shows: before and after training, and the mean length of its first and last five steps."""
    result, settings = json.loads((folder / "eval.json").read_text()), json.loads((folder / "run.json").read_text())
    lengths = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lengths = [log["completions/mean_length"] for log in lengths if "completions/mean_length" in log]
    found = {}
    for when, mark in (("before", "before: "), ("after", "")):
        side = result[when]
        found |= {
            f"{mark}accuracy": side["sampled"]["overall"]["mean"],
            f"{mark}greedy": side["greedy"]["overall"]["mean"],
            f"{mark}first try": side["extras"]["first_try"],
            f"{mark}walk written": side["extras"]["reasoning_kept"],
            f"{mark}map asked": side["extras"]["map_asked"],
            f"{mark}tokens": sum(part := lengths[:5] if when == "before" else lengths[-5:]) / len(part),
        }
    return {**found, "seconds": settings["seconds"]["train"]}


def paired(results: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return mean and half-width, over seeds, of after minus before, and of the quickstart minus each method."""
    gains, gaps = {}, {}
    for name, runs in results.items():
        gains[name] = interval([r["accuracy"] - r["before: accuracy"] for r in runs])
        if name != OURS:
            pairs = zip(results[OURS], runs, strict=True)
            gaps[name] = interval([ours["accuracy"] - theirs["accuracy"] for ours, theirs in pairs])
    return {"after_minus_before": gains, "quickstart_minus_this": gaps}


def table(results: dict[str, list[dict[str, float]]], differences: dict) -> str:
    """Return the table of the lab notes."""

    def cell(pair: tuple[float, float] | None) -> str:
        return "-" if pair is None else f"{pair[0]:+.3f} ± {pair[1]:.3f}"

    lines = [
        f"| method | {' | '.join(COLUMNS)} | after minus before | quickstart minus this, paired |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    for name, runs in results.items():
        means = [sum(r[column] for r in runs) / len(runs) for column in COLUMNS]
        cells = [
            f"{mean:.0f}" if c in ("tokens", "seconds") else f"{mean:.2f}"
            for c, mean in zip(COLUMNS, means, strict=True)
        ]
        cells += [cell(differences[kind].get(name)) for kind in ("after_minus_before", "quickstart_minus_this")]
        lines.append(f"| {LABELS.get(name, name)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/walk_methods"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "walk_methods.json")
    options = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {name: [] for name in COMPARED}
    results[PLAIN] = []
    for seed in options.seeds:  # all methods of a seed before the next: stopped early, it still compares
        for name in COMPARED:
            results[name].append(numbers(run(options.out, name, seed, *FLAGS)))
        variant = run(options.out / "in_words", OURS, seed, *FLAGS, program=(__file__, "--in_words"))
        results[PLAIN].append(numbers(variant))
    differences = paired(results)
    content = {"flags": FLAGS, "seeds": options.seeds, "results": results, "paired": differences}
    options.results.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(table(results, differences))


if __name__ == "__main__":
    sys.exit(train_in_words(sys.argv[2:]) if sys.argv[1:2] == ["--in_words"] else main())
