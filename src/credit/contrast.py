"""Who is x'? Unrelated inputs for each rollout: a derangement over the unique prompts of the generation batch.

Cyclic shifts by distinct random offsets use every prompt equally often as a negative and never pair a prompt with
itself. Knows no model: whether a longer x' still fits is asked of the caller.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from credit._shapes import Int

NEGATIVES_FROM = ("any", "same_family")


def prompt_key(prompt: str | list[dict[str, Any]]) -> str:
    """Identity of a prompt as text; message lists compare by content."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True, ensure_ascii=False, default=str)


def draw_negatives(
    prompts: Sequence[str | list[dict[str, Any]]],
    group_ids: Sequence[int] | Int[Tensor, "N"],
    num_negatives: int,
    generator: torch.Generator,
    fits: Callable[[int, int], bool] | None = None,
    families: Sequence[str | None] | None = None,
) -> Int[Tensor, "N C"]:
    """Draw C unrelated inputs for every row (ours; the paper's rule is not known).

    Args:
        prompts: N texts or message lists, of all ranks.
        group_ids: prompt group of each row; rows of one group share a prompt.
        num_negatives: C >= 1.
        generator: a CPU generator of its own, so that drawing never disturbs sampling.
        fits: `fits(i, j)` says whether prompt j with the feedback of row i fits the context. A negative that does not
            fit is redrawn, then left out.
        families: kind of task of each row; if given, negatives are drawn within a family (ours). Rows without one are
            a family of their own.

    Returns:
        Row indices, -1 where no further negative exists. Never the row's own group, never its own prompt text, never
        the same text twice in a row.
    """
    if num_negatives < 1:
        raise ValueError(f"num_negatives={num_negatives}: at least one is needed. For no contrast use lam=0.")
    if len(prompts) != len(group_ids):
        raise ValueError(f"got {len(prompts)} prompts but {len(group_ids)} group ids; one per rollout is needed.")
    if families is not None:
        return _within_families(prompts, group_ids, num_negatives, generator, fits, families)
    groups = [int(g) for g in group_ids]
    keys = [prompt_key(p) for p in prompts]
    first_row: dict[str, int] = {}
    for row, key in enumerate(keys):
        first_row.setdefault(key, row)
    unique = list(first_row)
    count = len(unique)
    negatives = torch.full((len(prompts), num_negatives), -1, dtype=torch.long)
    if count < 2:
        return negatives

    order = torch.randperm(count, generator=generator).tolist()
    offsets = (torch.randperm(count - 1, generator=generator) + 1).tolist()
    place = {unique[u]: position for position, u in enumerate(order)}
    groups_of: dict[str, set[int]] = {}
    for key, group in zip(keys, groups, strict=True):
        groups_of.setdefault(key, set()).add(group)

    for row, key in enumerate(keys):
        chosen = 0
        for offset in offsets:
            other = unique[order[(place[key] + offset) % count]]
            # An environment may vary the prompt within a group: such a text is not an unrelated input.
            if groups[row] in groups_of[other]:
                continue
            candidate = first_row[other]
            if fits is not None and not fits(row, candidate):
                continue
            negatives[row, chosen] = candidate
            chosen += 1
            if chosen == num_negatives:
                break
    return negatives


def _within_families(
    prompts: Sequence[Any],
    group_ids: Any,
    num_negatives: int,
    generator: torch.Generator,
    fits: Callable[[int, int], bool] | None,
    families: Sequence[str | None],
) -> Tensor:
    negatives = torch.full((len(prompts), num_negatives), -1, dtype=torch.long)
    for family in dict.fromkeys(families):
        rows = [row for row, own in enumerate(families) if own == family]

        def fits_here(i: int, j: int, rows: list[int] = rows) -> bool:
            return fits is None or fits(rows[i], rows[j])

        drawn = draw_negatives(
            [prompts[row] for row in rows], [int(group_ids[row]) for row in rows], num_negatives, generator, fits_here
        )
        whole = torch.tensor(rows)
        negatives[whole] = torch.where(drawn >= 0, whole[drawn.clamp(min=0)], drawn)
    return negatives
