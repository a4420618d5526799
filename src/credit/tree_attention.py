"""Attention over a prefix tree, for models of transformers: one call reads rows that share beginnings, unpadded.

Everything but attention looks at one token at a time, so the tokens of a tree go through the model as one row. Only
attention must know which tokens come before which: it is replaced, for calls that carry a tree, by one that gathers
each row's keys and values by place. With gradient, too, and under gradient checkpointing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from credit.prefix_tree import Block, Tree, trees
from credit.scoring import evaluating

_NAME = "credit_prefix_tree"
_KNOWN = {"full_attention", "sliding_attention"}
_PROBE = ([3, 1, 2, 4, 5, 6], [3, 1, 2, 4, 5], [3, 1, 2, 6, 4, 5], [3, 2, 1], [4, 1, 2])
_WINDOW = 3
"""Sliding window while a model is tried: the rows above reach past it."""


def read_tree(model: Callable[..., Any], tree: Tree, on_hidden: Callable[[Tensor], Any]) -> Any:
    """Run the model on a tree and return `on_hidden(hidden_ND)`, called inside its forward.

    Args:
        model: with a response head (`credit.scoring.with_response_head`) and `with_tree_attention`; wrapped or not.
        tree: what to read.
        on_hidden: gets one hidden state for each token of the tree.
    """
    # A mask of four dimensions is taken as it is, and none is made. `_attend` does not look at it; attention that has
    # not heard of trees does, and must not find anything.
    unused = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=tree.ids_1N.device)
    return model(
        input_ids=tree.ids_1N, position_ids=tree.positions_1N, attention_mask=unused, tree=tree,
        on_hidden=lambda hidden_1ND: on_hidden(hidden_1ND[0]),
    )  # fmt: skip


def with_tree_attention(model: Any) -> None:
    """Let every attention module of `model` obey a keyword `tree`; calls without it are as before."""
    AttentionInterface.register(_NAME, _attend)
    for module in model.modules():
        if hasattr(module, "is_causal") and hasattr(module, "config") and not hasattr(module, "_own_config"):
            module._own_config = None
            # Hooks and no new `forward`: a copy of the model, which a frozen teacher is, must run its own weights.
            module.register_forward_pre_hook(_enter, with_kwargs=True)
            module.register_forward_hook(_leave, always_call=True)


def why_not(model: nn.Module, vocabulary: int) -> str | None:
    """Try a small tree on the model; return why it cannot be read, or None if it gives what plain rows give.

    Args:
        model: with a response head and tree attention.
        vocabulary: ids below it may be read.
    """
    config = model.config.get_text_config()  # type: ignore[union-attr]
    if getattr(model, "_is_stateful", False):
        return f"{type(model).__name__} carries a state from token to token"
    unknown = set(getattr(config, "layer_types", None) or ()) - _KNOWN
    if unknown:
        return f"layers of the kind {', '.join(sorted(unknown))} are neither full nor sliding attention"
    if getattr(config, "attn_temperature_tuning", False):
        return "its attention scales with a token's place in what is read, not in its row"
    rows = [[token % vocabulary for token in row] for row in _PROBE]
    (tree,) = trees(rows, 100, next(model.parameters()).device)
    try:
        with torch.no_grad(), evaluating(model), _short_windows(model):
            found = read_tree(model, tree, lambda hidden_ND: hidden_ND)
            for i, row in enumerate(rows):
                ids = torch.tensor([row], device=tree.ids_1N.device)
                plain = model(input_ids=ids, on_hidden=lambda hidden_BLD: hidden_BLD[0])
                close = 1e-2 if plain.dtype == torch.float32 else 1e-1  # another order of sums, in half precision
                error_L = (found[torch.from_numpy(tree.paths[i]).to(ids.device)] - plain).float().abs().mean(dim=-1)
                # Relative to the mean: in trained models a few dimensions are larger by far than all others.
                off = (error_L / plain.float().abs().mean(dim=-1).clamp(min=1e-6)).max().item()
                if not off <= close:
                    return f"hidden states would be off by {off:.1%} of their size"
    except Exception as error:  # whatever a model of unknown code makes of a keyword it has not heard of
        return f"the model fails on a tree ({type(error).__name__}: {error})"
    return None


@contextmanager
def _short_windows(model: nn.Module) -> Iterator[None]:
    """Shrink sliding windows, so that short rows reach past them: a mask may know of one that attention is not told."""
    places = {id(vars(x)): vars(x) for m in model.modules() for x in (m, getattr(m, "config", m))}
    own = [(place, place["sliding_window"]) for place in places.values() if (place.get("sliding_window") or 0) > 0]
    shift = min((window for _, window in own), default=_WINDOW) - _WINDOW
    for place, window in own:
        place["sliding_window"] = window - shift
    try:
        yield
    finally:
        for place, window in own:
            place["sliding_window"] = window


def _enter(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Replace the attention of one module for one call; here and not around the model, as backward may call again."""
    _leave(module)  # a call that was interrupted from the keyboard has not
    if kwargs.get("tree") is not None:
        # A config of its own: the model's, from which masks are made and which is saved, stays as it is.
        module._own_config, module.config = module.config, copy.copy(module.config)
        module.config._attn_implementation = {"": _NAME}  # and not that of configs inside, which are shared


def _leave(module: Any, *call: Any) -> None:
    if module._own_config is not None:
        module.config, module._own_config = module._own_config, None


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, tree: Tree,
    scaling: float | None = None, dropout: float = 0.0, sliding_window: int | None = None, **more: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention of a tree's tokens to those before them, (1, N, H, d); query, key and value are (1, H, N, d)."""
    for name in ("softcap", "s_aux", "position_bias"):
        if more.get(name) is not None:
            raise NotImplementedError(f"its attention has {name}")
    query_NHd, key_NHd, value_NHd = (x.transpose(1, 2)[0] for x in (query, key, value))
    parts = [
        _attend_block(block, query_NHd, key_NHd, value_NHd, scaling, dropout, sliding_window) for block in tree.blocks
    ]
    return torch.cat(parts).unsqueeze(0), None


def _attend_block(
    block: Block, query_NHd: Tensor, key_NHd: Tensor, value_NHd: Tensor, scaling: float | None, dropout: float,
    window: int | None,
) -> Tensor:  # fmt: skip
    """Attention of the block's own tokens, without their padding, (n, H, d)."""
    query_RHQd = _gather(query_NHd, block.query_RQ)
    key_RHKd, value_RHKd = _gather(key_NHd, block.key_RK), _gather(value_NHd, block.key_RK)
    each = query_RHQd.shape[1] // key_RHKd.shape[1]
    if each > 1:  # grouped queries
        key_RHKd, value_RHKd = (x.repeat_interleave(each, dim=1) for x in (key_RHKd, value_RHKd))
    sees = block.sees(window)
    out = scaled_dot_product_attention(
        query_RHQd, key_RHKd, value_RHKd, attn_mask=sees, dropout_p=dropout, scale=scaling, is_causal=sees is None
    )
    return out.transpose(1, 2).flatten(0, 1).index_select(0, block.own_N)


def _gather(states_NHd: Tensor, places_RL: Tensor) -> Tensor:
    return states_NHd.index_select(0, places_RL.flatten()).unflatten(0, places_RL.shape).transpose(1, 2)
