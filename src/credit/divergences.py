"""Distances between student and target per token: reverse KL, forward KL, generalised JSD; top-K supports and tails.

The last axis is the vocabulary, or a support of it. Both arguments are normalised log-probabilities in nats; results
drop the last axis and are differentiable in the student. Pass targets detached.

Naming: *reverse* KL is KL(student || target), mode-seeking, the canonical loss of CREDIT; *forward* is
KL(target || student).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from credit._shapes import Float, Int

DIVERGENCES = ("reverse_kl", "forward_kl", "jsd")
INSERTIONS = ("target", "kernel", "penalty")
TAILS = ("renormalise", "bucket", "exact")


def reverse_kl(logp_student_V: Float[Tensor, "*batch V"], logq_V: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch"]:
    """KL(p || q) = sum_v p (log p - log q)."""
    return _relative_entropy(logp_student_V, logq_V)


def forward_kl(logp_student_V: Float[Tensor, "*batch V"], logq_V: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch"]:
    """KL(q || p) = sum_v q (log q - log p)."""
    return _relative_entropy(logq_V, logp_student_V)


def jsd(
    logp_student_V: Float[Tensor, "*batch V"], logq_V: Float[Tensor, "*batch V"], alpha: float = 0.5
) -> Float[Tensor, "*batch"]:
    """Generalised Jensen-Shannon divergence (1-a) KL(p || M) + a KL(q || M), with M = (1-a) p + a q.

    Its gradient vanishes at both ends, so alpha 0 is mapped to forward KL and alpha 1 to reverse KL, as TRL does.
    """
    _check_alpha(alpha)
    if alpha == 0:
        return forward_kl(logp_student_V, logq_V)
    if alpha == 1:
        return reverse_kl(logp_student_V, logq_V)
    log_mixture = torch.logaddexp(logp_student_V + math.log1p(-alpha), logq_V + math.log(alpha))
    return (1 - alpha) * reverse_kl(logp_student_V, log_mixture) + alpha * reverse_kl(logq_V, log_mixture)


def jsd_advantage(u: Float[Tensor, "*shape"], alpha: float) -> Float[Tensor, "*shape"]:
    """Closed form of the JSD gradient: A_v = (1-a) log((1-a) + a e^u), u = log q - log p (derived).

    The loss gradient on logit v is -p_v (A_v - E_p A).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha}: the closed form exists strictly between 0 and 1.")
    return (1 - alpha) * torch.logaddexp(torch.full_like(u, math.log1p(-alpha)), u + math.log(alpha))


def policy_surrogate(
    logp_student_V: Float[Tensor, "*batch V"], advantage_V: Float[Tensor, "*batch V"]
) -> Float[Tensor, "*batch"]:
    """-sum_v p_v A_v with A detached: the vocabulary-level policy gradient. Its value is not a distance."""
    return -(logp_student_V.exp() * advantage_V.detach()).sum(dim=-1)


def credit_divergence(
    logp_student_K: Float[Tensor, "*batch K"],
    logp_teacher_K: Float[Tensor, "*batch K"],
    raw_target_K: Float[Tensor, "*batch K"],
    divergence: str = "reverse_kl",
    alpha: float = 0.5,
    insertion: str = "target",
) -> Float[Tensor, "*batch"]:
    """Loss of one token against a contrastive teacher.

    Args:
        logp_student_K: log p, normalised, with gradient.
        logp_teacher_K: log p_T, normalised.
        raw_target_K: log q before normalisation (`rewards.raw_target`).
        divergence: one of `DIVERGENCES`.
        alpha: JSD mixture weight.
        insertion: how lambda enters the JSD, three inequivalent ways; open in every source, so ours to name.
            "target": JSD(p, q) with q normalised (default, ours). "kernel": the raw reward in the closed-form
            advantage. "penalty": JSD(p, p_T) + lambda sum_v p_v G_v. For reverse KL all three have one gradient.
    """
    if divergence == "reverse_kl":
        return reverse_kl(logp_student_K, raw_target_K.log_softmax(dim=-1))
    if divergence == "forward_kl":
        return forward_kl(logp_student_K, raw_target_K.log_softmax(dim=-1))
    if divergence != "jsd":
        raise ValueError(f"divergence={divergence!r} is unknown. Use one of {', '.join(DIVERGENCES)}.")
    if insertion == "target":
        return jsd(logp_student_K, raw_target_K.log_softmax(dim=-1), alpha)
    if insertion == "kernel":
        advantage = jsd_advantage(raw_target_K - logp_student_K.detach(), alpha)
        return policy_surrogate(logp_student_K, advantage)
    if insertion == "penalty":
        penalty = (logp_student_K.exp() * (logp_teacher_K - raw_target_K)).sum(dim=-1)
        return jsd(logp_student_K, logp_teacher_K, alpha) + penalty
    raise ValueError(f"insertion={insertion!r} is unknown. Use one of {', '.join(INSERTIONS)}.")


