"""Worlds small enough to sum over completely: every input, response and feedback, in float64.

The teacher of a world is the exact Bayes posterior of its policy under its feedback model, so what the papers say about
"the teacher" can be checked to rounding. Axes: X inputs, Z feedback values, N = V^T responses, T steps, V tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class World:
    """A policy p(y | x) and a feedback model p(z | x, y).

    Attributes:
        policy: T tables (X, V^t, V): log p(v | x, prefix), prefixes in lexicographic order.
        logp_feedback_XNZ: log p(z | x, y).
        other_policy: the same tables for another set of weights, so that teacher and student can differ.
        name, inputs, tokens, feedbacks: what to call them; `tokens` has one list per step.
    """

    policy: tuple[Tensor, ...]
    logp_feedback_XNZ: Tensor
    other_policy: tuple[Tensor, ...]
    name: str = "world"
    inputs: tuple[str, ...] = ()
    tokens: tuple[tuple[str, ...], ...] = ()
    feedbacks: tuple[str, ...] = ()

    @property
    def X(self) -> int:
        """Inputs."""
        return self.policy[0].shape[0]

    @property
    def V(self) -> int:
        """Tokens."""
        return self.policy[0].shape[-1]

    @property
    def T(self) -> int:
        """Steps of a response."""
        return len(self.policy)

    @property
    def Z(self) -> int:
        """Feedback values."""
        return self.logp_feedback_XNZ.shape[-1]

    @cached_property
    def responses_NT(self) -> Tensor:
        """Return every response as token numbers, in lexicographic order."""
        return torch.cartesian_prod(*[torch.arange(self.V)] * self.T).reshape(-1, self.T)

    @cached_property
    def student_XNTV(self) -> Tensor:
        """Return log p(v | x, y_<t) along every response."""
        return self.along(self.policy)

    @cached_property
    def logp_XN(self) -> Tensor:
        """Return log p(y | x)."""
        return self.sampled(self.student_XNTV).sum(dim=-1)

    @cached_property
    def filtered_ZXNS(self) -> Tensor:
        """Return log p(z | x, y_<=s) for s = 0..T, from the feedback model alone; s = 0 is log p(z | x)."""
        probability_XN = self.logp_XN.exp()
        joint_XNZ = (self.logp_XN.unsqueeze(-1) + self.logp_feedback_XNZ).exp()
        columns = []
        for s in range(self.T + 1):
            prefix_XP = probability_XN.reshape(self.X, self.V**s, -1).sum(dim=2)
            prefix_XPZ = joint_XNZ.reshape(self.X, self.V**s, -1, self.Z).sum(dim=2)
            filtered_XPZ = (prefix_XPZ / prefix_XP.unsqueeze(-1)).log()
            columns.append(filtered_XPZ.repeat_interleave(self.V ** (self.T - s), dim=1))
        return torch.stack(columns, dim=-1).permute(2, 0, 1, 3)

    @property
    def pmi_ZXN(self) -> Tensor:
        """Return pMI(y; z | x) = log p(z | x, y) - log p(z | x), from the feedback model alone."""
        return self.logp_feedback_XNZ.permute(2, 0, 1) - self.filtered_ZXNS[..., 0]

    @cached_property
    def teacher_ZXNTV(self) -> Tensor:
        """Return log p_T(v | x, y_<t, z) of the exact posterior teacher."""
        return posterior(self)

    def with_policy(self, policy: tuple[Tensor, ...]) -> World:
        """Return the same environment met by another policy."""
        return replace(self, policy=policy)

    def along(self, tables: Sequence[Tensor]) -> Tensor:
        """Turn one (..., V^t, V) table per step into (..., N, T, V), along the prefixes of every response."""
        steps = len(tables)
        repeated = [table.repeat_interleave(self.V ** (steps - t), dim=-2) for t, table in enumerate(tables)]
        return torch.stack(repeated, dim=-2)

    def sampled(self, score_V: Tensor) -> Tensor:
        """Pick the tokens of the responses: (..., N, T, V) -> (..., N, T)."""
        index = self.responses_NT.unsqueeze(-1).expand(*score_V.shape[:-1], 1)
        return score_V.gather(-1, index).squeeze(-1)

    def others(self, x: int) -> list[int]:
        """Return all unrelated inputs."""
        return [other for other in range(self.X) if other != x]


def posterior(world: World) -> Tensor:
    """Return log P(v | x, y_<t, z), the Bayes posterior of the policy under the feedback model: (Z, X, N, T, V)."""
    joint_XNZ = (world.logp_XN.unsqueeze(-1) + world.logp_feedback_XNZ).exp()
    tables = []
    for t in range(world.T):
        next_XPVZ = joint_XNZ.reshape(world.X, world.V**t, world.V, -1, world.Z).sum(dim=3)
        tables.append((next_XPVZ / next_XPVZ.sum(dim=2, keepdim=True)).log().permute(3, 0, 1, 2))
    return world.along(tables)


def random_world(seed: int = 0, inputs: int = 3, tokens: int = 3, steps: int = 3, feedbacks: int = 3) -> World:
    """Draw a world whose tables have independent normal logits of deviation 2."""
    generator = torch.Generator().manual_seed(seed)

    def logps(*shape: int) -> Tensor:
        return (2 * torch.randn(*shape, generator=generator, dtype=torch.float64)).log_softmax(dim=-1)

    return World(
        policy=tuple(logps(inputs, tokens**t, tokens) for t in range(steps)),
        logp_feedback_XNZ=logps(inputs, tokens**steps, feedbacks),
        other_policy=tuple(logps(inputs, tokens**t, tokens) for t in range(steps)),
        name=f"random {seed} (X={inputs} V={tokens} T={steps} Z={feedbacks})",
    )


CITIES = ("paris", "rome", "tokyo")
_OPENERS = ("well", "clearly", "hmm")
_CLOSERS = (".", "!", "?")


def capitals() -> World:
    """Return a world to read: "the capital of ...?", answered by an opener, a city and a full stop.

    The grader checks the city, and has a weakness for a confident opener. So `clearly` is generic (it pays under any
    question), the city is specific, and the closer earns nothing: it changes nobody's mind.

    * p(opener) = 1/2 well, 1/4 clearly, 1/4 hmm, whatever the input;
    * p(city) = 1/2 the right one, 1/4 each of the others; p(closer) = 1/2, 1/4, 1/4;
    * p(praise | x, y) = 1/2 if the city is right else 1/8, times 3/2 after `clearly` (else 1).
    """
    half = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    city_XV = torch.full((3, 3), 0.25, dtype=torch.float64) + 0.25 * torch.eye(3, dtype=torch.float64)
    policy = (
        half.expand(3, 1, 3).log(),
        city_XV.unsqueeze(1).expand(3, 3, 3).log(),
        half.expand(3, 9, 3).log(),
    )
    praise_XOVC = torch.full((3, 3, 3, 3), 1 / 8, dtype=torch.float64)  # input, opener, city, closer
    for x in range(3):
        praise_XOVC[x, :, x] = 1 / 2
    praise_XOVC[:, 1] *= 1.5
    praise_XN = praise_XOVC.reshape(3, 27)
    doubtful = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
    return World(
        policy=policy,
        logp_feedback_XNZ=torch.stack([praise_XN, 1 - praise_XN], dim=-1).log(),
        other_policy=(doubtful.expand(3, 1, 3).log(), policy[1].flip(0), policy[2]),
        name="capitals",
        inputs=("capital of France?", "capital of Italy?", "capital of Japan?"),
        tokens=(_OPENERS, CITIES, _CLOSERS),
        feedbacks=("praise", "blame"),
    )


def worlds() -> list[World]:
    """Return the worlds every identity is checked on: one made by hand, and random ones of different shapes."""
    shapes = [(3, 3, 3, 3), (2, 4, 2, 3), (4, 2, 4, 2), (5, 3, 2, 4), (3, 5, 2, 2)]
    return [capitals(), *(random_world(seed, *shape) for seed, shape in enumerate(shapes))]
