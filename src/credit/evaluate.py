"""Grading held-out prompts: accuracy (avg@k, greedy), pass@k and mean score, per family, with intervals.

One name each: a *score* is what the grader gives one answer, from 0 to 1; an answer is a success when its score is 1;
*accuracy* is the share of successes, avg@k over k samples of a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from credit.sampling import EvalOptions, generate
from credit.statistics import bootstrap_mean, paired_difference, pass_at_k
from credit.tasks import Row, Task
from credit.tasks.environments import has_environment


def equip(task: Task, tokenizer: Any, rows: list[Row], max_tool_calling_iterations: int | None) -> None:
    """Get a tokenizer ready for a task that holds conversations; refuse turns of tools where there are none."""
    if has_environment(task):
        from credit import conversations  # brings the trainer's libraries, which no other evaluation needs

        conversations.equip(task, tokenizer, rows)
    elif max_tool_calling_iterations is not None:
        raise ValueError(
            f"max_tool_calling_iterations is idle: task {task.name!r} has no environment, so it calls no tool. Drop it."
        )


def evaluate(
    model: Any, tokenizer: Any, task: Task, rows: list[Row], options: EvalOptions,
    template_options: dict[str, Any] | None = None, progress: Callable[[int], None] = lambda done: None,
    partial: Path | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return one record per row: the row itself, with greedy and sampled completions and their scores.

    A task with an environment holds conversations, its tokenizer equipped; a completion
    is then the transcript of one. With `partial`, a folder, what is sampled is kept there until all is graded, and a
    killed evaluation goes on.
    """
    template_options = template_options or {}

    def answers(kind: str, greedy: bool) -> list[list[tuple[str, float]]]:
        kept = None if partial is None else partial / f"{kind}.pt"
        if has_environment(task):
            from credit.conversations import converse

            return converse(model, tokenizer, task, rows, options, greedy, template_options, progress, kept)
        texts = generate(model, tokenizer, rows, options, greedy, template_options, progress, kept)
        return [[(text, task.grade(row, text).score) for text in of] for row, of in zip(rows, texts, strict=True)]

    records = []
    for row, sampled, ((text, score),) in zip(rows, answers("sampled", False), answers("greedy", True), strict=True):
        records.append(
            {
                "family": "all",
                "answer": None,
                **row,
                "greedy": text,
                "greedy_score": score,
                "sampled": [text for text, _ in sampled],
                "sampled_scores": [score for _, score in sampled],
            }
        )
    return records


SUCCESS = 1.0
"""Score of a success."""


def _per_prompt(records: list[dict[str, Any]], kind: str) -> list[float]:
    """Return the accuracy on each prompt."""
    if kind == "greedy":
        return [float(r["greedy_score"] >= SUCCESS) for r in records]
    return [sum(s >= SUCCESS for s in r["sampled_scores"]) / len(r["sampled_scores"]) for r in records]


def _by_family(records: list[dict[str, Any]]) -> dict[str, list[int]]:
    families: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        families.setdefault(record["family"], []).append(i)
    return dict(sorted(families.items()))


def summarise(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return accuracy, sampled (avg@k) and greedy, overall and per family; pass@k; mean score; with intervals."""
    summary: dict[str, Any] = {}
    for kind in ("sampled", "greedy"):
        values = _per_prompt(records, kind)
        summary[kind] = {
            "overall": bootstrap_mean(values),
            "families": {f: bootstrap_mean([values[i] for i in rows]) for f, rows in _by_family(records).items()},
        }
    samples = len(records[0]["sampled_scores"])
    successes = [sum(s >= SUCCESS for s in r["sampled_scores"]) for r in records]
    ks = sorted({2**i for i in range(samples.bit_length()) if 2**i <= samples} | {samples})
    summary["pass_at"] = {str(k): bootstrap_mean([pass_at_k(n, samples, k) for n in successes]) for k in ks}
    summary["pass_at_k"] = {"k": samples, **summary["pass_at"][str(samples)]}
    summary["mean_score"] = bootstrap_mean([sum(r["sampled_scores"]) / samples for r in records])
    return summary


def compare(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the paired differences of two evaluations of the same prompts, overall and per family."""
    difference: dict[str, Any] = {}
    for kind in ("sampled", "greedy"):
        old, new = _per_prompt(before, kind), _per_prompt(after, kind)
        difference[kind] = {
            "overall": paired_difference(old, new),
            "families": {
                f: paired_difference([old[i] for i in rows], [new[i] for i in rows])
                for f, rows in _by_family(before).items()
            },
        }
    return difference


def changes(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, int]:
    """Count the prompts whose greedy answer gained, lost or kept its score."""
    counts = {"gained": 0, "lost": 0, "unchanged": 0}
    for old, new in zip(before, after, strict=True):
        counts[_change(old, new)] += 1
    return counts


def changed_examples(before: list[dict[str, Any]], after: list[dict[str, Any]], most: int = 6) -> list[dict[str, Any]]:
    """Return up to `most` gained and `most` lost prompts (greedy answers), in data order."""
    kinds: dict[str, list[dict[str, Any]]] = {"gained": [], "lost": []}
    for old, new in zip(before, after, strict=True):
        chosen = kinds.get(_change(old, new))
        if chosen is not None and len(chosen) < most:
            chosen.append(
                {
                    "prompt": old["prompt"],
                    "family": old["family"],
                    "answer": old["answer"],
                    "before": old["greedy"],
                    "before_score": old["greedy_score"],
                    "after": new["greedy"],
                    "after_score": new["greedy_score"],
                }
            )
    return kinds["gained"] + kinds["lost"]


def _change(old: dict[str, Any], new: dict[str, Any]) -> str:
    before, after = old["greedy_score"], new["greedy_score"]
    return "gained" if after > before else "lost" if after < before else "unchanged"


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Write evaluation records as JSON Lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    partial.replace(path)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read what `write_records` wrote."""
    # Not by splitlines: an answer may hold a Unicode line separator, which JSON leaves as it is.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
