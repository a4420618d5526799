"""Forward passes over a batch: which rows go together, and what is read only once.

The student reads prompts and its responses, with gradient; teachers read views, each a prompt and a response, without.
Where the model can read rows so, they are a prefix tree: every common beginning is read once, and nothing is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from credit.prefix_tree import trees
from credit.scoring import evaluating
from credit.tree_attention import read_tree

CALL = 128
"""Tokens that one more call of the model is worth: it has a cost of its own. Measured on the embedded model. Ours."""
PASS = 4096
"""Tokens that a pass without gradient may always have: it keeps no activations, and small passes share little. Ours."""


def plan_passes(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Distribute rows, padded to the longest of each pass, over passes of at most `size` rows, as costs least.

    Args:
        lengths: tokens of each row.
        size: most rows in one pass; fewer are taken where padding costs more than another call.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)

    def cost(plan: list[list[int]]) -> int:
        return sum(len(part) * lengths[part[-1]] + CALL for part in plan)

    sizes = {max(1, size >> halved) for halved in range(size.bit_length())}
    return min(([order[i : i + n] for i in range(0, len(order), n)] for n in sorted(sizes, reverse=True)), key=cost)


def read_rollouts(
    model: Callable[..., Any], ids_BL: Tensor, mask_BL: Tensor, num_response: int, as_tree: bool,
    on_hidden: Callable[[Callable[[Tensor], Tensor]], Any],
) -> Any:  # fmt: skip
    """Run the student on its rollouts and return `on_hidden(at)`, called inside its forward, with gradient.

    Args:
        model: with a response head, wrapped or not.
        ids_BL: prompts padded on the left, then responses padded on the right.
        mask_BL: 1 where there is a token.
        num_response: T, the last positions, which hold responses.
        as_tree: whether the model can read trees.
        on_hidden: gets a function (B, T) mask of response tokens -> the hidden states that predict them, (n, D).
    """
    if not as_tree:
        return model(
            input_ids=ids_BL, attention_mask=mask_BL,
            on_hidden=lambda hidden_BLD: on_hidden(lambda where_BT: hidden_BLD[:, -num_response - 1 : -1][where_BT]),
        )  # fmt: skip
    kept = [[t for t, m in zip(*row, strict=True) if m] for row in zip(ids_BL.tolist(), mask_BL.tolist(), strict=True)]
    lengths = mask_BL[:, -num_response:].sum(dim=1).tolist()
    # A response's last token predicts nothing of it; without a response there is nothing to read.
    texts = [(b, row[:-1]) for b, row in enumerate(kept) if lengths[b]] or [(0, [0])]
    (tree,) = trees([row for _, row in texts], len(texts) * max(len(row) for _, row in texts), ids_BL.device)
    places = np.zeros((len(kept), num_response), dtype=np.int64)
    for i, (b, _) in enumerate(texts):
        if lengths[b]:
            places[b, : lengths[b]] = tree.paths[i][-lengths[b] :]
    places_BT = torch.from_numpy(places).to(ids_BL.device)
    return read_tree(model, tree, lambda hidden_ND: on_hidden(lambda where_BT: hidden_ND[places_BT[where_BT]]))


@torch.no_grad()
def response_hidden(
    model: nn.Module,
    views: Sequence[list[list[int]]],
    response_ids_BT: Tensor,
    response_mask_BT: Tensor,
    batch_size: int,
    wanted_WB: Tensor | None = None,
    as_tree: bool = False,
    autocast: Callable[[], Any] = nullcontext,
    most_of_ranks: Callable[[int], int] = int,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the hidden states that predict each response token under each view, (W, B, T, D), without gradient.

    Args:
        model: with a response head (`credit.scoring.with_response_head`), wrapped or not.
        views: W lists of B prompts in token ids; responses are appended as they are, never tokenised again.
        response_ids_BT: token ids.
        response_mask_BT: 1 for the tokens of a response, which come first.
        batch_size: most rows in one pass; of a tree, as many tokens as that many rows of the longest would have, or
            `PASS`.
        wanted_WB: which rows of which view to compute; the others are zero, as is what follows a response.
        as_tree: whether the model can read trees (`credit.tree_attention.why_not`).
        autocast: context of every pass.
        most_of_ranks: number of calls here -> the largest number on any rank. All ranks run that many, because a
            sharded model needs all of them in every call.
        dtype: of what is returned; as the hidden states are, if None.
    """
    device, (rows, num_response) = response_ids_BT.device, response_ids_BT.shape
    lengths = response_mask_BT.sum(dim=1).tolist()
    wanted = [[True] * rows] * len(views) if wanted_WB is None else wanted_WB.tolist()
    answers = [ids[:length] for ids, length in zip(response_ids_BT.tolist(), lengths, strict=True)]
    # The same answer to the same prompt is read once: a model that is sure of itself repeats itself. Its last token
    # predicts nothing of it and is not read.
    places: dict[tuple[int, ...], list[tuple[int, int, int]]] = {}
    for w, view in enumerate(views):
        for b, prompt in enumerate(view):
            if wanted[w][b] and lengths[b]:
                places.setdefault((*prompt, *answers[b][:-1]), []).append((w, b, len(prompt) - 1))
    texts, where = list(places), list(places.values())
    read = _as_trees if as_tree else _as_rows
    calls, passes = read(model, texts, batch_size, device)

    # Agreed on before the first call: a sharded model makes every call a matter of all ranks. With nothing to do there
    # is still one: it knows the width and the type of a hidden state.
    idle, out = most_of_ranks(max(calls, 1)) - calls, None
    with evaluating(model):
        for number in range(calls + idle):
            with autocast():
                hidden_ND, paths = next(passes) if number < calls else (_plain(model, [(0,)], device)[0], {})
            if out is None:
                size = (len(views) * rows * num_response, hidden_ND.shape[-1])
                out = hidden_ND.new_zeros(size, dtype=dtype)
            here = [(path[first:], w * rows + b) for i, path in paths.items() for w, b, first in where[i]]
            if here:
                source = np.concatenate([path for path, _ in here])
                target = np.concatenate([row * num_response + np.arange(len(path)) for path, row in here])
                out[torch.from_numpy(target).to(device)] = hidden_ND[torch.from_numpy(source).to(device)].to(out.dtype)
    assert out is not None
    return out.view(len(views), rows, num_response, -1)


