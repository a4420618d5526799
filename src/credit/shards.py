"""Sharded parameters (DTensor, as FSDP2 makes them): the part of this rank, and the whole.

Plain tensors pass through.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return parameters by name, sharded ones as shards: after a forward pass FSDP2 leaves some of them gathered."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    return dict(model.named_parameters())


def local(tensor: Tensor) -> Tensor:
    """Return this rank's part, without gradient; it shares memory with the parameter."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor, copy: bool = False) -> Tensor:
    """Return all of it; where it is sharded that is a collective call, and a copy anyway."""
    if isinstance(tensor, DTensor):
        return tensor.full_tensor()
    return tensor.clone() if copy else tensor


def gathered(part: Tensor, like: Tensor) -> Tensor:
    """Return the whole that consists of every rank's `part`, sharded like `like`."""
    if not isinstance(like, DTensor):
        return part
    where = {"device_mesh": like.device_mesh, "placements": like.placements}
    return DTensor.from_local(part, **where, shape=like.shape, stride=like.stride()).full_tensor()


def sliced(everything: Tensor, like: Tensor) -> Tensor:
    """Return this rank's part of a whole tensor, sharded like `like`."""
    if not isinstance(like, DTensor):
        return everything
    return distribute_tensor(everything.to(like.device), like.device_mesh, like.placements).to_local()
