"""Sharded parameters: the part of this rank, and the whole. DTensors (FSDP2), and partitions of DeepSpeed's ZeRO-3.

ZeRO-3 leaves a parameter empty between its uses; this rank's part is `ds_tensor`, flat, the last rank's padded. Plain
tensors pass through.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return parameters by name, sharded ones as shards: after a forward pass FSDP2 leaves some of them gathered."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    return dict(model.named_parameters())


def release(wrapped: Any) -> None:
    """Free what passes left gathered under ZeRO-3, which only its engine can; FSDP2 does it in `parameters`."""
    if hasattr(wrapped, "empty_partition_cache"):
        wrapped.empty_partition_cache()


def partitioned(tensor: Any) -> bool:
    """Say whether it is a parameter of ZeRO-3, gathered just now or not."""
    return getattr(tensor, "ds_tensor", None) is not None


def shape(tensor: Any) -> torch.Size:
    """Return the shape of the whole."""
    return tensor.ds_shape if partitioned(tensor) else tensor.shape


def local(tensor: Any) -> Tensor:
    """Return this rank's part, without gradient; it shares memory with the parameter."""
    if partitioned(tensor):
        return tensor.ds_tensor.detach()
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor, copy: bool = False) -> Tensor:
    """Return all of it, without gradient; where it is sharded that is a collective call, and a copy anyway."""
    if partitioned(tensor):
        return gathered(local(tensor), tensor)
    tensor = tensor.detach()
    if isinstance(tensor, DTensor):
        return tensor.full_tensor()
    return tensor.clone() if copy else tensor


def gathered(part: Tensor, like: Any) -> Tensor:
    """Return the whole that consists of every rank's `part`, sharded like `like`."""
    if partitioned(like):
        parts = [torch.empty_like(part, device=like.device) for _ in range(dist.get_world_size(like.ds_process_group))]
        dist.all_gather(parts, part.to(like.device), group=like.ds_process_group)
        return torch.cat(parts)[: like.ds_numel].view(like.ds_shape)
    if not isinstance(like, DTensor):
        return part
    where = {"device_mesh": like.device_mesh, "placements": like.placements}
    return DTensor.from_local(part, **where, shape=like.shape, stride=like.stride()).full_tensor()


def sliced(everything: Tensor, like: Any) -> Tensor:
    """Return this rank's part of a whole tensor, sharded like `like`."""
    if partitioned(like):
        size = like.ds_tensor.numel()
        part = everything.flatten()[size * dist.get_rank(like.ds_process_group) :][:size]
        return nn.functional.pad(part, (0, size - len(part)))
    if not isinstance(like, DTensor):
        return everything
    return distribute_tensor(everything.to(like.device), like.device_mesh, like.placements).to_local()


def gathered_with(module: nn.Module, *others: nn.Parameter | None) -> None:
    """Have ZeRO-3 gather parameters for each pass of `module`, forward and backward: it reads what others own.

    DeepSpeed finds such reads itself, but only of what is not gathered at the time; then backward finds it empty.
    """
    import deepspeed  # type: ignore[import-not-found]

    for parameter in others:
        if parameter is not None:
            deepspeed.zero.register_external_parameter(module, parameter)
