"""What token credit says about a set of rollouts: means over prompts with intervals, and every gap named."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from credit.contrast import prompt_key
from credit.diagnostics.marks import TaskMarks
from credit.diagnostics.measures import SCORES, Measures, OddRollout, measure
from credit.diagnostics.rollouts import Rollouts
from credit.statistics import bootstrap_mean, bootstrap_ratio

SUCCESS = 1.0
NAMED = 5
"""Problems of one kind spelled out; the rest is counted."""

Estimate = dict[str, float | None]

MEANING = {
    "pmi": "pMI of response and feedback, nats per response: the sum of r",
    "pmi_of_successes": "the same, responses that score a success",
    "pmi_of_failures": "the same, all others with a score",
    "r_per_token": "self-distillation reward log p_T - log p, nats per token",
    "S_per_token": "input-specific part log p_T - G, nats per token",
    "G_per_token": "input-generic part, nats per token",
    "R_per_token": "credit as the method defines it, nats per token",
    "weight_gap_per_token": "log p - log p_T0, nats per token: what the teacher's own weights take from r",
    "credit_on_generic_tokens": "share of |R| on tokens the input hardly changes (|S| <= log 2)",
    "generic_tokens": "share of tokens that are such: what even credit would give them",
    "credit_on_answer_tokens": "share of |R| on tokens that carry the answer",
    "answer_tokens": "share of tokens that do",
    "auroc_answer_r": "how well |r| points at answer tokens (AUROC, 0.5 is chance)",
    "auroc_answer_S": "how well |S| does",
    "auroc_answer_R": "how well |R| does",
    "auroc_boilerplate_r": "how well |r| tells answer tokens from boilerplate (AUROC)",
    "auroc_boilerplate_S": "how well |S| does",
    "auroc_boilerplate_R": "how well |R| does",
    "auroc_error_r": "how well -r points at the first wrong token (AUROC)",
    "auroc_error_S": "how well -S does",
    "auroc_error_R": "how well -R does",
}
"""Every number of the summary, in the order it is shown."""


def diagnose(
    rollouts: Rollouts | Sequence[Mapping[str, Any]], task: Any = None, success: float = SUCCESS
) -> dict[str, Any]:
    """Measure scored rollouts; see `docs/diagnostics.md` for every number.

    Args:
        rollouts: rows with token credit, as written by training or by `score_rollouts`. Those `scored_again` are left
            out.
        task: what it knows about the text of responses (see `TaskMarks`).
        success: score from which a response counts as a success.

    Returns:
        `counts`, `summary` (name -> estimate with n, mean, low, high over prompts; None where a quantity does not
        exist), `responses` (the numbers of each), `problems` (sentences).
    """
    if not isinstance(rollouts, Rollouts):
        rollouts = Rollouts("rollouts", [dict(row) for row in rollouts])
    known = TaskMarks(task)
    counts: Counter[str] = Counter(responses=sum(not row.get("scored_again") for row in rollouts.rows))
    problems, responses, measured, odd = list(rollouts.problems), [], [], []
    for index, row in enumerate(rollouts.rows):
        if row.get("scored_again"):
            continue  # old answers: they would count their prompt once more, and say nothing about this step's
        try:
            marks = known.of(row)
            found = measure(row, marks)
        except OddRollout as problem:
            counts["odd"] += 1
            odd.append(f"{rollouts.where(index)}: {problem}; left out.")
            continue
        if found is None:
            counts["without_teacher"] += 1
            continue
        counts["measured"] += 1
        counts["tokens"] += found.tokens
        counts["without_negative"] += found.S is None
        counts["without_task_knowledge"] += marks.bearing is None
        measured.append((prompt_key(row.get("prompt") or ""), row.get("score"), found))
        place = {"file": rollouts.name, "row": index + 1, "step": row.get("step"), "score": row.get("score")}
        responses.append({**place, **asdict(found)})
    problems += odd[:NAMED] + ([f"{len(odd) - NAMED} more responses are left out like these."] if odd[NAMED:] else [])
    problems += known.problems
    if not measured:
        problems.append("No response could be measured: each is odd or has no teacher.")
    return {
        "counts": dict(counts),
        "summary": _summary(measured, success),
        "responses": responses,
        "problems": problems,
    }


def _summary(measured: list[tuple[str, Any, Measures]], success: float) -> dict[str, Estimate | None]:
    def mean(value: Callable[[Measures], float | None], keep: Callable[[Any], bool] = lambda score: True) -> Any:
        by_prompt: dict[str, list[float]] = {}
        for key, score, found in measured:
            number = value(found)
            if number is not None and keep(score):
                by_prompt.setdefault(key, []).append(number)
        return estimate(bootstrap_mean([math.fsum(v) / len(v) for v in by_prompt.values()])) if by_prompt else None

    def share(part: Callable[[Measures], float | None], whole: Callable[[Measures], float]) -> Any:
        by_prompt: dict[str, list[tuple[float, float]]] = {}
        for key, _, found in measured:
            number = part(found)
            if number is not None:
                by_prompt.setdefault(key, []).append((number, whole(found)))
        # Means over the rollouts of a prompt: a prompt with many rollouts counts no more than others.
        means = [tuple(math.fsum(v) / len(v) for v in zip(*pairs, strict=True)) for pairs in by_prompt.values()]
        if not means or not sum(whole for _, whole in means) > 0:
            return None
        return estimate(bootstrap_ratio([part for part, _ in means], [whole for _, whole in means]))

    def per_token(name: str) -> Callable[[Measures], float | None]:
        def value(found: Measures) -> float | None:
            total = getattr(found, name)
            return None if total is None else total / found.tokens

        return value

    summary = {
        "pmi": mean(lambda m: m.pmi),
        "pmi_of_successes": mean(lambda m: m.pmi, lambda score: score is not None and score >= success),
        "pmi_of_failures": mean(lambda m: m.pmi, lambda score: score is not None and score < success),
        **{f"{label}_per_token": mean(per_token(name)) for label, name in
           (("r", "pmi"), ("S", "S"), ("G", "G"), ("R", "R"), ("weight_gap", "weight_gap"))},
        "credit_on_generic_tokens": share(lambda m: m.generic_credit, lambda m: m.credit),
        "generic_tokens": share(lambda m: m.generic_tokens, lambda m: m.tokens),
        "credit_on_answer_tokens": share(lambda m: m.bearing_credit, lambda m: m.credit),
        "answer_tokens": share(lambda m: m.bearing_tokens, lambda m: m.tokens),
    }  # fmt: skip
    for name in SCORES:
        summary[f"auroc_answer_{name}"] = mean(lambda m, name=name: m.auroc_bearing[name])
        summary[f"auroc_boilerplate_{name}"] = mean(lambda m, name=name: m.auroc_boilerplate[name])
        summary[f"auroc_error_{name}"] = mean(lambda m, name=name: m.auroc_error[name])
    return {name: summary[name] for name in MEANING}


def estimate(found: Mapping[str, float]) -> Estimate:
    """Drop the interval of a single prompt: resampling it would draw one of no width."""
    return {**found, "low": None, "high": None} if found["n"] == 1 else {**found}
