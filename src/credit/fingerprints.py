"""Short digests that tell runs with other rows or other weights apart. Sampled, so that they cost nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch

ROWS = 1000
VALUES = 64


def of_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Return 16 hexadecimal digits of the number of rows and of `ROWS` of them, evenly spaced, columns in any order."""
    digest = hashlib.sha256(str(len(rows)).encode())
    for i in _spread(len(rows), ROWS):
        digest.update(json.dumps(rows[i], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def of_model(model: torch.nn.Module) -> str:
    """Return 16 hexadecimal digits of name, type, shape and `VALUES` evenly spaced values of every tensor."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        places = torch.tensor(_spread(tensor.numel(), VALUES), device=tensor.device, dtype=torch.long)
        digest.update(tensor.detach().take(places).cpu().double().numpy().tobytes())
    return digest.hexdigest()[:16]


def _spread(count: int, most: int) -> list[int]:
    """Return up to `most` places among `count`, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [i * (count - 1) // (most - 1) for i in range(most)]
