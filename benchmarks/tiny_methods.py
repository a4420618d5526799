"""Methods side by side on the embedded world: the quickstart with one thing changed, several seeds, paired by seed.

    python benchmarks/tiny_methods.py --out runs/tiny_methods --seeds 1 2 3

Finished runs are reused, so the script can be stopped and started again. Writes `table.md` and `table.json` beside the
runs. Accuracy is avg@4 at T=0.6 on the 256 test prompts; intervals are Student's t over seeds, two-sided 95%.
This is a tiny model on a synthetic world: a lead for larger experiments, not a result about them.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

METHODS = {
    "grpo": ["--method", "grpo", "--blend", "none"],
    "sdpo": ["--method", "sdpo", "--blend", "none"],
    "paper": ["--form", "paper", "--lam", "0.1", "--blend", "none"],
    "guidedpure": ["--form", "guided", "--lam", "1.0", "--blend", "none"],
    "sdpoblend": ["--method", "sdpo", "--blend", "loss", "--blend_weight", "0.3"],
    "paperblend": ["--form", "paper", "--lam", "0.1", "--blend", "loss", "--blend_weight", "0.3"],
    "guided": ["--form", "guided", "--lam", "1.0", "--blend", "loss", "--blend_weight", "0.3"],
}
LABELS = {
    "grpo": "GRPO",
    "sdpo": "self-distillation (SDPO)",
    "paper": "CREDIT, paper's form, lambda 0.1",
    "guidedpure": "CREDIT, guided, lambda 1",
    "sdpoblend": "GRPO + 0.3 self-distillation",
    "paperblend": "GRPO + 0.3 CREDIT, paper's form",
    "guided": "GRPO + 0.3 CREDIT, guided (quickstart)",
}
# Two-sided 95% quantiles of Student's t for 1, 2, ... degrees of freedom.
T95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]


def run(out: Path, name: str, seed: int, *flags: str, program: tuple[str, ...] = ("-m", "credit")) -> Path:
    """Train the quickstart with one method, unless that is done; return the run."""
    folder = out / f"{name}-{seed}"
    done = folder / "run.json"
    if not (done.exists() and json.loads(done.read_text())["status"] == "complete"):
        command = ["train", "--config", "quickstart", "--output_dir", str(folder), "--overwrite", "--seed", str(seed)]
        subprocess.run([sys.executable, *program, *command, "--note", "benchmark", *METHODS[name], *flags], check=True)
    return folder


def numbers(folder: Path) -> dict[str, float]:
    result = json.loads((folder / "eval.json").read_text())
    after = result["after"]
    families = after["sampled"]["families"]
    return {
        "before": result["before"]["sampled"]["overall"]["mean"],
        "accuracy": after["sampled"]["overall"]["mean"],
        "worst family": min(family["mean"] for family in families.values()),
        "route": families["route"]["mean"],
        "reasoning kept": after["extras"]["reasoning_kept"],
        "leak": after["extras"]["boilerplate_leak"],
        "seconds": json.loads((folder / "run.json").read_text())["seconds"]["train"],
    }


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of the 95% interval over seeds."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return mean, T95[len(values) - 2] * deviation / math.sqrt(len(values))


def table(results: dict[str, list[dict[str, float]]]) -> str:
    columns = ["accuracy", "worst family", "route", "reasoning kept", "leak", "seconds"]
    lines = [
        f"| method | seeds | {' | '.join(columns)} | quickstart minus this, paired |",
        "|---" * (len(columns) + 3) + "|",
    ]
    ours = [r["accuracy"] for r in results["guided"]]
    for name, runs in results.items():
        cells = []
        for column in columns:
            mean, half = interval([r[column] for r in runs])
            cells.append(f"{mean:.3f} ± {half:.3f}" if column == "accuracy" else f"{mean:.2f}")
        mean, half = interval([a - r["accuracy"] for a, r in zip(ours, runs, strict=True)])
        gap = "-" if name == "guided" else f"{mean:+.3f} ± {half:.3f}"
        lines.append(f"| {LABELS[name]} | {len(runs)} | {' | '.join(cells)} | {gap} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/tiny_methods"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    results = {name: [numbers(run(options.out, name, seed)) for seed in options.seeds] for name in METHODS}
    (options.out / "table.json").write_text(json.dumps({"seeds": options.seeds, "results": results}, indent=2) + "\n")
    (options.out / "table.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
