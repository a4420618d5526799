"""Credit of the sampled tokens of a generation batch: advantages for `level="token"`, and the credit viewer's files.

Called by `CreditTrainer` once per generation batch, when either is wanted.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from credit.context import completion_text
from credit.credit_log import spread, token_lists, write_token_credit
from credit.diagnostics.offsets import token_ends
from credit.diagnostics.sampled import token_metrics
from credit.kernel import token_credit, token_logps
from credit.methods import Scored
from credit.rewards import token_advantages
from credit.views import Batch, Plan, describe
from credit.watched import Watched, current, watched_file


def score_tokens(
    trainer: Any, output: dict[str, Any], plan: Plan, batch: Batch, rows: range, active: Tensor, written: bool
) -> None:
    """Score every sampled token of the local rollouts, log the means, and do what the options ask for.

    Args:
        trainer: a `CreditTrainer` that holds this batch's teacher head.
        output: the batch-first tensors of the generation batch; at `level="token"` its `advantages` become (B, T).
        plan: the views the teachers read.
        batch: the rollouts of all ranks.
        rows: those of this rank.
        active: response tokens with a teacher, (B, T).
        written: whether a few rollouts go to disk.
    """
    args = trainer.args
    prompts = [ids[mask.bool()].tolist() for ids, mask in zip(output["prompt_ids"], output["prompt_mask"], strict=True)]
    credit_BT = _columns(trainer, prompts, output, active, written)
    for name, (part_BT, whole_BT) in token_metrics(credit_BT, active).items():
        ratio = trainer._global_ratio(part_BT.sum(), whole_BT.sum())
        trainer._metrics["train"][f"credit/{name}"].append(ratio.item())
    if written:
        _write(trainer, credit_BT, prompts, output, plan, batch, rows)
    if trainer.method.advantage is not None:
        group_B1 = output["advantages"].unsqueeze(1)
        seen = {name: credit_BT[name] for name in ("logp_student", "logp_teacher", "logp_contrast", "teacher_entropy")}
        found_BT = trainer.method.advantage(Scored(**seen, group=group_B1, step=trainer.state.global_step), args)
        output["advantages"] = torch.where(active, found_BT, group_B1)
        _drop_views(output)
    elif args.level == "token":
        advantage_BT = token_advantages(
            credit_BT["R"], credit_BT["baseline"], active, args.token_credit, args.gamma, args.baseline,
            trainer._global_mean,
        )  # fmt: skip
        if args.blend == "advantage":
            group = output["advantages"].unsqueeze(1)
            advantage_BT = args.blend_weight * group + (1 - args.blend_weight) * advantage_BT
        output["advantages"] = advantage_BT
        _drop_views(output)


def _drop_views(output: dict[str, Any]) -> None:
    """Forget what the teachers read: at token level advantages are all the loss needs."""
    for name in ("teacher_hidden", "contrast_hidden", "nofeedback_hidden"):
        output.pop(name, None)


def _columns(
    trainer: Any, prompts: list[list[int]], output: dict[str, Any], active: Tensor, written: bool
) -> dict[str, Tensor]:
    """Return the columns of token credit on all tokens, (B, T, ...); with all that is written if they are."""
    args = trainer.args
    hidden_BTD = trainer._hidden(trainer.model, [prompts], output, output["has_teacher"].unsqueeze(0))[0]
    labels_N, told = output["completion_ids"][active], args.teacher_scored_by == "server"
    with torch.no_grad():
        scores = token_credit(
            hidden_BTD[active],
            torch.zeros_like(labels_N) if told else labels_N,  # a server tells of one token, the sampled one
            trainer._student_head(),
            trainer._views(output, active),
            trainer._teacher_head,
            trainer._target,
            args.loss_options(),
            args.credit_log_alternatives if written else 0,
            trainer.method.needs_entropy,
        )
    if told:  # an expectation over the vocabulary is not known from one token
        scores["baseline"] = torch.full_like(scores["baseline"], torch.nan)
    credit_BT = {name: spread(values, active) for name, values in scores.items()}
    if written:
        credit_BT["logp_teacher_nofeedback"] = _without_feedback(trainer, prompts, output, active)
    return credit_BT


@torch.no_grad()
def _without_feedback(trainer: Any, prompts: list[list[int]], output: dict[str, Any], active: Tensor) -> Tensor:
    """Log-probabilities of the teacher's own weights without feedback; NaN where it has none of its own."""
    if trainer.teacher.kind == "live":
        return torch.full(active.shape, torch.nan, device=active.device)
    hidden_BTD = trainer._taught([prompts], output, output["has_teacher"].unsqueeze(0))[0]
    labels_N, chunk = output["completion_ids"][active], trainer.args.chunk_tokens
    return spread(token_logps(hidden_BTD[active], labels_N, trainer._teacher_head, chunk)["logp"], active)