def student_support(logp_student_V: Float[Tensor, "*batch V"], size: int) -> Int[Tensor, "*batch K"]:
    """Indices of the student's `size` most likely tokens."""
    if size > logp_student_V.shape[-1]:
        raise ValueError(
            f"support_size={size} is larger than the vocabulary ({logp_student_V.shape[-1]}). "
            "Lower it, or use None for the full vocabulary."
        )
    return logp_student_V.detach().topk(size, dim=-1, sorted=False).indices


def log_tail(score_V: Float[Tensor, "*batch V"], index_K: Int[Tensor, "*batch K"]) -> Float[Tensor, "*batch 1"]:
    """logsumexp over the complement of the support. Not log(1 - sum_K p): that is log 0 in float32."""
    return score_V.scatter(-1, index_K, -math.inf).logsumexp(dim=-1, keepdim=True)


def restrict(
    score_V: Float[Tensor, "*batch V"], index_K: Int[Tensor, "*batch K"] | None, tail: str = "renormalise"
) -> Float[Tensor, "*batch K2"]:
    """Restrict log-scores to a support.

    "renormalise" makes the K entries sum to one; "bucket" and "exact" append one entry for everything else. `index_K`
    None, or a support as large as the vocabulary, keeps it whole.
    """
    if index_K is None:
        return score_V
    kept = score_V.gather(-1, index_K)
    if tail == "renormalise" or index_K.shape[-1] == score_V.shape[-1]:
        return kept.log_softmax(dim=-1) if tail == "renormalise" else kept
    return torch.cat([kept, log_tail(score_V, index_K)], dim=-1)


def restrict_target(
    logp_teacher_V: Float[Tensor, "*batch V"],
    contrasts_CV: tuple[Float[Tensor, "C *batch V"] | None, ...],
    index_K: Int[Tensor, "*batch K"] | None,
    tail: str,
    target: Callable[..., Tensor],
) -> tuple[Float[Tensor, "*batch K2"], Float[Tensor, "*batch K2"]]:
    """Build (log p_T, raw target) on the support.

    Args:
        logp_teacher_V: full-vocabulary teacher.
        contrasts_CV: further full-vocabulary log-probabilities with a leading axis C, or None.
        index_K: the student's support, or None.
        tail: "exact" builds the target on the full vocabulary and sums its complement afterwards. "bucket" and
            "renormalise" restrict every model first; raising a bucket to a power is biased, which is why "exact"
            exists.
        target: (log p_T, *contrasts) -> raw target, elementwise.
    """
    if tail not in TAILS:
        raise ValueError(f"tail={tail!r} is unknown. Use one of {', '.join(TAILS)}.")
    logp_teacher_K = restrict(logp_teacher_V, index_K, tail)
    if tail == "exact":
        return logp_teacher_K, restrict(target(logp_teacher_V, *contrasts_CV), index_K, tail)

    def each(logp_CV: Tensor | None) -> Tensor | None:
        if logp_CV is None or index_K is None:
            return logp_CV
        return torch.stack([restrict(logp_V, index_K, tail) for logp_V in logp_CV])

    return logp_teacher_K, target(logp_teacher_K, *(each(c) for c in contrasts_CV))


def _relative_entropy(loga_V: Tensor, logb_V: Tensor) -> Tensor:
    a_V = loga_V.exp()
    # 0 log 0 is 0: an entry that is impossible under `a` counts nothing, and sends no NaN backward.
    return (a_V * torch.where(a_V > 0, loga_V - logb_V, 0.0)).sum(dim=-1)


def _check_alpha(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha} is outside [0, 1].")
