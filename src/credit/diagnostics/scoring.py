"""Token credit of any rollouts under any model, with the trainer's own views and kernel; nothing is generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from credit.allowed import check_values
from credit.config import CreditConfig
from credit.context import DEFAULT_TEMPLATE, TeacherTemplate, completion_text, strip_thinking
from credit.contrast import prompt_key
from credit.credit_log import spread, token_lists
from credit.diagnostics.offsets import token_ends
from credit.diagnostics.rollouts import Rollouts
from credit.kernel import LossOptions, Views, token_credit, token_logps
from credit.methods import get_method
from credit.passes import response_hidden
from credit.sampling import prompt_ids
from credit.scoring import check_head, head_of, with_response_head
from credit.tree_attention import why_not, with_tree_attention
from credit.views import Batch, Plan, Planner, describe

BATCH = 8
"""Rollouts per forward pass."""


@dataclass(frozen=True)
class ScoreOptions:
    """The options of `CreditConfig` that decide what a token earns; see `docs/options.md`."""

    method: str
    form: str
    lam: float
    num_negatives: int
    negatives_from: str
    generic_mean: str
    contrast_floor: float
    feedback_when: str
    success_threshold: float
    strip_solution_thinking: bool
    max_teacher_prompt_length: int
    chunk_tokens: int
    cast_lm_head_to_fp32: bool
    temperature: float
    seed: int
    credit_log_alternatives: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ScoreOptions:
        """Take what `settings` holds, for example a run's `config.yaml`, and the defaults of `CreditConfig` else."""
        defaults = {f.name: f.default for f in fields(CreditConfig)}
        chosen = cls(**{f.name: settings.get(f.name, defaults[f.name]) for f in fields(cls)})
        check_values(vars(chosen))
        if not get_method(chosen.method).needs_teacher:
            raise ValueError(f"method={chosen.method!r} has no teacher, so no token earns credit. Use method='credit'.")
        return chosen


