"""RLCSD: contrast right with wrong hints under the same input, and let that modulate the group advantage. Token level.

    e_t = log p_T(y_t | x, right) - log mean_k p_T(y_t | x, wrong_k)
    A_t = A + clip(beta m tanh(e_t / tau), -2, 2), and the sign of A never flips

A hint is an answer of the same prompt group, shown as the solution; K = `num_negatives` wrong ones. Where CREDIT swaps
the input and takes the mean of logs, this swaps the hint and takes the log of the mean.

Deviations: "never flips" is read as clipping at 0, so A = 0 stays 0; right and wrong hints are drawn at random from the
group; tokens without a right or without a wrong hint keep A.
"""

from typing import Any

import torch
from torch import Tensor

from credit.methods.base import Method, Scored, plain_teacher

LIMIT = 2.0
"""Most that a token's advantage is moved (paper, second-hand)."""


def advantage(scored: Scored, options: Any) -> Tensor:
    """Return A plus a bounded step towards what only the right hint makes likely; (B, T)."""
    held = ~scored.logp_contrast.isnan()
    count = held.sum(-1)
    wrong = scored.logp_contrast.masked_fill(~held, -torch.inf).logsumexp(-1) - count.clamp(min=1).log()
    evidence = scored.logp_teacher - wrong
    step = options.rlcsd_scale * options.rlcsd_weight * torch.tanh(evidence / options.rlcsd_temperature)
    moved = scored.group + step.clamp(-LIMIT, LIMIT)
    sign = scored.group.sign()
    return torch.where(count > 0, sign * (sign * moved).clamp(min=0), scored.group)


RLCSD = Method(
    name="rlcsd",
    summary="group advantage plus a contrast of right and wrong answers as hints",
    source="arXiv 2606.11709",
    target=plain_teacher,
    contrast="answers",
    advantage=advantage,
    reads=("rlcsd_scale", "rlcsd_weight", "rlcsd_temperature"),
)
