"""Where does credit point, form by form? AUROC of R on the embedded base model's own answers.

    python benchmarks/where_credit_points.py

Samples 4 answers to each of the 256 test prompts from the base model (T=1), lets the task grade them, scores every
token with the base model as its own teacher, and asks how well |R| points at answer tokens and -R at the first wrong
one. lambda 0 is the raw reward r. Writes benchmarks/results/where_credit_points.json.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from credit.diagnostics import Rollouts, diagnose
from credit.diagnostics.choices import compatibility
from credit.diagnostics.scoring import ScoreOptions, score_rollouts
from credit.sampling import EvalOptions, generate
from credit.sources import load_model
from credit.tasks import get_task

OUT = Path(__file__).parent / "results" / "where_credit_points.json"
LAMBDAS = (0.0, 0.1, 0.25, 0.5, 1.0)
SHOWN = ("auroc_answer_R", "auroc_error_R", "credit_on_answer_tokens", "credit_on_generic_tokens")


def answers(model: Any, tokenizer: Any, task: Any) -> tuple[Rollouts, dict[int, Any]]:
    """Sample and grade; returns the rollouts and the task row of each."""
    rows = task.rows("test")
    sampled = generate(model, tokenizer, rows, EvalOptions(temperature=1.0, top_p=1.0), False, {})
    rollouts, of = [], {}
    for row, texts in zip(rows, sampled, strict=True):
        for text in texts:
            grade = task.grade(row, text)
            of[len(rollouts)] = row
            rollouts.append(
                {"prompt": row["prompt"], "completion": text, "score": grade.score, "feedback": grade.feedback}
            )
    return Rollouts("answers", rollouts), of


def main() -> None:
    torch.set_num_threads(1)
    start = time.perf_counter()
    task = get_task("tiny")
    model, tokenizer = load_model("tiny")
    rollouts, of = answers(model, tokenizer, task)
    results: dict[str, Any] = {"rollouts": len(rollouts.rows), "forms": []}
    for negatives in (1, 4):
        for form in ("paper", "guided", "feedback_contrast"):
            for lam in LAMBDAS:
                if lam == 0 and (form, negatives) != ("paper", 1):
                    continue  # lambda 0 is the same for all
                settings = {"form": form, "lam": lam, "num_negatives": negatives, "temperature": 1.0, "seed": 0}
                scored = score_rollouts(model, tokenizer, rollouts, ScoreOptions.of(settings))
                summary = diagnose(scored, task)["summary"]
                results["forms"].append({**settings, "summary": summary})
                cells = [f"{summary[n]['mean']:.3f}" if summary[n] else "-" for n in SHOWN]
                print(f"{form:18} lambda {lam:<5} C {negatives}  " + "  ".join(cells), flush=True)
    found = compatibility(
        model, tokenizer, rollouts, lambda row: task.choices(of[rollouts.rows.index(row)], row["completion"])
    )
    results["compatibility"] = found["summary"]
    results["problems"] = found["problems"]
    results["seconds"] = round(time.perf_counter() - start, 1)
    OUT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results["compatibility"], indent=2), f"\n{OUT.name}: {results['seconds']} s")


if __name__ == "__main__":
    main()
