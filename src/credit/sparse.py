"""The head at K chosen tokens only: K dot products a token instead of V, forward and backward.

A target renormalised on the student's K likeliest tokens needs no normaliser over the vocabulary: teacher, contrast and
the student's gradient live on K rows of the head (derived). One V-wide projection without gradient finds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_BUDGET = 2**22
"""Entries of gathered rows held at once (16 MiB in float32); bounds memory, changes nothing else. Default: ours."""


def rows_at(hidden_ND: Tensor, weight_VD: Tensor, index_NK: Tensor) -> Tensor:
    """Return W[index] h for every token, (N, K): what `linear(hidden, weight).gather(-1, index)` returns.

    The gradient of the weight is gathered in one (V, D) buffer for all N tokens; plain indexing under autograd would
    make one for every chunk.
    """
    return _RowsAt.apply(hidden_ND, weight_VD, index_NK)  # type: ignore[return-value]


class _RowsAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, index_NK: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(hidden_ND, weight_VD, index_NK)
        out_NK = torch.empty(index_NK.shape, dtype=hidden_ND.dtype, device=hidden_ND.device)
        # Reading the rows is what costs: half precision for the products alone would save nothing.
        with torch.autocast(hidden_ND.device.type, enabled=False):
            for part in _parts(index_NK, weight_VD):
                rows_nKD = weight_VD[index_NK[part]].to(hidden_ND.dtype)
                out_NK[part] = torch.bmm(rows_nKD, hidden_ND[part].unsqueeze(-1)).squeeze(-1)
        return out_NK

    @staticmethod
    def backward(ctx: Any, grad_NK: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        hidden_ND, weight_VD, index_NK = ctx.saved_tensors
        wants_hidden, wants_weight, _ = ctx.needs_input_grad
        grad_ND = torch.empty_like(hidden_ND) if wants_hidden else None
        # Summed in float32: thousands of tokens add to the rows of frequent words.
        wide = torch.promote_types(weight_VD.dtype, torch.float32)
        grad_VD = torch.zeros_like(weight_VD, dtype=wide) if wants_weight else None
        for part in _parts(index_NK, weight_VD):
            index, grad_nK = index_NK[part], grad_NK[part]
            if grad_ND is not None:
                rows_nKD = weight_VD[index].to(hidden_ND.dtype)
                grad_ND[part] = torch.bmm(grad_nK.unsqueeze(1), rows_nKD).squeeze(1)
            if grad_VD is not None:
                outer_nKD = grad_nK.unsqueeze(-1).to(wide) * hidden_ND[part].unsqueeze(1)
                grad_VD.index_add_(0, index.flatten(), outer_nKD.flatten(0, 1))
        return grad_ND, None if grad_VD is None else grad_VD.to(weight_VD.dtype), None


def _parts(index_NK: Tensor, weight_VD: Tensor) -> Iterator[slice]:
    step = max(1, _BUDGET // max(1, index_NK.shape[1] * weight_VD.shape[1]))
    for start in range(0, index_NK.shape[0], step):
        yield slice(start, start + step)