Passes = tuple[int, Iterator[tuple[Tensor, dict[int, np.ndarray]]]]
"""How many calls there will be, and what each gives: hidden states (N, D), and the places of each row's tokens."""


def _as_trees(model: nn.Module, texts: list[tuple[int, ...]], size: int, device: torch.device) -> Passes:
    plan = trees(texts, max(PASS, size * max(map(len, texts), default=0)), device)
    return len(plan), ((read_tree(model, tree, lambda hidden_ND: hidden_ND), tree.paths) for tree in plan)


def _as_rows(model: nn.Module, texts: list[tuple[int, ...]], size: int, device: torch.device) -> Passes:
    plan = plan_passes([len(text) for text in texts], size) if texts else []

    def passes() -> Iterator[tuple[Tensor, dict[int, np.ndarray]]]:
        for part in plan:
            hidden_nLD = _plain(model, [texts[i] for i in part], device)
            width = hidden_nLD.shape[1]
            paths = {i: r * width + np.arange(len(texts[i])) for r, i in enumerate(part)}
            yield hidden_nLD.flatten(0, 1), paths

    return len(plan), passes()


def _plain(model: nn.Module, texts: list[tuple[int, ...]], device: torch.device) -> Tensor:
    """Return hidden states (n, L, D) of texts padded on the right.

    No mask: under causal attention nothing looks at what follows, so that padding changes nothing that is read.
    """
    width = max(len(text) for text in texts)
    padded = [[*text, *[0] * (width - len(text))] for text in texts]
    return model(input_ids=torch.tensor(padded, device=device), on_hidden=lambda hidden_nLD: hidden_nLD)
