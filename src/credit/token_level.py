"""Credit of the sampled tokens of a generation batch: advantages for `level="token"`, and the credit viewer's files.

Called by `CreditTrainer` once per generation batch, when either is wanted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from credit.context import completion_text
from credit.credit_log import spread, token_lists, write_token_credit
from credit.diagnostics.offsets import token_ends
from credit.diagnostics.sampled import token_metrics
from credit.kernel import token_credit, token_logps
from credit.rewards import token_advantages
from credit.views import Batch, Plan, describe


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
    hidden_BTD = trainer._hidden(trainer.model, prompts, output)
    with torch.no_grad():
        scores = token_credit(
            hidden_BTD[active],
            output["completion_ids"][active],
            trainer._head(trainer._student),
            trainer._views(output, active),
            trainer._teacher_head,
            trainer._target,
            args.loss_options(),
            args.credit_log_alternatives if written else 0,
        )
    credit_BT = {name: spread(values, active) for name, values in scores.items()}
    if args.level == "token":
        advantage_BT = token_advantages(
            credit_BT["R"], credit_BT["baseline"], active, args.token_credit, args.gamma, args.baseline,
            trainer._global_mean,
        )  # fmt: skip
        if args.blend == "advantage":
            group = output["advantages"].unsqueeze(1)
            advantage_BT = args.blend_weight * group + (1 - args.blend_weight) * advantage_BT
        output["advantages"] = advantage_BT
        for name in ("teacher_hidden", "contrast_hidden", "nofeedback_hidden"):
            output.pop(name, None)  # advantages are all the loss needs
    if written:
        credit_BT["logp_teacher_nofeedback"] = _without_feedback(trainer, prompts, output, active)
    for name, (part_BT, whole_BT) in token_metrics(credit_BT, active).items():
        ratio = trainer._global_ratio(part_BT.sum(), whole_BT.sum())
        trainer._metrics["train"][f"credit/{name}"].append(ratio.item())
    if written and trainer.accelerator.is_main_process:
        _write_credit(trainer, credit_BT, output, plan, batch, rows)


def _without_feedback(trainer: Any, prompts: list[list[int]], output: dict[str, Any], active: Tensor) -> Tensor:
    """Log-probabilities of the teacher's own weights without feedback; NaN where it has none of its own."""
    if trainer.teacher.kind == "live":
        return torch.full(active.shape, torch.nan, device=active.device)
    hidden_BTD = trainer._hidden(trainer.teacher.model, prompts, output)
    labels_N = output["completion_ids"][active]
    return spread(token_logps(hidden_BTD[active], labels_N, trainer._teacher_head, trainer.args.chunk_tokens), active)


def _write_credit(
    trainer: Any, credit_BT: dict[str, Tensor], output: dict[str, Any], plan: Plan, batch: Batch, rows: range
) -> None:
    graded, tokenizer, step = trainer._graded, trainer._text, trainer.state.global_step
    # One rollout of every group before a second of any, so that a file shows many prompts.
    order = sorted(range(len(rows)), key=lambda i: (i % trainer.group_size, i))
    own_BT = trainer._response_mask(output)
    rollouts = []

    def decode(ids: Any) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True)

    for i in order[: trainer.args.credit_log_rollouts]:
        ids = output["completion_ids"][i][output["completion_mask"][i].bool()].tolist()
        # With tools the text is all that the tokens say: a conversation has no other text they would spell.
        text = decode(ids) if "tool_mask" in output else completion_text(graded.completions[i])
        rollouts.append(
            {
                "step": step,
                "row": rows[i],
                "family": graded.families[i],
                "score": graded.all_scores[rows[i]],
                "completion": text,
                "token_ids": ids,
                "tokens": tokenizer.convert_ids_to_tokens(ids),
                "ends": token_ends(ids, decode, text),
                "own": own_BT[i, : len(ids)].tolist(),
                **describe(plan, batch, i, rows[i], tokenizer.decode),
                **token_lists(credit_BT, i, len(ids), tokenizer.convert_ids_to_tokens),
            }
        )
    write_token_credit(trainer._folder / "credit" / f"step_{step:06d}.parquet", rollouts)
