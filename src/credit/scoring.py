"""Hidden states and log-probabilities of any Hugging Face causal language model on given responses.

A (B, T, V) tensor is never built. The body runs once per view (`credit.passes`) and its last hidden states at the
response positions are kept; the head projects them later, a few tokens at a time. Everything that needs the head's
gradient runs *inside* the model's forward (`with_response_head`), so that wrappers (DDP, FSDP) see an ordinary pass.
"""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from credit.shards import whole
from credit.sparse import rows_at

LOGITS = 2**24
"""Logits held at once where nothing else is asked for (64 MiB): memory does not grow with V. Default: ours."""


@dataclass(frozen=True)
class Head:
    """The last projection: logits = softcap(scale * (W h + b)) / temperature, in float32.

    Attributes:
        weight: (V, D).
        bias: (V,) or None.
        scale: multiplier of the logits (Cohere, Granite).
        softcap: final soft cap (Gemma), or None.
        temperature: sampling temperature; student, teacher and contrast share it.
        float32: project in float32 even when the weights are not.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0
    float32: bool = False

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return (N, V) logits over the vocabulary, float32."""
        weight, bias = self.weight, self.bias
        if self.float32:
            hidden_ND, weight = hidden_ND.float(), weight.float()
            bias = None if bias is None else bias.float()
        # Autocast would turn a float32 projection back into half precision.
        exact = torch.autocast(hidden_ND.device.type, enabled=False) if self.float32 else nullcontext()
        with exact:
            logits_NV = nn.functional.linear(hidden_ND.to(weight.dtype), weight, bias)
        return self._finished(logits_NV)

    def logits_at(self, hidden_ND: Tensor, index_NK: Tensor) -> Tensor:
        """Return (N, K) logits of the tokens in `index_NK`, float32, without a product over the vocabulary."""
        dtype = torch.float32 if self.float32 else self.weight.dtype
        logits_NK = rows_at(hidden_ND.to(dtype), self.weight, index_NK)
        return self._finished(logits_NK if self.bias is None else logits_NK + self.bias.to(dtype)[index_NK])

    def chunk(self, tokens: int) -> int:
        """Return how many tokens to project at once: `tokens`, or for 0 as many as the budget holds logits of."""
        return tokens or max(16, LOGITS // self.weight.shape[0])

    def _finished(self, logits: Tensor) -> Tensor:
        logits = logits.float() * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits / self.temperature

    def logps(self, hidden_ND: Tensor) -> Tensor:
        """Return (N, V) log-probabilities in nats, float32."""
        return self.logits(hidden_ND).log_softmax(dim=-1)

    def frozen(self, copy: bool) -> Head:
        """Detach from the graph, shards gathered; `copy` keeps today's values while the model trains on."""
        return replace(
            self, weight=whole(self.weight, copy), bias=None if self.bias is None else whole(self.bias, copy)
        )


@dataclass(frozen=True)
class LerpHead(Head):
    """logits = (1 - share) * the reference's + share * the student's, in float32 (SDPO's trust region).

    The reference's head is this one; its hidden states and the student's lie side by side, (N, 2D).

    Attributes:
        student: the student's head.
        share: weight of the student's logits, in (0, 1].
    """

    student: Head = field(kw_only=True)
    share: float = field(kw_only=True)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return (N, V) interpolated logits, float32."""
        reference_ND, student_ND = hidden_ND.chunk(2, dim=-1)
        return super().logits(reference_ND).lerp(self.student.logits(student_ND), self.share)

    def logits_at(self, hidden_ND: Tensor, index_NK: Tensor) -> Tensor:
        """Return (N, K) interpolated logits, float32."""
        reference_ND, student_ND = hidden_ND.chunk(2, dim=-1)
        reference_NK = super().logits_at(reference_ND, index_NK)
        return reference_NK.lerp(self.student.logits_at(student_ND, index_NK), self.share)


def head_of(model: nn.Module, temperature: float = 1.0, float32: bool = False) -> Head:
    """Read the head of a causal language model, with the logit scale and soft cap its config declares."""
    lm_head: Any = model.get_output_embeddings()  # type: ignore[operator]
    config: Any = model.config.get_text_config()  # type: ignore[union-attr]
    scale = getattr(config, "logit_scale", None)
    if scale is None and getattr(config, "logits_scaling", None) is not None:
        scale = 1.0 / config.logits_scaling
    return Head(
        weight=lm_head.weight,
        bias=getattr(lm_head, "bias", None),
        scale=1.0 if scale is None else float(scale),
        softcap=getattr(config, "final_logit_softcapping", None),
        temperature=temperature,
        float32=float32,
    )


@torch.no_grad()
def check_head(model: nn.Module, vocabulary: int) -> None:
    """Raise unless our head reproduces the model's own logits on four tokens; it has a response head already.

    Catches architectures that post-process logits in a way `head_of` does not know, before any training.
    """
    device = next(model.parameters()).device
    ids = torch.arange(4, device=device).remainder(vocabulary).unsqueeze(0)
    with evaluating(model):
        own = model(input_ids=ids).logits.float()
        ours = head_of(model).frozen(copy=False).logits(model(input_ids=ids, on_hidden=lambda hidden: hidden)[0])
    error = (own[0] - ours).abs().max().item()
    if not error <= 1e-2 * max(1.0, own.abs().max().item()):
        raise ValueError(
            f"{type(model).__name__} changes its logits in a way this code does not know (largest difference "
            f"{error:.3g}). Credit would be wrong; use another architecture, or method='grpo'."
        )


@torch.no_grad()
def check_steady(model: nn.Module, vocabulary: int) -> None:
    """Raise if the model, with a response head, says other things of the same tokens while it trains: dropout, mostly.

    Some have it outside of modules, where TRL's `disable_dropout` does not find it.
    """
    ids = torch.arange(4, device=next(model.parameters()).device).remainder(vocabulary).unsqueeze(0)
    training = {module: module.training for module in model.modules()}
    try:
        model.train()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is nothing to recompute without gradient
            first, second = (model(input_ids=ids, on_hidden=lambda hidden: hidden).float() for _ in range(2))
    finally:
        for module, was in training.items():
            module.training = was
    if not torch.allclose(first, second, rtol=1e-2, atol=1e-2 * first.abs().max().item()):
        raise ValueError(
            f"{type(model).__name__} draws random numbers while it trains, and teachers score while it does. Set the "
            "dropouts and noises of its config to 0 in model_init_kwargs."
        )


def with_response_head(model: nn.Module) -> None:
    """Teach `model.forward` one more keyword: `on_hidden=function`.

    With it, forward runs the body and returns `function(hidden_BLD)` of its last hidden states, one for each input
    token. Without it the forward is the previous one, untouched.
    """
    previous = model.forward

    @functools.wraps(type(model).forward)
    def forward(self, *args, on_hidden: Callable[[Tensor], Any] | None = None, **kwargs):
        if on_hidden is None:
            return previous(*args, **kwargs)
        return on_hidden(self.base_model(*args, **{"use_cache": False, **kwargs}).last_hidden_state)

    model.forward = types.MethodType(forward, model)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Score as an evaluation: no dropout, and no recomputation; each module is as it was afterwards."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def in_chunks(function: Callable[..., dict[str, Tensor]], size: int, *tensors: Tensor | None) -> dict[str, Tensor]:
    """Apply `function` to chunks of `size` tokens along axis 0 and concatenate what it returns.

    Chunks are checkpointed: backward recomputes their (size, V) tensors instead of keeping them. A single chunk is
    kept, since backward would hold all of it at once anyway.
    """
    count = next(t for t in tensors if t is not None).shape[0]
    saves = torch.is_grad_enabled() and count > size
    results: list[dict[str, Tensor]] = []
    # One pass even without tokens: the result stays connected to the graph, and ranks stay in step.
    for start in range(0, max(count, 1), size):
        chunk = [None if t is None else t[start : start + size] for t in tensors]
        if saves:
            result = checkpoint(function, *chunk, use_reentrant=False, preserve_rng_state=False)
        else:
            result = function(*chunk)
        results.append(result)  # type: ignore[arg-type]
    return {key: torch.cat([r[key] for r in results]) for key in results[0]}