def score_rollouts(
    model: Any,
    tokenizer: Any,
    rollouts: Rollouts,
    options: ScoreOptions,
    teacher: Any = None,
    template: TeacherTemplate = DEFAULT_TEMPLATE,
    template_options: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Rollouts:
    """Return the rollouts with token credit, in the format of `credit_log`.

    Args:
        model: the student, a causal language model.
        tokenizer: its tokenizer.
        rollouts: rows with `prompt` and `completion`, and where known `token_ids`, `score`, `feedback`, `solution`. If
            no row has a `solution`, successful siblings of the same prompt are shown, as in training.
        options: form, lambda, negatives.
        teacher: a model with the teacher's own weights; without it the student's weights teach.
        template: the teacher's words.
        template_options: of the chat template.
        progress: called with the number of rollouts done.
    """
    student_model, teacher_model = _ready(model, tokenizer), model if teacher is None else _ready(teacher, tokenizer)
    texts = [row["completion"] for row in rollouts.rows]
    ids = [_response_ids(row, tokenizer) for row in rollouts.rows]
    problems: list[str] = []  # what the input lacked is scored now
    if any(row.get("token_ids") is None for row in rollouts.rows):
        problems.append(f"{rollouts.name} has no token_ids: completions were tokenised again, without an end token.")
    batch = _batch(rollouts, texts, options)
    contexts = None
    if any(row.get("solution") for row in rollouts.rows):
        contexts = [(row.get("solution") or None, row.get("feedback") or None) for row in rollouts.rows]
    lam = options.lam if get_method(options.method).contrast == "inputs" else 0.0
    template_options = dict(template_options or {})
    planner = Planner(
        tokenize=lambda prompts: [prompt_ids(tokenizer, p, template_options) for p in prompts],
        tokenizer=tokenizer,
        template=template,
        feedback_when=options.feedback_when,
        num_negatives=options.num_negatives if lam > 0 else 0,
        without_feedback=options.form == "feedback_contrast",
        same_family=options.negatives_from == "same_family",
    )
    plan = planner.plan(batch, range(len(texts)), _limits(model, options, ids), options.seed, contexts)
    problems += _of_plan(plan, rollouts, contexts is not None)
    plain = planner.tokenize(list(batch.prompts))
    vocabulary = model.get_input_embeddings().weight.shape[0]
    for index, response in enumerate(ids):
        if response and max(response) >= vocabulary:
            raise ValueError(
                f"{rollouts.where(index)}: token id {max(response)} is outside the model's vocabulary ({vocabulary}). "
                "Was it written with another tokenizer? Drop token_ids to tokenise the text again."
            )
    own = [
        _own(row, response, rollouts.where(i)) for i, (row, response) in enumerate(zip(rollouts.rows, ids, strict=True))
    ]
    if not all(map(all, own)) and "tools" not in template_options:
        problems.append(
            f"{rollouts.name} holds what tools answered, but no tools are described in the prompts: pass them in "
            "template_options to score what the model read."
        )
    scorer = _Scorer(student_model, teacher_model, tokenizer, options, lam)
    name_tokens = tokenizer.convert_ids_to_tokens
    rows = []
    for start in range(0, len(texts), BATCH):
        part = [i for i in range(start, min(start + BATCH, len(texts))) if ids[i]]
        columns = scorer.columns(part, plan, plain, ids, own) if part else {}
        for i in range(start, min(start + BATCH, len(texts))):
            place = part.index(i) if i in part else None
            rows.append(
                {
                    **rollouts.rows[i],
                    **describe(plan, batch, i, i, tokenizer.decode),
                    "prompt": batch.prompts[i],
                    "row": i,
                    "token_ids": ids[i],
                    "own": own[i],
                    "tokens": name_tokens(ids[i]),
                    "ends": token_ends(ids[i], lambda x: tokenizer.decode(x, skip_special_tokens=True), texts[i]),
                    **({} if place is None else token_lists(columns, place, len(ids[i]), name_tokens)),
                }
            )
        progress(min(BATCH, len(texts) - start))
    other = sum(row["ends"] is None for row in rows)
    if other:
        problems.append(f"The token_ids of {other} responses do not spell their completion; the tokens were scored.")
    return Rollouts(rollouts.name, rows, problems, rollouts.places)


class _Scorer:
    """Columns of token credit for a few rollouts at a time."""

    def __init__(self, student: Any, teacher: Any, tokenizer: Any, options: ScoreOptions, lam: float):
        self.student, self.teacher, self.tokenizer, self.options, self.lam = student, teacher, tokenizer, options, lam
        self.as_tree = {model: why_not(model, len(tokenizer)) is None for model in (student, teacher)}
        self.head = head_of(student, options.temperature, options.cast_lm_head_to_fp32)
        self.teacher_head = head_of(teacher, options.temperature, options.cast_lm_head_to_fp32)
        method = get_method(options.method)
        assert method.target is not None
        self.target = method.target
        # Only the floor and the chunk size matter when tokens are scored; no loss is taken.
        floor, chunk = options.contrast_floor, options.chunk_tokens
        self.loss = LossOptions("reverse_kl", 0.5, "target", None, "exact", floor, chunk, options.generic_mean)

    def columns(
        self, part: list[int], plan: Plan, plain: list[list[int]], ids: list[list[int]], own: list[list[bool]]
    ) -> dict[str, Tensor]:
        device = next(self.student.parameters()).device
        width = max(len(ids[i]) for i in part)
        ids_BT = torch.full((len(part), width), self.tokenizer.pad_token_id, device=device)
        mask_BT = torch.zeros_like(ids_BT)
        own_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
        for place, i in enumerate(part):
            ids_BT[place, : len(ids[i])] = torch.tensor(ids[i], device=device)
            mask_BT[place, : len(ids[i])] = 1
            own_BT[place, : len(ids[i])] = torch.tensor(own[i], device=device)

        def hidden(model: Any, views: list[list[list[int]]]) -> Tensor:
            chosen = [[view[i] for i in part] for view in views]
            wanted = has_teacher.expand(len(views), -1)
            return response_hidden(model, chosen, ids_BT, mask_BT, len(part), wanted, self.as_tree[model])

        has_teacher = torch.tensor([any(plan.contexts[i]) for i in part], device=device)
        where = own_BT & has_teacher.unsqueeze(1)
        labels_N = ids_BT[where]
        own_BTD, *others = hidden(self.teacher, [plan.own, *plan.contrast, *plan.nofeedback])
        views = Views(teacher_ND=own_BTD[where], lam=self.lam)
        if plan.negatives is not None:
            available = (plan.negatives[part] >= 0).to(device)
            views.available_NC = available.unsqueeze(1).expand(*where.shape, -1)[where]
            views.contrast_NCD = torch.stack([h[where] for h in others[: len(plan.contrast)]], dim=1)
        if plan.nofeedback:
            views.nofeedback_NCD = torch.stack([h[where] for h in others[len(plan.contrast) :]], dim=1)

        def target(logp_teacher: Tensor, generic: Any, generic0: Any, lam: Any) -> Tensor:
            return self.target(logp_teacher, generic, generic0, lam, self.options.form)

        student_ND = hidden(self.student, [plain])[0][where]
        scores = token_credit(
            student_ND, labels_N, self.head, views, self.teacher_head, target, self.loss,
            self.options.credit_log_alternatives,
        )  # fmt: skip
        scores["logp_teacher_nofeedback"] = torch.full_like(scores["r"], torch.nan)
        if self.teacher is not self.student:
            prior_ND = hidden(self.teacher, [plain])[0][where]
            found = token_logps(prior_ND, labels_N, self.teacher_head, self.options.chunk_tokens)
            scores["logp_teacher_nofeedback"] = found["logp"]
        return {name: spread(values, where).cpu() for name, values in scores.items()}


def _ready(model: Any, tokenizer: Any) -> Any:
    model.eval()
    with_response_head(model)
    with_tree_attention(model)
    check_head(model, len(tokenizer))
    return model


def _response_ids(row: Mapping[str, Any], tokenizer: Any) -> list[int]:
    if row.get("token_ids") is not None:
        return [int(i) for i in row["token_ids"]]
    return tokenizer(row["completion"], add_special_tokens=False)["input_ids"] if row["completion"] else []


def _own(row: Mapping[str, Any], response: list[int], where: str) -> list[bool]:
    """Return which tokens the model wrote: all, unless the row says otherwise."""
    marks = row.get("own")
    if marks is None:
        return [True] * len(response)
    if len(marks) != len(response):
        raise ValueError(
            f"{where}: field 'own' has {len(marks)} values for {len(response)} tokens. It needs one for "
            "each of token_ids."
        )
    return [bool(mark) for mark in marks]


def _batch(rollouts: Rollouts, texts: Sequence[str], options: ScoreOptions) -> Batch:
    clean = strip_thinking if options.strip_solution_thinking else completion_text
    prompts = [row["prompt"] for row in rollouts.rows]
    groups: dict[str, int] = {}
    return Batch(
        prompts=prompts,
        texts=[clean(text) for text in texts],
        feedback=[row.get("feedback") or None for row in rollouts.rows],
        succeeded=[(row.get("score") or 0.0) >= options.success_threshold for row in rollouts.rows],
        groups=[groups.setdefault(prompt_key(prompt), len(groups)) for prompt in prompts],
        families=[row.get("family") for row in rollouts.rows],
    )


def _limits(model: Any, options: ScoreOptions, ids: Sequence[Sequence[int]]) -> list[int]:
    """Return the longest teacher prompt of each response: what its context leaves, at most the option."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = options.max_teacher_prompt_length
    return [longest if positions is None else min(longest, positions - len(response)) for response in ids]


def _of_plan(plan: Plan, rollouts: Rollouts, recorded: bool) -> list[str]:
    """Say what the views had to leave out, and which options were not needed."""
    said = []
    if recorded:
        said.append(f"{rollouts.name} names solutions: they are shown as they are, whatever feedback_when says.")
    if plan.cut:
        said.append(f"Solution or feedback of {plan.cut} responses was shortened to fit the context.")
    if plan.dropped:
        first = rollouts.where(plan.dropped[0])
        said.append(f"Nothing of it fitted for {len(plan.dropped)} responses (first: {first}): they have no teacher.")
    return said
