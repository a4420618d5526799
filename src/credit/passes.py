"""Forward passes over many views of a batch: which rows go together, and what is read only once.

A view is a prompt followed by a response. Equal rows are read once, rows that share the beginning of their prompt share
its keys and values, and rows of like length share a pass. Nothing here has a gradient.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

CALL = 128
"""Tokens that one more call of the model is worth: it has a cost of its own. Measured on the embedded model. Ours."""
_KEEPS_KEYS = {"full_attention", "sliding_attention", "chunked_attention"}


@dataclass(frozen=True)
class Pass:
    """Rows that go through the model together.

    Attributes:
        rows: their indices.
        shared: how many first tokens are read once for all rows that begin with them; 0 for none.
        tokens: positions computed, padding included.
    """

    rows: list[int]
    shared: int
    tokens: int

    @property
    def calls(self) -> int:
        """Calls of the model."""
        return 1 + (self.shared > 0)

    @property
    def cost(self) -> int:
        """What it costs, in tokens."""
        return self.tokens + CALL * self.calls


def plan_passes(prompts: Sequence[list[int]], lengths: Sequence[int], size: int, share: bool = True) -> list[Pass]:
    """Distribute rows over passes of at most `size` rows, by length or by common beginnings, whichever costs less.

    Args:
        prompts: token ids of each row's prompt.
        lengths: tokens of each row's response.
        size: most rows in one pass; fewer are taken where padding costs more than another call.
        share: whether beginnings may be shared.
    """
    total = [len(prompt) + length for prompt, length in zip(prompts, lengths, strict=True)]
    by_length = sorted(range(len(prompts)), key=lambda i: total[i])
    by_text = sorted(range(len(prompts)), key=lambda i: prompts[i])
    common = [_common(prompts[i], prompts[j]) for i, j in pairwise(by_text)] if share else []

    def passes(rows: int, shared: bool) -> list[Pass]:
        plan = []
        for start in range(0, len(prompts), rows):
            part = (by_text if shared else by_length)[start : start + rows]
            longest = max(total[i] for i in part)
            # The state before a response belongs to the prompt's last token: that one is always read with the response.
            most = min(len(prompts[i]) for i in part) - 1 if shared else 0
            plan.append(_pass(part, common[start : start + len(part) - 1], longest, most))
        return plan

    sizes = [max(1, size >> halved) for halved in range(size.bit_length())]
    plans = (passes(rows, shared) for rows in sizes for shared in ((False, True) if share else (False,)))
    return min(plans, key=lambda plan: sum(p.cost for p in plan))


def _pass(rows: list[int], common: list[int], longest: int, most: int) -> Pass:
    """Choose how many first tokens to share: at most `most`, where neighbours have `common` ones in common."""

    def shared(first: int) -> Pass:
        beginnings = 1 + sum(c < first for c in common)
        return Pass(rows, first, beginnings * first + len(rows) * (longest - first))

    return min((shared(first) for first in {0, most, *(min(c, most) for c in common)}), key=lambda p: p.cost)


def _common(a: list[int], b: list[int]) -> int:
    """Length of the common beginning."""
    return bisect_left(range(1, min(len(a), len(b)) + 1), True, key=lambda n: a[:n] != b[:n])


@torch.no_grad()
def response_hidden(
    model: nn.Module,
    views: Sequence[list[list[int]]],
    response_ids_BT: Tensor,
    response_mask_BT: Tensor,
    batch_size: int,
    wanted_WB: Tensor | None = None,
    share: bool = True,
    autocast: Callable[[], Any] = nullcontext,
    most_of_ranks: Callable[[int], int] = int,
) -> Tensor:
    """Return the hidden states that predict each response token under each view, (W, B, T, D), without gradient.

    Args:
        model: with a response head (`credit.scoring.with_response_head`), wrapped or not.
        views: W lists of B prompts in token ids; responses are appended as they are, never tokenised again.
        response_ids_BT: token ids.
        response_mask_BT: 1 for the tokens of a response, which come first.
        batch_size: most rows in one pass.
        wanted_WB: which rows of which view to compute; the others are zero, as is what follows a response.
        share: read common beginnings of prompts once (`shares_beginnings`).
        autocast: context of every pass.
        most_of_ranks: number of calls here -> the largest number on any rank. All ranks run that many, because a
            sharded model needs all of them in every call.
    """
    device, (rows, num_response) = response_ids_BT.device, response_ids_BT.shape
    lengths = response_mask_BT.sum(dim=1).tolist()
    wanted = [[True] * rows] * len(views) if wanted_WB is None else wanted_WB.tolist()
    answers = [tuple(ids[:length]) for ids, length in zip(response_ids_BT.tolist(), lengths, strict=True)]
    # The same answer to the same prompt is read once: a model that is sure of itself repeats itself.
    places: dict[tuple[tuple[int, ...], tuple[int, ...]], list[tuple[int, int]]] = {}
    for w, view in enumerate(views):
        for b, prompt in enumerate(view):
            if wanted[w][b] and lengths[b]:
                places.setdefault((tuple(prompt), answers[b]), []).append((w, b))
    prompts, texts = [list(prompt) for prompt, _ in places], [[*prompt, *answer[:-1]] for prompt, answer in places]
    where = list(places.values())
    plan = plan_passes(prompts, [len(answer) for _, answer in places], batch_size, share)

    done, out = sum(part.calls for part in plan), None
    # Agreed on before the first call: a sharded model makes every call a matter of all ranks. With nothing to do there
    # is still one: it knows the width and the type of a hidden state.
    idle = most_of_ranks(max(done, 1)) - done
    with _evaluating(model):
        for part in plan:
            with autocast():
                hidden_nLD = _hidden(model, [texts[i] for i in part.rows], part.shared, device)
            if out is None:
                out = hidden_nLD.new_zeros(len(views), rows, num_response, hidden_nLD.shape[-1])
            for hidden_LD, i in zip(hidden_nLD, part.rows, strict=True):
                first, last = len(prompts[i]) - 1 - part.shared, len(texts[i]) - part.shared
                for w, b in where[i]:
                    out[w, b, : last - first] = hidden_LD[first:last]
        for _ in range(idle):
            with autocast():
                idle_11D = _hidden(model, [[0]], 0, device)
            if out is None:
                out = idle_11D.new_zeros(len(views), rows, num_response, idle_11D.shape[-1])
    assert out is not None
    return out


def shares_beginnings(model: nn.Module) -> bool:
    """Say whether keys and values of a prompt's beginning are all that later tokens need of it.

    So it is with attention layers; layers with a state of their own (Mamba, linear attention) are not shared.
    """
    config = model.config.get_text_config()  # type: ignore[union-attr]
    kinds = getattr(config, "layer_types", None)
    known = set(kinds) <= _KEEPS_KEYS if kinds else hasattr(config, "num_attention_heads")
    return known and not getattr(model, "_is_stateful", False)


def _hidden(model: nn.Module, texts: list[list[int]], shared: int, device: torch.device) -> Tensor:
    """Return hidden states (n, L, D) after the first `shared` tokens; texts are padded on the right.

    No mask: under causal attention nothing looks at what follows, so that padding changes nothing that is read.
    """
    options = {}
    if shared:
        from transformers import DynamicCache

        beginnings: dict[tuple[int, ...], int] = {}
        which = [beginnings.setdefault(tuple(ids[:shared]), len(beginnings)) for ids in texts]
        cache = DynamicCache()
        options = {"keys": cache}
        model(input_ids=torch.tensor(list(beginnings), device=device), on_hidden=lambda h: h[:, :0], **options)
        cache.batch_select_indices(torch.tensor(which, device=device))
    width = max(len(ids) for ids in texts) - shared
    padded = [ids[shared:] + [0] * (width + shared - len(ids)) for ids in texts]
    return model(input_ids=torch.tensor(padded, device=device), on_hidden=lambda h: h, **options)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Score as an evaluation: no dropout, and no recomputation, which would drop the keys and values."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
