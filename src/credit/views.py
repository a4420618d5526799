"""Which prompts the teachers read for each rollout: its z, its own view, and the same z under unrelated inputs.

Every view of a rollout carries the same solution and feedback, so z is fixed first and cut to fit the own view; a
negative whose longer prompt would then overflow is redrawn, and left out if none fits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from credit.context import Messages, TeacherTemplate, choose_context, shorten, teacher_messages
from credit.contrast import draw_negatives, prompt_key

Prompt = str | Messages
Context = tuple[str | None, str | None]
SLACK = 8
"""Tokens by which a chat template may make a joined view longer than the sum of its parts."""


@dataclass(frozen=True)
class Batch:
    """The generation batch of all ranks, one entry per rollout."""

    prompts: Sequence[Prompt]
    texts: Sequence[str]
    feedback: Sequence[str | None]
    succeeded: Sequence[bool]
    groups: Sequence[int]
    families: Sequence[str | None] = ()


@dataclass
class Plan:
    """What to score for the local rollouts.

    Attributes:
        contexts: (solution, feedback) per rollout; both None where there is no teacher.
        own: prompt ids of the teacher's own view.
        negatives: (B, C) global rows, -1 where none exists; None without a contrast.
        contrast: C lists of prompt ids: unrelated input, same z; or own input, wrong answer as the solution.
        said: texts of what each rollout is contrasted with.
        nofeedback: C lists of prompt ids: unrelated input, no z.
        cut: rollouts whose z was shortened or dropped to fit.
        dropped: those of them, counted from 0, that lost all of it.
    """

    contexts: list[Context]
    own: list[list[int]]
    negatives: Tensor | None = None
    contrast: list[list[list[int]]] = field(default_factory=list)
    nofeedback: list[list[list[int]]] = field(default_factory=list)
    said: list[list[str]] = field(default_factory=list)
    cut: int = 0
    dropped: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Planner:
    """Builds plans.

    Args:
        tokenize: prompts -> token ids, with the student's chat template and options.
        tokenizer: the plain tokenizer, to cut z by tokens.
        template: the teacher's words.
        feedback_when: see `CreditConfig`.
        num_negatives: C, or 0 for no contrast.
        without_feedback: also render the negatives without z.
        contrast: "inputs" (unrelated x', same z) or "answers" (own x, wrong answers of the group).
        same_family: draw x' among rollouts of the same family.
    """

    tokenize: Callable[[list[Any]], list[list[int]]]
    tokenizer: Any
    template: TeacherTemplate
    feedback_when: str
    num_negatives: int
    without_feedback: bool
    contrast: str | None = "inputs"
    same_family: bool = False

    def plan(
        self,
        batch: Batch,
        rows: range,
        limit: int | Sequence[int],
        seed: int,
        contexts: Sequence[Context] | None = None,
    ) -> Plan:
        """Plan the views of global `rows` with teacher prompts of at most `limit` tokens.

        Args:
            batch: the rollouts of all ranks.
            rows: those of this rank.
            limit: longest teacher prompt in tokens, one for all or one for each of `rows`.
            seed: of siblings and negatives.
            contexts: (solution, feedback) of each of `rows` where they are known; without them siblings are chosen.
        """
        limits = [limit] * len(rows) if isinstance(limit, int) else limit
        chosen = contexts or self._choose(batch, rows, seed)
        plan = self._own_views(batch, rows, limits, [(self._plain(s), self._plain(f)) for s, f in chosen])
        if not self.num_negatives:
            return plan
        if self.contrast == "answers":
            self._contrast_answers(plan, batch, rows, limits, seed)
            return plan
        self._contrast_inputs(plan, batch, rows, seed, None)
        long = {row for i, row in enumerate(rows) if any(len(view[i]) > limits[i] for view in plan.contrast)}
        if long:  # seldom; rows that fit keep what they have drawn, whatever else their rank holds
            lengths = self._prompt_lengths(batch.prompts)
            extra = {row: len(plan.own[row - rows.start]) - lengths[row] for row in long}

            def fits(row: int, other: int) -> bool:
                return row not in long or lengths[other] + extra[row] + SLACK <= limits[row - rows.start]

            self._contrast_inputs(plan, batch, rows, seed, fits)
        return plan

    def _contrast_inputs(
        self, plan: Plan, batch: Batch, rows: range, seed: int, fits: Callable[[int, int], bool] | None
    ) -> None:
        """Draw unrelated inputs for each rollout and render its views under them."""
        keys = [prompt_key(prompt) for prompt in batch.prompts]
        kinds = batch.families if self.same_family else None
        generator = torch.Generator().manual_seed(seed)
        drawn = draw_negatives(keys, batch.groups, self.num_negatives, generator, fits, kinds)
        plan.negatives, plan.contrast, plan.nofeedback = drawn[rows.start : rows.stop], [], []
        for column in plan.negatives.T.tolist():
            # The own prompt stands in for a missing negative; it is never scored.
            prompts = [batch.prompts[j if j >= 0 else row] for j, row in zip(column, rows, strict=True)]
            plan.contrast.append(self._render(prompts, plan.contexts))
            if self.without_feedback:
                plan.nofeedback.append(self._render(prompts, [(None, None)] * len(prompts)))
        plan.said = [[keys[j] for j in row if j >= 0] for row in plan.negatives.tolist()]

    def _contrast_answers(self, plan: Plan, batch: Batch, rows: range, limits: Sequence[int], seed: int) -> None:
        """Draw wrong answers of each rollout's group; without a right one to show there is nothing to contrast."""
        plan.negatives = torch.full((len(rows), self.num_negatives), -1)
        views = [[ids] * self.num_negatives for ids in plan.own]  # stands in where there is none; never scored
        for i, row in enumerate(rows):
            prompt, said = batch.prompts[row], []
            if plan.contexts[i][0] is not None:
                for j in self._wrong_answers(batch, row, seed):
                    text = self._plain(batch.texts[j])
                    ids = self._render([prompt], [(text, None)])[0]
                    if len(said) < self.num_negatives and len(ids) <= limits[i]:
                        plan.negatives[i, len(said)], views[i][len(said)] = j, ids
                        said.append(text or "")
            plan.said.append(said)
        plan.contrast = [list(column) for column in zip(*views, strict=True)]

    @staticmethod
    def _wrong_answers(batch: Batch, row: int, seed: int) -> list[int]:
        group = [j for j, g in enumerate(batch.groups) if g == batch.groups[row] and j != row]
        found = [j for j in group if not batch.succeeded[j] and batch.texts[j].strip()]
        random.Random(f"{seed}/{row}/wrong").shuffle(found)
        return found

    def _choose(self, batch: Batch, rows: range, seed: int) -> list[Context]:
        members: dict[int, list[int]] = {}
        for row, group in enumerate(batch.groups):
            members.setdefault(group, []).append(row)
        return [
            choose_context(
                row,
                members[batch.groups[row]],
                batch.succeeded,
                batch.texts,
                batch.feedback,
                self.feedback_when,
                random.Random(f"{seed}/{row}").randrange,  # by global row: the same on any number of ranks
            )
            for row in rows
        ]

    def _own_views(self, batch: Batch, rows: range, limits: Sequence[int], contexts: Sequence[Context]) -> Plan:
        prompts = [batch.prompts[row] for row in rows]
        plan = Plan(list(contexts), self._render(prompts, contexts))
        for i, (ids, limit) in enumerate(zip(plan.own, limits, strict=True)):
            if len(ids) > limit and any(contexts[i]):
                plan.contexts[i], plan.own[i] = self._cut_to_fit(prompts[i], contexts[i], limit, len(ids) - limit)
                plan.cut += 1
                if not any(plan.contexts[i]):
                    plan.dropped.append(i)
        return plan

    def _cut_to_fit(self, prompt: Prompt, context: Context, limit: int, excess: int) -> tuple[Context, list[int]]:
        """Cut z in the middle, feedback first; drop it when the prompt alone is too long."""
        kept = list(context)
        for part in (1, 0):  # feedback, solution
            cut = 0
            while kept[part]:
                # Always from the whole text: cutting what is already cut may only replace the mark, for ever.
                cut += excess
                kept[part] = shorten(context[part] or "", cut, self._encode, self.tokenizer.decode) or None
                ids = self._render([prompt], [(kept[0], kept[1])])[0]
                if len(ids) <= limit:
                    return (kept[0], kept[1]), ids
                excess = len(ids) - limit
        return (None, None), self._render([prompt], [(None, None)])[0]

    def _prompt_lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        unique = {prompt_key(p): p for p in prompts}
        ids = self.tokenize(list(unique.values()))
        length = {key: len(i) for key, i in zip(unique, ids, strict=True)}
        return [length[prompt_key(p)] for p in prompts]

    def _render(self, prompts: Sequence[Prompt], contexts: Sequence[Context]) -> list[list[int]]:
        keys = [(str(p), z) for p, z in zip(prompts, contexts, strict=True)]
        unique = {key: teacher_messages(p, *key[1], self.template) for key, p in zip(keys, prompts, strict=True)}
        ids = dict(zip(unique, self.tokenize(list(unique.values())), strict=True))  # a chat template takes its time
        return [ids[key] for key in keys]

    def _plain(self, text: str | None) -> str | None:
        """Break up special tokens in z: whoever wrote it must not open a turn of the conversation."""
        for token in self._specials:
            if text and token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    @cached_property
    def _specials(self) -> list[str]:
        return [token for token in getattr(self.tokenizer, "all_special_tokens", ()) if len(token) > 1]

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def describe(plan: Plan, batch: Batch, local: int, row: int, decode: Callable[[Sequence[int]], str]) -> dict[str, Any]:
    """What local rollout `local` (global row `row`) was asked, what its teacher read, and who it was compared with."""
    return {
        "group": batch.groups[row],
        "prompt": prompt_key(batch.prompts[row]),
        "solution": plan.contexts[local][0],
        "feedback": plan.contexts[local][1],
        "negatives": plan.said[local] if plan.said else [],
        "teacher_prompt": decode(plan.own[local]) if any(plan.contexts[local]) else None,
    }
