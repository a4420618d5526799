"""The diagnostics that training logs: sums over the tokens of one batch, so that ranks can add them up."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from credit.diagnostics.measures import GENERIC_NATS


def token_metrics(credit_BT: Mapping[str, Tensor], active_BT: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return (part, whole) per metric; its value is sum(part) / sum(whole), and does not exist when whole sums to 0.

    Args:
        credit_BT: the columns of token credit; NaN where a quantity does not exist.
        active_BT: response tokens with a teacher.
    """
    metrics: dict[str, tuple[Tensor, Tensor]] = {}

    def over(where: Tensor, value: Tensor) -> Tensor:
        return torch.where(where, value, torch.zeros_like(value))

    for name in ("r", "S", "G", "R"):
        there = active_BT & ~credit_BT[name].isnan()
        metrics[name] = over(there, credit_BT[name]), there
    metrics["pmi"] = metrics["r"][0], active_BT.any(dim=1)
    split = active_BT & ~credit_BT["S"].isnan()
    generic, size = split & (credit_BT["S"].abs() <= GENERIC_NATS), credit_BT["R"].abs()
    metrics["on_generic_tokens"] = over(generic, size), over(split, size)
    metrics["generic_tokens"] = generic.to(size.dtype), split
    if "logp_teacher_nofeedback" in credit_BT:
        gap = credit_BT["logp_student"] - credit_BT["logp_teacher_nofeedback"]
        there = active_BT & ~gap.isnan()
        metrics["weight_gap"] = over(there, gap), there
    return metrics
