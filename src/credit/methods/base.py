"""What the trainer asks of a method. A method never sees the trainer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

# (log p_T, G, G0, lambda, form) -> log q before normalisation. G and G0 are None when nothing is subtracted.
TargetRule = Callable[[Tensor, Tensor | None, Tensor | None, Tensor | float, str], Tensor]


@dataclass(frozen=True)
class Scored:
    """What a rule for the advantages of sampled tokens may look at; log-probabilities and entropy in nats.

    Attributes:
        logp_student, logp_teacher: (B, T), NaN outside tokens with a teacher.
        logp_contrast: (B, T, C), NaN where there is none: the teacher under unrelated inputs, or under wrong answers.
        teacher_entropy: (B, T).
        group: A, the group advantage of each rollout, (B, 1).
        step: optimiser steps done.
    """

    logp_student: Tensor
    logp_teacher: Tensor
    logp_contrast: Tensor
    teacher_entropy: Tensor
    group: Tensor
    step: int


# (scores, options by name) -> advantages (B, T); used where a token has a teacher, the group advantage elsewhere.
AdvantageRule = Callable[[Scored, Any], Tensor]
# (teacher entropy (N,), options by name) -> weight of each token's divergence
WeightRule = Callable[[Tensor, Any], Tensor]
# (succeeded (B,), has a teacher (B,)) -> rollouts trained by their group advantage; all others by the divergence
RouteRule = Callable[[Tensor, Tensor], Tensor]


def plain_teacher(logp_teacher: Tensor, generic: Any, generic0: Any, lam: Any, form: str) -> Tensor:
    """The target of methods that subtract nothing: the teacher itself."""
    return logp_teacher


@dataclass(frozen=True)
class Method:
    """One way of giving credit to tokens.

    Attributes:
        name: as in `CreditConfig.method`.
        summary: one line for `--help`.
        source: where it comes from.
        target: builds the target a token is compared with; None for methods without a teacher.
        contrast: what the teacher is scored under besides: "inputs" (unrelated x', same z, when lambda > 0), "answers"
            (own x, wrong answers of the group as the solution), or None.
        advantage: advantages of the sampled tokens from their scores; the method then needs `level="token"`.
        weight: weights of the tokens' divergences.
        routes: which rollouts keep the group advantage instead of the divergence.
        demonstrations: whether z is a right solution from the data instead of what rollouts and environment gave.
        reads: options that only some methods read, and this one does.
    """

    name: str
    summary: str
    source: str
    target: TargetRule | None = None
    contrast: str | None = None
    advantage: AdvantageRule | None = None
    weight: WeightRule | None = None
    routes: RouteRule | None = None
    demonstrations: bool = False
    reads: tuple[str, ...] = ()

    @property
    def needs_teacher(self) -> bool:
        """Whether rollouts are scored by a self-teacher at all."""
        return self.target is not None

    @property
    def uses_group(self) -> bool:
        """Whether the group advantage is part of the method, without any blend."""
        return self.target is None or self.advantage is not None or self.routes is not None

    @property
    def needs_entropy(self) -> bool:
        """Whether the teacher's entropy is looked at."""
        return self.advantage is not None or self.weight is not None
