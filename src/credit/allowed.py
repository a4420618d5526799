"""Which values each option may take alone; combinations are `CreditConfig`'s own to refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from credit.contrast import NEGATIVES_FROM
from credit.divergences import DIVERGENCES, INSERTIONS, TAILS
from credit.methods import get_method
from credit.rewards import FORMS, GENERIC_MEANS
from credit.teacher import KINDS

LEVELS = ("vocabulary", "token")
BLENDS = ("none", "loss", "advantage")
FEEDBACK_WHEN = ("without_solution", "always", "never")
TOKEN_CREDIT = ("immediate", "to_go")
SCORED_BY = ("trainer", "server")
BASELINES = ("expected", "batch_mean", "none")

_CHOICES = {
    "form": FORMS,
    "negatives_from": NEGATIVES_FROM,
    "generic_mean": GENERIC_MEANS,
    "level": LEVELS,
    "divergence": DIVERGENCES,
    "jsd_lambda": INSERTIONS,
    "tail": TAILS,
    "token_credit": TOKEN_CREDIT,
    "baseline": BASELINES,
    "blend": BLENDS,
    "teacher": KINDS,
    "teacher_scored_by": SCORED_BY,
    "feedback_when": FEEDBACK_WHEN,
}
_RANGES: dict[str, tuple[Any, str]] = {
    "lam": (
        lambda v: 0 <= v < float("inf"),
        "a negative one pays for generic tokens; use a finite number >= 0",
    ),
    "learning_rate": (lambda v: 0 <= v < float("inf"), "use a finite number >= 0"),
    "max_completion_length": (lambda v: v is None or v >= 1, "use at least 1 token"),
    "temperature": (lambda v: v > 0, "rollouts are sampled; use a temperature above 0"),
    "max_steps": (lambda v: v != 0, "use a number of steps, or -1 to train by num_train_epochs"),
    "num_train_epochs": (lambda v: v > 0, "nothing would be trained; use a positive number"),
    "num_negatives": (lambda v: v >= 1, "use at least 1, or lam=0 for no contrast"),
    "contrast_floor": (lambda v: v < 0, "it is a log-probability; use a negative number such as -20"),
    "jsd_alpha": (lambda v: 0 <= v <= 1, "use a mixture weight in [0, 1]"),
    "support_size": (lambda v: v == 0 or v >= 2, "use 0 for the full vocabulary, or at least 2 tokens"),
    "gamma": (lambda v: 0 < v <= 1, "use a discount in (0, 1]"),
    "blend_weight": (
        lambda v: v > 0,
        "a blend without weight is idle; use a positive number, or blend='none'",
    ),
    "importance_cap": (lambda v: v == 0 or v >= 1, "use 0 (off) or a cap of at least 1"),
    "ema_rate": (
        lambda v: 0 < v <= 1,
        "use the share of the *student*, in (0, 1]; for none use teacher='frozen'",
    ),
    "max_teacher_prompt_length": (lambda v: v >= 16, "use at least 16 tokens"),
    "chunk_tokens": (lambda v: v >= 0, "use 0 (by size of the vocabulary) or a number of tokens"),
    "credit_log_steps": (lambda v: v >= 0, "use 0 (never) or a number of steps"),
    "credit_log_rollouts": (lambda v: v >= 1, "use at least 1"),
    "credit_log_watched": (lambda v: v >= 0, "use 0 (none) or a number of rollouts"),
    "credit_log_alternatives": (lambda v: v >= 0, "use 0 (none) or a number of tokens"),
    "rlsd_weight": (lambda v: 0 <= v <= 1, "use a share in [0, 1]"),
    "rlsd_decay_steps": (lambda v: v >= 1, "use at least 1 step"),
    "rlsd_clip": (lambda v: 0 < v < 1, "use a number in (0, 1)"),
    "rlcsd_scale": (lambda v: v > 0, "use a positive number"),
    "rlcsd_weight": (lambda v: 0 < v <= 1, "use a share in (0, 1]"),
    "rlcsd_temperature": (lambda v: v > 0, "use a positive number of nats"),
    "antisd_gate": (lambda v: v >= 0, "an entropy is never negative; 0 is no gate"),
    "srpo_beta": (lambda v: v >= 0, "a negative one would trust unsure teachers most; use 0 or more"),
    "idle_warning_steps": (lambda v: v >= 1, "use at least 1"),
}


def check_values(options: Mapping[str, Any]) -> None:
    """Raise ValueError for the first option whose value alone is not allowed; names of other options are ignored."""
    if "method" in options:
        get_method(options["method"])
    for name, known in _CHOICES.items():
        if name in options and options[name] not in known:
            raise ValueError(f"{name}={options[name]!r} is unknown. Use one of {', '.join(known)}.")
    for name, (holds, rule) in _RANGES.items():
        if name in options and not holds(options[name]):
            raise ValueError(f"{name}={options[name]} is not allowed: {rule}.")
