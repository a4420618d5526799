"""SRPO: right answers learn from the verifier, wrong ones from the self-teacher. Vocabulary level.

Rollouts that succeeded: GRPO. Rollouts that failed and have a teacher: the divergence to the teacher, each token
weighted by exp(-beta H_T), H_T the teacher's entropy: an unsure teacher teaches less.

Deviations: failed rollouts without a teacher are left to GRPO; the divergence is a mean over its own tokens, added to
GRPO's loss with weight 1 (ours).
"""

from typing import Any

from torch import Tensor

from credit.methods.base import Method, plain_teacher


def weight(teacher_entropy_N: Tensor, options: Any) -> Tensor:
    """Return exp(-beta H_T)."""
    return (-options.srpo_beta * teacher_entropy_N).exp()


def routes(succeeded_B: Tensor, has_teacher_B: Tensor) -> Tensor:
    """Return which rollouts are GRPO's."""
    return succeeded_B | ~has_teacher_B


SRPO = Method(
    name="srpo",
    summary="GRPO on right answers, weighted self-distillation on wrong ones",
    source="arXiv 2604.02288",
    target=plain_teacher,
    weight=weight,
    routes=routes,
    reads=("srpo_beta",),
)
