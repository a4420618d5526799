"""Whether credit reaches the rollouts: shares to log, and a loud word when something has been missing for long."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from credit.views import Batch, Plan

COUNTED: tuple[str, ...] = ("no_teacher", "with_solution", "with_feedback", "context_cut", "no_negative")

_ADVICE = {
    "teacher": "no rollout had a teacher: no group had a success, and no feedback was returned. Return "
    "(score, feedback), check success_threshold, or use easier prompts.",
    "negative": "no rollout had an unrelated input that fits: credit was plain self-distillation. Raise "
    "max_teacher_prompt_length, or mix more prompts.",
    "feedback": "the reward functions returned no feedback. Return (score, feedback), or set feedback_when='never'.",
}
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
        self._idle = dict.fromkeys(_ADVICE, 0)

    def look(self, shares: dict[str, float], batch: Batch, expects_feedback: bool) -> None:
        """Look at the shares of one generation batch, over all ranks."""
        missing = {
            "teacher": shares["no_teacher"] == 1,
            "negative": shares.get("no_negative") == 1,
            "feedback": expects_feedback and not any(batch.feedback),
        }
        for what, idle in missing.items():
            self._idle[what] = self._idle[what] + 1 if idle else 0
            if self._idle[what] == self.patience:
                self.warn(f"For {self.patience} generation batches {self._advice[what]}")
