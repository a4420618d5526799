"""RLSD: the verifier says which way, the self-teacher how far. Token level.

    A_t = A [(1 - m) + m clip(exp(sign(A) Delta_t), 1 - e, 1 + e)],   Delta_t = log p_T(y_t) - log p(y_t)

m falls from `rlsd_weight` to 0 over `rlsd_decay_steps` optimiser steps. Deviations: the fall is linear (its shape is
not known); tokens without a teacher keep A.
"""

from typing import Any

import torch
from torch import Tensor

from credit.methods.base import Method, Scored, plain_teacher


def advantage(scored: Scored, options: Any) -> Tensor:
    """Return A, scaled by how much the teacher agrees with its sign; (B, T)."""
    m = options.rlsd_weight * max(0.0, 1 - scored.step / options.rlsd_decay_steps)
    ratio = (scored.group.sign() * (scored.logp_teacher - scored.logp_student)).exp()
    return scored.group * ((1 - m) + m * torch.clamp(ratio, 1 - options.rlsd_clip, 1 + options.rlsd_clip))


RLSD = Method(
    name="rlsd",
    summary="group advantage, its size per token by the self-teacher",
    source="arXiv 2604.03128",
    target=plain_teacher,
    advantage=advantage,
    reads=("rlsd_weight", "rlsd_decay_steps", "rlsd_clip"),
)
