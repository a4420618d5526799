"""What the trainer asks of a method. A method never sees the trainer."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

# (log p_T, G, G0, lambda, form) -> log q before normalisation. G and G0 are None when nothing is subtracted.
TargetRule = Callable[[Tensor, Tensor | None, Tensor | None, Tensor | float, str], Tensor]


@dataclass(frozen=True)
class Method:
    """One way of giving credit to tokens.

    Attributes:
        name: as in `CreditConfig.method`.
        summary: one line for `--help`.
        source: where it comes from.
        target: builds the target a token is compared with; None for methods without a teacher.
        contrasts: whether unrelated inputs are drawn and scored when lambda > 0.
    """

    name: str
    summary: str
    source: str
    target: TargetRule | None = None
    contrasts: bool = False

    @property
    def needs_teacher(self) -> bool:
        """Whether rollouts are scored by a self-teacher at all."""
        return self.target is not None
