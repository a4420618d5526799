"""Random log-probabilities for tests of the maths. Float64."""

import torch
from torch import Tensor


def random_logps(*shape: int, scale: float = 2.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random log-probabilities, normalised over the last axis."""
    return (scale * torch.randn(*shape, dtype=dtype)).log_softmax(dim=-1)
