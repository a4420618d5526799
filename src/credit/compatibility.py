"""Is the student the mixture of its teachers? The one assumption of the analysis that can be wrong, as a number.

A teacher is the posterior of *some* feedback model for each feedback value alone: nearly any ratio p_T / p is a
likelihood ratio. All values together must also mix back to the student, sum_z w_z p_T(v | z) = p(v) (derived). These
functions measure how far a set of teachers is from that, in nats. Pure tensors, torch only.
"""

import torch
from torch import Tensor

from credit._shapes import Float
from credit.divergences import reverse_kl


def mixture_gap(
    logp_student_V: Float[Tensor, "*batch V"],
    logp_teacher_ZV: Float[Tensor, "Z *batch V"],
    log_weight_Z: Float[Tensor, "Z *batch"],
) -> Float[Tensor, "*batch"]:
    """Return KL(p || sum_z w_z p_T(. | z)) in nats; 0 exactly when the student is this mixture (ours).

    Args:
        logp_student_V: log p(v), normalised.
        logp_teacher_ZV: log p_T(v | z) for Z feedback values, normalised.
        log_weight_Z: log w_z, normalised over z: how likely each feedback value is.
    """
    return reverse_kl(logp_student_V, (logp_teacher_ZV + log_weight_Z.unsqueeze(-1)).logsumexp(dim=0))


def best_weights(
    logp_student_V: Float[Tensor, "*batch V"],
    logp_teacher_ZV: Float[Tensor, "Z *batch V"],
    rounds: int = 2000,
) -> Float[Tensor, "Z *batch"]:
    """Return the log weights with the smallest `mixture_gap`, by expectation-maximisation from equal weights (ours).

    The problem is convex, so what gap is left cannot be blamed on a wrong guess of how likely each feedback is.
    """
    log_weight_Z = torch.full_like(logp_teacher_ZV[..., 0], 1.0).log_softmax(dim=0)
    p_V = logp_student_V.exp()
    for _ in range(rounds):
        responsibility_ZV = (logp_teacher_ZV + log_weight_Z.unsqueeze(-1)).log_softmax(dim=0).exp()
        updated_Z = (responsibility_ZV * p_V).sum(dim=-1).clamp(min=torch.finfo(p_V.dtype).tiny).log()
        updated_Z = updated_Z.log_softmax(dim=0)
        if torch.allclose(updated_Z.exp(), log_weight_Z.exp(), rtol=0, atol=1e-13):
            return updated_Z
        log_weight_Z = updated_Z
    return log_weight_Z
