"""A chunk of tokens, from hidden states to credit: project, choose the support, build the target, score or lose.

Joins `scoring` (heads) with `rewards` and `divergences` (maths). The target itself comes from the method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from credit.divergences import credit_divergence, restrict, restrict_target, student_support
from credit.rewards import filtering_increment, generic_score
from credit.scoring import Head, in_chunks

# (log p_T, G or None, G0 or None, lambda) -> log q before normalisation
Target = Callable[[Tensor, Tensor | None, Tensor | None, Tensor | float], Tensor]


@dataclass(frozen=True)
class LossOptions:
    """How a token's target becomes a loss; fields as in `CreditConfig`."""

    divergence: str
    jsd_alpha: float
    jsd_lambda: str
    support_size: int | None
    tail: str
    contrast_floor: float | None
    chunk_tokens: int
    generic_mean: str = "logs"

    @property
    def sparse(self) -> bool:
        """Whether the loss needs the head at K tokens only; what else is trained or logged may need all of it."""
        return bool(self.support_size) and self.tail == "renormalise"


@dataclass
class Views:
    """Hidden states of the teacher's views on N tokens, all without gradient.

    Attributes:
        teacher_ND: the own input with feedback.
        contrast_NCD: C unrelated inputs with the same feedback, or None when nothing is subtracted.
        available_NC: which negatives exist.
        nofeedback_NCD: the unrelated inputs without feedback, for `feedback_contrast`.
        lam: coefficient; becomes 0 for tokens without any negative.
    """

    teacher_ND: Tensor
    contrast_NCD: Tensor | None = None
    available_NC: Tensor | None = None
    nofeedback_NCD: Tensor | None = None
    lam: float = 0.0

    def tensors(self) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Return the fields that are cut into chunks of tokens, in order."""
        return self.teacher_ND, self.contrast_NCD, self.available_NC, self.nofeedback_NCD


def vocabulary_loss(
    hidden_ND: Tensor,
    labels_N: Tensor,
    head: Head,
    views: Views,
    teacher_head: Head,
    target: Target,
    options: LossOptions,
    teacher_entropy: bool = False,
    policy_gradient: bool = True,
) -> dict[str, Tensor]:
    """Loss of N tokens against the contrastive teacher, and what the policy loss needs from the same projection.

    Args:
        teacher_entropy: also return the teacher's entropy.
        policy_gradient: whether `logp` and `entropy` are trained as well. Without, and without `teacher_entropy`, a
            renormalised support is projected at its K tokens only (`credit.sparse`), to the same numbers.

    Returns:
        Per token, float32: `loss` (with gradient), `logp` and `entropy` (with gradient if there is a policy gradient),
        `support_mass` (student probability inside the support), `clamped` (share of support entries whose G met the
        floor). With `teacher_entropy` also that, in nats.
    """
    if options.sparse and not (policy_gradient or teacher_entropy):
        return _sparse_loss(hidden_ND, labels_N, head, views, teacher_head, target, options)

    def chunk(h, labels, teacher, contrast, available, nofeedback):
        logp_V = head.logps(h)
        index_K = student_support(logp_V, options.support_size) if options.support_size else None
        with torch.no_grad():
            scores = _Contrast(teacher, contrast, available, nofeedback, teacher_head.logps, views.lam, options)
            logp_teacher_K, raw_K = restrict_target(
                scores.teacher_V,
                (scores.contrast_CV, scores.nofeedback_CV),
                index_K,
                options.tail,
                scores.apply(target),
            )
            mass = torch.ones_like(logp_V[:, 0]) if index_K is None else logp_V.gather(-1, index_K).exp().sum(-1)
        loss = credit_divergence(
            restrict(logp_V, index_K, options.tail),
            logp_teacher_K,
            raw_K,
            options.divergence,
            options.jsd_alpha,
            options.jsd_lambda,
        )
        return {
            "loss": loss,
            "logp": logp_V.gather(-1, labels[:, None]).squeeze(-1),
            "entropy": entropy(logp_V),
            "support_mass": mass,
            "clamped": scores.clamped_share(index_K),
            **({"teacher_entropy": entropy(scores.teacher_V)} if teacher_entropy else {}),
        }

    return in_chunks(chunk, head.chunk(options.chunk_tokens), hidden_ND, labels_N, *views.tensors())


def _sparse_loss(
    hidden_ND: Tensor, labels_N: Tensor, head: Head, views: Views, teacher_head: Head, target: Target,
    options: LossOptions,
) -> dict[str, Tensor]:  # fmt: skip
    """`vocabulary_loss` of a renormalised support: one V-wide projection without gradient finds it, the rest is K."""

    def look(h, labels):
        logp_V = head.logps(h)
        index_K = student_support(logp_V, options.support_size or logp_V.shape[-1])
        return {
            "index": index_K,
            "logp": logp_V.gather(-1, labels[:, None]).squeeze(-1),
            "entropy": entropy(logp_V),
            "support_mass": logp_V.gather(-1, index_K).exp().sum(-1),
        }

    with torch.no_grad():
        seen = in_chunks(look, head.chunk(options.chunk_tokens), hidden_ND, labels_N)
        index_NK = seen.pop("index")

        def project(h: Tensor) -> Tensor:
            return teacher_head.logits_at(h, index_NK).log_softmax(-1)

        teacher, contrast, available, nofeedback = views.tensors()
        scores = _Contrast(teacher, contrast, available, nofeedback, project, views.lam, options)
        raw_K = scores.apply(target)(scores.teacher_V, scores.contrast_CV, scores.nofeedback_CV)
    loss = credit_divergence(
        head.logits_at(hidden_ND, index_NK).log_softmax(-1),
        scores.teacher_V,
        raw_K,
        options.divergence,
        options.jsd_alpha,
        options.jsd_lambda,
    )
    return {"loss": loss, **seen, "clamped": scores.clamped_share(None)}


@torch.no_grad()
def token_credit(
    hidden_ND: Tensor,
    labels_N: Tensor,
    head: Head,
    views: Views,
    teacher_head: Head,
    target: Target,
    options: LossOptions,
    alternatives: int = 0,
    teacher_entropy: bool = False,
) -> dict[str, Tensor]:
    """Credit of the N sampled tokens, in nats, full vocabulary.

    Args:
        alternatives: A, how many tokens to describe at each place: those that student or target find most likely.
        teacher_entropy: also return the teacher's entropy.

    Returns:
        `logp_student`, `logp_teacher`, `r`, `R`, `baseline` (E_{v~p} R_v), and, where there is a contrast, `G` and
        `S`, else NaN: a missing number is never drawn as zero. `logp_contrast` (N, C) are the parts of G, one for each
        unrelated input, before the floor. With alternatives also `alt_ids` and `alt_<quantity>`, each (N, A).
    """

    def chunk(h, labels, teacher, contrast, available, nofeedback):
        logp_V = head.logps(h)
        scores = _Contrast(teacher, contrast, available, nofeedback, teacher_head.logps, views.lam, options)
        raw_V = scores.apply(target)(scores.teacher_V, scores.contrast_CV, scores.nofeedback_CV)
        reward_V = raw_V - logp_V
        generic_V = scores.generic()

        def at(score_V):
            return score_V.gather(-1, labels[:, None]).squeeze(-1)

        logp, logp_teacher = at(logp_V), at(scores.teacher_V)
        generic = torch.full_like(logp, torch.nan) if generic_V is None else at(generic_V)
        columns = {
            "logp_student": logp,
            "logp_teacher": logp_teacher,
            "r": filtering_increment(logp_teacher, logp),
            "G": generic,
            "S": logp_teacher - generic,
            "R": at(reward_V),
            "baseline": (logp_V.exp() * reward_V).sum(-1),
            "logp_contrast": scores.each_at(labels),
        }
        if teacher_entropy:
            columns["teacher_entropy"] = entropy(scores.teacher_V)
        if not alternatives:
            return columns
        likely_V = torch.maximum(logp_V, raw_V.log_softmax(-1))
        ids = likely_V.topk(min(alternatives, likely_V.shape[-1])).indices
        found = {"logp_student": logp_V, "logp_teacher": scores.teacher_V, "G": generic_V, "R": reward_V}
        missing = torch.full(ids.shape, torch.nan, dtype=logp_V.dtype, device=ids.device)
        return {
            **columns,
            "alt_ids": ids,
            **{f"alt_{name}": missing if v is None else v.gather(-1, ids) for name, v in found.items()},
        }

    return in_chunks(chunk, head.chunk(options.chunk_tokens), hidden_ND, labels_N, *views.tensors())


def token_logps(hidden_ND: Tensor, labels_N: Tensor, head: Head, chunk_tokens: int) -> dict[str, Tensor]:
    """Return `logp` of the N sampled tokens and `entropy` of where they were drawn from, in nats, with gradient."""

    def chunk(h, labels):
        logp_V = head.logps(h)
        return {"logp": logp_V.gather(-1, labels[:, None]).squeeze(-1), "entropy": entropy(logp_V)}

    return in_chunks(chunk, head.chunk(chunk_tokens), hidden_ND, labels_N)


def corrected(loss_BT: Tensor, logp_BT: Tensor, old_BT: Tensor | None, cap: float, sampled: Tensor | None) -> Tensor:
    """Weigh losses of tokens that another policy sampled, without gradient through the weights.

    The two weights are two factors of p / p_sampler, so that together they correct nothing twice.

    Args:
        loss_BT: a loss at each token.
        logp_BT: the student's log-probability of the token now.
        old_BT: when the batch was drawn; None if the student has not moved since.
        cap: bound of p / p_old; 0 leaves that factor out.
        sampled: p_old / p_sampler, (B, T) or (B, 1), already bounded; None where the student was its own sampler.
    """
    if cap and old_BT is not None:
        loss_BT = loss_BT * (logp_BT.detach() - old_BT).exp().clamp(max=cap)
    return loss_BT if sampled is None else loss_BT * sampled


def entropy(logp_V: Tensor) -> Tensor:
    """Entropy over the last axis, in nats."""
    return -(logp_V.exp() * logp_V).sum(-1)


class _Contrast:
    """Teacher log-probabilities of some tokens: own input (N, V) and unrelated inputs (C, N, V).

    `project` turns hidden states into them, over the vocabulary or over a support of it.
    """

    def __init__(
        self, teacher: Any, contrast: Any, available: Any, nofeedback: Any, project: Callable[[Tensor], Tensor],
        lam: float, options: LossOptions,
    ):  # fmt: skip
        self.teacher_V = project(teacher)
        self.contrast_CV: Tensor | None = None
        self.nofeedback_CV: Tensor | None = None
        self.available_C1: Tensor | None = None
        self.has_negative: Tensor | None = None
        self.lam: Tensor | float = lam
        self.floor, self.mean = options.contrast_floor, options.generic_mean
        self.below: Tensor | None = None  # where the G that was used met the floor
        if contrast is None:
            return
        self.contrast_CV = torch.stack([project(c) for c in contrast.unbind(1)])
        if nofeedback is not None:
            self.nofeedback_CV = torch.stack([project(c) for c in nofeedback.unbind(1)])
        self.available_C1 = available.T.unsqueeze(-1)
        has_negative = available.any(dim=1)
        self.has_negative = has_negative
        self.lam = lam * has_negative.unsqueeze(-1).to(self.teacher_V.dtype)

    def apply(self, target: Target) -> Callable[..., Tensor]:
        """Bind availability, floor and lambda: (log p_T, contrast, no-feedback contrast) -> raw target."""

        def bound(logp_teacher, contrast_C, nofeedback_C):
            if contrast_C is None:
                return target(logp_teacher, None, None, 0.0)
            generic = generic_score(contrast_C, self.available_C1, mean=self.mean)
            if self.floor is not None:
                self.below = generic < self.floor
                generic = generic.clamp(min=self.floor)
            generic0 = None
            if nofeedback_C is not None:
                generic0 = generic_score(nofeedback_C, self.available_C1, self.floor, self.mean)
            return target(logp_teacher, generic, generic0, self.lam)

        return bound

    def generic(self) -> Tensor | None:
        """G of every token (N, V), NaN without a negative; None without a contrast."""
        if self.contrast_CV is None or self.has_negative is None:
            return None
        generic_V = generic_score(self.contrast_CV, self.available_C1, self.floor, self.mean)
        return torch.where(self.has_negative.unsqueeze(-1), generic_V, torch.nan)

    def each_at(self, labels_N: Tensor) -> Tensor:
        """Log-probability of the sampled tokens under each unrelated input, (N, C); NaN where there is none."""
        if self.contrast_CV is None or self.available_C1 is None:
            return self.teacher_V.new_empty((labels_N.shape[0], 0))
        each_CN1 = self.contrast_CV.gather(-1, labels_N[None, :, None].expand(len(self.contrast_CV), -1, 1))
        return torch.where(self.available_C1, each_CN1, torch.nan).squeeze(-1).T

    def clamped_share(self, index_K: Tensor | None) -> Tensor:
        """Share of entries (of the support, if given) whose G met the floor in the target."""
        if self.below is None:
            return torch.zeros_like(self.teacher_V[:, 0])
        below = self.below
        if index_K is not None:
            whole = below.shape[-1] == self.teacher_V.shape[-1]
            below = below.gather(-1, index_K) if whole else below[:, : index_K.shape[-1]]
        return below.float().mean(-1)
