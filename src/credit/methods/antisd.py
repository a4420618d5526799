"""AntiSD: push away from what the teacher says only because it was told. Token level.

    A_t = A - (softplus(Delta_t) - log 2) / 2,   Delta_t = log p_T(y_t) - log p(y_t)

Deviations: the paper's values were not seen; its gate against a collapsing teacher is, here, that a token whose teacher
has an entropy below `antisd_gate` nats keeps A; tokens without a teacher keep A.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from credit.methods.base import Method, Scored, plain_teacher


def advantage(scored: Scored, options: Any) -> Tensor:
    """Return A minus half of how much more the teacher likes the token than even; (B, T)."""
    push = (softplus(scored.logp_teacher - scored.logp_student) - math.log(2)) / 2
    open_gate = scored.teacher_entropy >= options.antisd_gate
    return torch.where(open_gate, scored.group - push, scored.group)


ANTISD = Method(
    name="antisd",
    summary="group advantage minus what the teacher favours only because it was told",
    source="arXiv 2605.11609",
    target=plain_teacher,
    advantage=advantage,
    reads=("antisd_gate",),
)
