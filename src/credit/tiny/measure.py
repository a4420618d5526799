"""Measure a model on tiny rows: alone, shown a sibling, shown feedback, shown something unrelated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch

from credit.context import Messages, teacher_messages
from credit.tasks.base import Row
from credit.tiny.families import FAMILIES
from credit.tiny.task import TinyTask, has_reasoning, leaks
from credit.tiny.vocabulary import render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Sample = tuple[Row, str]  # a row and a completion of its prompt, or of a view of it


@torch.no_grad()
def sample(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Messages],
    seed: int = 0,
    temperature: float = 1.0,
    max_new_tokens: int = 64,
    batch: int = 256,
) -> list[str]:
    """Return one completion per prompt; `temperature` 0 is greedy. The global generator is left alone."""
    texts: list[str] = []
    kwargs: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        kwargs = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for begin in range(0, len(prompts), batch):
            rendered = [render(tokenizer, prompt) for prompt in prompts[begin : begin + batch]]
            inputs = tokenizer(rendered, add_special_tokens=False, padding=True, return_tensors="pt")
            out = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=max_new_tokens,
                **kwargs,
            )
            answers = out[:, inputs["input_ids"].shape[1] :]
            texts += tokenizer.batch_decode(answers, skip_special_tokens=True)
    return texts


def summary(samples: Sequence[Sample]) -> dict[str, float | None]:
    """Return accuracy (overall and per family), reasoning kept, leak and length in words."""
    task = TinyTask()

    def mean(values: list[float]) -> float | None:
        return round(sum(values) / len(values), 4) if values else None

    scored = [(row, text, task.grade(row, text)) for row, text in samples]
    result = {"accuracy": mean([grade.score for _, _, grade in scored])}
    for name in FAMILIES:
        result[name] = mean([grade.score for row, _, grade in scored if row["family"] == name])
    kept = [(has_reasoning(row, text), grade.score) for row, text, grade in scored]
    result["reasoning_kept"] = mean([float(r) for r, _ in kept if r is not None])
    result["route_reasoned"] = mean([score for r, score in kept if r])
    result["route_terse"] = mean([score for r, score in kept if r is False])
    result["format_error"] = mean([float(grade.outcome == "format_error") for _, _, grade in scored])
    result["leak"] = mean([float(leaks(text)) for _, text, _ in scored])
    result["words"] = mean([float(len(text.split())) for _, text, _ in scored])
    result["samples"] = float(len(scored))
    return result


def measure(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Row],
    samples: int = 8,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a model at T = 1.

    Args:
        model, tokenizer: what to measure.
        rows: rows of the tiny task.
        samples: completions per prompt.
        seed: of sampling and of the choice of siblings.

    Returns:
        One `summary` per condition. `sibling`: shown a right answer sampled by the model itself; `feedback`:
        shown what the grader said about one of its own wrong answers; `unrelated`: shown a right answer to
        another prompt, and `unrelated_same_family`: of the same family. A prompt without such an answer is
        left out, so every condition also has `same_prompts_alone`, the accuracy alone on the prompts it covers.
        `mixed_groups`: share of prompts with both successes and failures, per family.
    """
    task, rng, times = TinyTask(), Random(seed), range(samples)

    def run(views: list[tuple[Row, Messages]], offset: int, temperature: float = 1.0) -> list[Sample]:
        texts = sample(model, tokenizer, [view for _, view in views], seed + offset, temperature)
        return [(row, text) for (row, _), text in zip(views, texts, strict=True)]

    def view(row: Row, solution: str | None, feedback: str | None) -> tuple[Row, Messages]:
        messages = teacher_messages(row["prompt"], solution, feedback)
        assert not isinstance(messages, str)
        return row, messages

    alone = run([(row, row["prompt"]) for row in rows for _ in times], 0)
    groups = [alone[i : i + samples] for i in range(0, len(alone), samples)]
    right = [[text for row, text in group if task.grade(row, text).score == 1] for group in groups]
    said = [[f for row, text in group if (f := task.grade(row, text).feedback)] for group in groups]
    alone_accuracy = {row["id"]: len(r) / samples for row, r in zip(rows, right, strict=True)}

    def others(row: Row, same_family: bool) -> list[str]:
        return [
            text
            for other, texts in zip(rows, right, strict=True)
            if other is not row and (other["family"] == row["family"] or not same_family)
            for text in texts
        ]

    def condition(offset: int, solutions: list[list[str]], feedbacks: list[list[str]]) -> dict[str, Any]:
        views = [
            view(row, rng.choice(solution) if solution else None, rng.choice(feedback) if feedback else None)
            for row, solution, feedback in zip(rows, solutions, feedbacks, strict=True)
            if solution or feedback
            for _ in times
        ]
        shown = summary(run(views, offset))
        before = [alone_accuracy[row["id"]] for row, _ in views]
        return {**shown, "same_prompts_alone": round(sum(before) / max(1, len(before)), 4)}

    nothing: list[list[str]] = [[] for _ in rows]
    mixed: dict[str, list[bool]] = {}
    for row, texts in zip(rows, right, strict=True):
        mixed.setdefault(row["family"], []).append(0 < len(texts) < samples)
    return {
        "alone": summary(alone),
        "greedy": summary(run([(row, row["prompt"]) for row in rows], 0, temperature=0.0)),
        "sibling": condition(1, right, nothing),
        "feedback": condition(2, nothing, said),
        "unrelated": condition(3, [others(row, False) for row in rows], nothing),
        "unrelated_same_family": condition(4, [others(row, True) for row in rows], nothing),
        "mixed_groups": {name: round(sum(m) / len(m), 4) for name, m in mixed.items()},
    }


def measure_base(path: str | Path, split: str = "test", samples: int = 8, seed: int = 0) -> dict[str, Any]:
    """Measure a saved model on a split and write `measurements.json` beside it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path).eval()
    rows = TinyTask().rows(split)
    result: dict[str, Any] = {"split": split, "prompts": len(rows), "samples": samples, "seed": seed}
    result |= measure(model, tokenizer, rows, samples, seed)
    training = Path(path) / "training.json"
    result["training"] = json.loads(training.read_text()) if training.exists() else None
    (Path(path) / "measurements.json").write_text(json.dumps(result, indent=2) + "\n")
    return result
