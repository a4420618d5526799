"""Sampling and grading held-out prompts: avg@k, pass@k and greedy accuracy, per family, with intervals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from credit.statistics import bootstrap_mean, paired_difference, pass_at_k
from credit.tasks import Row, Task


@dataclass(frozen=True)
class EvalOptions:
    """How to sample. Defaults of temperature and top-p: paper (second-hand).

    Attributes:
        samples: k answers per prompt.
        temperature, top_p: of the sampled answers; a greedy answer is always drawn too.
        max_new_tokens: longest answer.
        batch_size: prompts per generation call.
        seed: of the sampler.
    """

    samples: int = 4
    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 256
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self):
        if self.samples < 1 or self.max_new_tokens < 1 or self.batch_size < 1:
            raise ValueError("eval samples, max_new_tokens and batch_size must be at least 1.")
        if self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"eval temperature={self.temperature} must be > 0 and top_p={self.top_p} in (0, 1].")


@torch.no_grad()
def generate(
    model: Any, tokenizer: Any, rows: list[Row], options: EvalOptions, greedy: bool, template_options: dict[str, Any],
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[str]]:  # fmt: skip
    """Answer every row: `samples` answers each, or one when `greedy`. Leaves the global random state as it was."""
    count = 1 if greedy else options.samples
    config = GenerationConfig(
        max_new_tokens=options.max_new_tokens,
        do_sample=not greedy,
        num_return_sequences=count,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
        **({} if greedy else {"temperature": options.temperature, "top_p": options.top_p, "top_k": 0}),
    )
    prompts = [prompt_ids(tokenizer, row["prompt"], template_options) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: len(prompts[i]))
    answers: list[list[str]] = [[] for _ in rows]
    was_training, own_config = model.training, model.generation_config
    model.eval()
    model.generation_config = GenerationConfig()  # the model's own settings must not change the benchmark
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(options.seed)
        for start in range(0, len(order), options.batch_size):
            picked = order[start : start + options.batch_size]
            batch = tokenizer.pad(
                {"input_ids": [prompts[i] for i in picked]}, padding_side="left", return_tensors="pt"
            ).to(model.device)
            width = batch["input_ids"].shape[1]
            out = model.generate(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], generation_config=config
            )
            texts = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
            for place, i in enumerate(picked):
                answers[i] = texts[place * count : (place + 1) * count]
            progress(len(picked))
    model.train(was_training)
    model.generation_config = own_config
    return answers


def prompt_ids(tokenizer: Any, prompt: Any, template_options: dict[str, Any]) -> list[int]:
    """Tokenize a prompt as training does: chat template for messages, plain text otherwise."""
    if isinstance(prompt, str):
        return tokenizer(prompt)["input_ids"]
    out = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=True, return_dict=True, **template_options
    )
    return out["input_ids"]


def evaluate(
    model: Any, tokenizer: Any, task: Task, rows: list[Row], options: EvalOptions,
    template_options: dict[str, Any] | None = None, progress: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return one record per row: the row itself, with greedy and sampled completions and their scores."""
    template_options = template_options or {}
    sampled = generate(model, tokenizer, rows, options, False, template_options, progress)
    greedy = generate(model, tokenizer, rows, options, True, template_options, progress)
    records = []
    for row, texts, (text,) in zip(rows, sampled, greedy, strict=True):
        records.append(
            {
                "family": "all",
                "answer": None,
                **row,
                "greedy": text,
                "greedy_score": task.grade(row, text).score,
                "sampled": texts,
                "sampled_scores": [task.grade(row, t).score for t in texts],
            }
        )
    return records


def _per_prompt(records: list[dict[str, Any]], kind: str) -> list[float]:
    if kind == "greedy":
        return [float(r["greedy_score"]) for r in records]
    return [sum(r["sampled_scores"]) / len(r["sampled_scores"]) for r in records]


def _by_family(records: list[dict[str, Any]]) -> dict[str, list[int]]:
    families: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        families.setdefault(record["family"], []).append(i)
    return dict(sorted(families.items()))


def summarise(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return sampled (avg@k) and greedy mean scores with 95% intervals, overall and per family, and pass@k."""
    summary: dict[str, Any] = {}
    for kind in ("sampled", "greedy"):
        values = _per_prompt(records, kind)
        summary[kind] = {
            "overall": bootstrap_mean(values),
            "families": {f: bootstrap_mean([values[i] for i in rows]) for f, rows in _by_family(records).items()},
        }
    k = len(records[0]["sampled_scores"])
    solved = [pass_at_k(sum(s >= 1.0 for s in r["sampled_scores"]), k, k) for r in records]
    summary["pass_at_k"] = {"k": k, **bootstrap_mean(solved)}
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


def changed_examples(before: list[dict[str, Any]], after: list[dict[str, Any]], most: int = 6) -> list[dict[str, Any]]:
    """Return up to `most` gained and `most` lost prompts (greedy answers), in data order."""
    kinds: dict[float, list[dict[str, Any]]] = {1.0: [], -1.0: []}
    for old, new in zip(before, after, strict=True):
        change = float(new["greedy_score"] > old["greedy_score"]) - float(new["greedy_score"] < old["greedy_score"])
        if change and len(kinds[change]) < most:
            kinds[change].append(
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
    return kinds[1.0] + kinds[-1.0]


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Write evaluation records as JSON Lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    partial.replace(path)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read what `write_records` wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
