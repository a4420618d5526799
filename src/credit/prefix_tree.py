"""Rows of tokens as a tree: every common beginning once, no padding. Planning only; `tree_attention` reads it.

A token's state depends on the tokens before it and on nothing else, so rows that begin alike share those states. In
sorted order what a row shares with the rows before it, it shares with its neighbour: the rest is its own, and a tree
is laid out as the own parts of its rows, one after another.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

_SPREAD = 1.5
"""How much longer a row's own part may be than the shortest of its block. Measured on the embedded model. Ours."""
_MASK = 2**26
"""Pairs of own token and key at most of a row that shares its beginning: its mask holds a byte for each. Ours."""


@dataclass(frozen=True)
class Block:
    """Rows whose own tokens attend together; R rows, at most Q own tokens, at most K tokens.

    Attributes:
        query_RQ: places of the own tokens in the tree, padded on the right.
        key_RK: places of all tokens of the row, padded on the right with its first one: what is masked is still
            computed, and a row must not catch what is not finite in another.
        first_R: how many tokens the row shares with rows before it; its own ones follow.
        own_N: which of `query_RQ`, counted through, are no padding.
        whole: no row shares anything: Q is K, and attention is plainly causal.
    """

    query_RQ: Tensor
    key_RK: Tensor
    first_R: Tensor
    own_N: Tensor
    whole: bool
    _seen: dict[int | None, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def sees(self, window: int | None) -> Tensor | None:
        """Return which keys an own token attends to, (R or 1, 1, Q, K); None where plain causality says it.

        Args:
            window: a token sees itself and at most `window - 1` before it; None for all of them.
        """
        keys = self.key_RK.shape[1]
        window = None if window is None or window >= keys else window
        if self.whole and window is None:
            return None
        if window not in self._seen:
            device = self.key_RK.device
            key_K = torch.arange(keys, device=device)
            first_R = self.first_R[:1] if self.whole else self.first_R  # whole rows are all alike
            at_RQ1 = (first_R[:, None] + torch.arange(self.query_RQ.shape[1], device=device)).unsqueeze(-1)
            seen = key_K <= at_RQ1
            if window is not None:
                # What follows a row's last token is padding; it must see something, or attention divides by zero.
                seen &= key_K > at_RQ1.clamp(max=keys - 1) - window
            self._seen[window] = seen.unsqueeze(1)
        return self._seen[window]


@dataclass(frozen=True)
class Tree:
    """Rows to be read in one pass; N tokens.

    Attributes:
        ids_1N, positions_1N: token ids, and how many tokens come before each in its row.
        blocks: in the order in which their tokens are laid out.
        paths: places of each row's tokens, by the row's index in what was planned.
    """

    ids_1N: Tensor
    positions_1N: Tensor
    blocks: list[Block]
    paths: dict[int, np.ndarray]


def trees(rows: Sequence[Sequence[int]], most: int, device: torch.device | str = "cpu") -> list[Tree]:
    """Lay rows out as trees.

    Args:
        rows: token ids, at least one each.
        most: tokens that may be computed in one pass, and keys that may be gathered at once; more only where a single
            row has more.
        device: where the tensors go.
    """
    order = sorted(range(len(rows)), key=lambda i: tuple(rows[i]))
    found: list[Tree] = []
    part: list[tuple[int, int]] = []  # (row, tokens it shares with the one before)
    tokens, before = 0, None
    for i in order:
        shared = 0 if before is None else common(rows[before], rows[i])
        if (len(rows[i]) - shared) * len(rows[i]) > _MASK:  # long answers outweigh what a prompt costs to read again
            shared = 0
        if part and tokens + len(rows[i]) - shared > most:
            found.append(_tree(rows, part, most, device))
            part, tokens, shared = [], 0, 0
        part.append((i, shared))
        tokens, before = tokens + len(rows[i]) - shared, i
    return [*found, _tree(rows, part, most, device)] if part else found


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    return bisect_left(range(1, min(len(a), len(b)) + 1), True, key=lambda n: a[:n] != b[:n])


def _tree(rows: Sequence[Sequence[int]], part: list[tuple[int, int]], most: int, device: torch.device | str) -> Tree:
    groups = _groups([(shared, len(rows[i])) for i, shared in part], most)
    laid = [place for group in groups for place in group]
    own = [len(rows[i]) - shared for i, shared in part]
    start = dict(zip(laid, np.cumsum([0, *(own[place] for place in laid)]).tolist(), strict=False))
    paths, path = [], np.empty(0, dtype=np.int64)
    for place, (i, shared) in enumerate(part):
        if own[place]:
            path = np.concatenate([path[:shared], np.arange(start[place], start[place] + own[place])])
        paths.append(path[: len(rows[i])])
    ids = [token for place in laid for token in rows[part[place][0]][part[place][1] :]]
    positions = [position for place in laid for position in range(part[place][1], len(rows[part[place][0]]))]
    return Tree(
        ids_1N=torch.tensor([ids], device=device),
        positions_1N=torch.tensor([positions], device=device),
        blocks=[_block([(paths[place], part[place][1]) for place in group], device) for group in groups],
        paths={i: paths[place] for place, (i, _) in enumerate(part)},
    )


def _groups(parts: list[tuple[int, int]], most: int) -> list[list[int]]:
    """Distribute rows, as (tokens shared, tokens), over blocks; a row without own tokens is in none."""
    sizes = {place: total - shared for place, (shared, total) in enumerate(parts) if total > shared}
    groups: list[list[int]] = []
    fewest = longest = 0
    for place in sorted(sizes, key=lambda p: (parts[p][0] > 0, sizes[p], p)):
        shared, total = parts[place]
        longest = max(longest, total)
        alike = bool(groups) and (parts[groups[-1][0]][0] > 0) == (shared > 0) and sizes[place] <= _SPREAD * fewest
        if alike and longest * (len(groups[-1]) + 1) <= most:
            groups[-1].append(place)
        else:
            groups.append([place])
            fewest, longest = sizes[place], total
    return groups


def _block(rows: list[tuple[np.ndarray, int]], device: torch.device | str) -> Block:
    longest = max(len(path) for path, _ in rows)
    most_own = max(len(path) - shared for path, shared in rows)
    query, key = np.empty((len(rows), most_own), dtype=np.int64), np.empty((len(rows), longest), dtype=np.int64)
    own: list[int] = []
    for r, (path, shared) in enumerate(rows):
        count = len(path) - shared
        query[r], key[r] = path[0], path[0]
        query[r, :count], key[r, : len(path)] = path[shared:], path
        own += range(r * most_own, r * most_own + count)
    first = torch.tensor([shared for _, shared in rows], device=device)
    query_RQ, key_RK = torch.from_numpy(query).to(device), torch.from_numpy(key).to(device)
    return Block(query_RQ, key_RK, first, torch.tensor(own, device=device), whole=not any(s for _, s in rows))
