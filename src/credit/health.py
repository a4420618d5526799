"""Whether credit reaches the rollouts: shares to log, and a loud word when something has been missing for long."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from credit.methods import Method
from credit.views import Batch, Plan

COUNTED: tuple[str, ...] = ("no_teacher", "with_solution", "with_feedback", "context_cut", "no_negative")

_ADVICE = {
    "teacher": "no rollout had a teacher: no group had a success, and no feedback was returned. Return "
    "(score, feedback), check success_threshold, or use easier prompts.",
    "negative": "no rollout had an unrelated input that fits: credit was plain self-distillation. Raise "
    "max_teacher_prompt_length, or mix more prompts.",
    "feedback": "the reward functions returned no feedback. Return (score, feedback), or set feedback_when='never'.",
}
_BY_GROUP_ALONE = (
    "the teacher had no say in any token: all learned by the group advantage alone, as in GRPO. So it is with rlsd "
    "after rlsd_decay_steps, with rlsd and rlcsd while the answers of each prompt score the same, with antisd while "
    "the teacher's entropy is below antisd_gate, and with srpo while no wrong answer has a teacher."
)
_NO_WRONG_ANSWER = (
    "no group held both a right answer to show and a wrong one: advantages were GRPO's. Use prompts of middling "
    "difficulty, more rollouts per prompt, or check success_threshold."
)


def counts(plan: Plan) -> Tensor:
    """Number of this rank's rollouts for each of `COUNTED`."""
    alone = 0 if plan.negatives is None else int((plan.negatives < 0).all(dim=1).sum())
    return torch.tensor(
        [
            sum(not any(z) for z in plan.contexts),
            sum(z[0] is not None for z in plan.contexts),
            sum(z[1] is not None for z in plan.contexts),
            plan.cut,
            alone,
        ],
        dtype=torch.float32,
    )


def by_teacher(method: Method, group_B1: Tensor, output: dict[str, Tensor], active_BT: Tensor) -> Tensor | None:
    """Return the tokens, (B, T), in which the teacher had a say, for methods that hold the group advantage; else None.

    Args:
        method: the method.
        group_B1: the group advantage of each rollout.
        output: the tensors of the generation batch, its `advantages` as they are trained on.
        active_BT: response tokens with a teacher.
    """
    if method.routes is not None:
        return active_BT & output["distilled"].unsqueeze(1)
    if method.advantage is not None:
        return active_BT & (output["advantages"] != group_B1)
    return None


class IdleWatch:
    """Warns once whenever something has been missing for `patience` generation batches in a row.

    Args:
        patience: generation batches.
        warn: what to do with the text.
        contrast: as in `Method`.
    """

    def __init__(self, patience: int, warn: Callable[[str], None], contrast: str | None = "inputs"):
        self.patience, self.warn = patience, warn
        self._advice = {**_ADVICE, "negative": _NO_WRONG_ANSWER} if contrast == "answers" else _ADVICE
        self._advice = {**self._advice, "method": _BY_GROUP_ALONE}
        self._idle = dict.fromkeys(self._advice, 0)

    def look(self, shares: dict[str, float], batch: Batch, expects_feedback: bool) -> None:
        """Look at the shares of one generation batch, over all ranks."""
        missing = {
            "teacher": shares["no_teacher"] == 1,
            "negative": shares.get("no_negative") == 1,
            "feedback": expects_feedback and not any(batch.feedback),
        }
        # Said only where nothing else explains it.
        missing["method"] = shares.get("by_teacher") == 0 and not (missing["teacher"] or missing["negative"])
        for what, idle in missing.items():
            self._idle[what] = self._idle[what] + 1 if idle else 0
            if self._idle[what] == self.patience:
                self.warn(f"For {self.patience} generation batches {self._advice[what]}")