def _write(
    trainer: Any,
    credit_BT: dict[str, Tensor],
    prompts: list[list[int]],
    output: dict[str, Any],
    plan: Plan,
    batch: Batch,
    rows: range,
) -> None:
    """Write a few rollouts of this batch, and those of the first file as they score now."""
    args, step, main = trainer.args, trainer.state.global_step, trainer.accelerator.is_main_process
    # One rollout of every group before a second of any, so that a file shows many prompts.
    order = sorted(range(len(rows)), key=lambda i: (i % trainer.group_size, i))
    chosen = order[: args.credit_log_rollouts]
    described = _described(trainer, chosen, output, plan, batch, rows) if main else []
    rollouts = _with_numbers(trainer, described, credit_BT, chosen, again=False)
    if args.credit_log_watched:
        kept = watched_file(trainer._folder, trainer.accelerator.process_index)
        watched = current(kept, step, gather_object)
        if watched is None:
            # Those with a teacher first; as many on every rank, so that later forward passes stay in step.
            best = sorted(range(len(chosen)), key=lambda k: not any(plan.contexts[chosen[k]]))
            del best[args.credit_log_watched :]
            said = [described[k] for k in best] if main else []
            Watched.of([chosen[k] for k in best], prompts, plan, output, said).save(kept)
        else:
            scores_BT = _scored_again(trainer, watched)
            every = list(range(len(watched.prompts)))
            rollouts += _with_numbers(trainer, watched.described, scores_BT, every, again=True)
    if main:
        write_token_credit(trainer._folder / "credit" / f"step_{step:06d}.parquet", rollouts)


def _scored_again(trainer: Any, watched: Watched) -> dict[str, Tensor]:
    output = {name: values.to(trainer.accelerator.device) for name, values in watched.tensors.items()}
    trainer._add_views(output, watched.plan)
    active = trainer._response_mask(output) & output["has_teacher"].unsqueeze(1)
    return _columns(trainer, watched.prompts, output, active, written=True)


def _with_numbers(
    trainer: Any, described: list[dict[str, Any]], scores_BT: dict[str, Tensor], places: list[int], again: bool
) -> list[dict[str, Any]]:
    """Join what is known of rollouts (nothing on other ranks than the main one) with their numbers."""
    step, name_tokens = trainer.state.global_step, trainer._text.convert_ids_to_tokens
    return [
        {**row, "step": step, "scored_again": again, **token_lists(scores_BT, i, len(row["token_ids"]), name_tokens)}
        for i, row in zip(places, described, strict=False)
    ]


def _described(
    trainer: Any, chosen: list[int], output: dict[str, Any], plan: Plan, batch: Batch, rows: range
) -> list[dict[str, Any]]:
    """Return what is known of the chosen rollouts besides their numbers."""
    graded, tokenizer = trainer._graded, trainer._text
    own_BT = trainer._response_mask(output)
    described = []

    def decode(ids: Any) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True)

    for i in chosen:
        ids = output["completion_ids"][i][output["completion_mask"][i].bool()].tolist()
        # With tools the text is all that the tokens say: a conversation has no other text they would spell.
        text = decode(ids) if "tool_mask" in output else completion_text(graded.completions[i])
        described.append(
            {
                "row": rows[i],
                "family": graded.families[i],
                "score": graded.all_scores[rows[i]],
                "completion": text,
                "token_ids": ids,
                "tokens": tokenizer.convert_ids_to_tokens(ids),
                "ends": token_ends(ids, decode, text),
                "own": own_BT[i, : len(ids)].tolist(),
                **describe(plan, batch, i, rows[i], tokenizer.decode),
            }
        )
    return described
