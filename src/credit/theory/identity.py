"""What a checked identity is, and what it is made of: the ingredients, which can be broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

import torch
from torch import Tensor

from credit import compatibility, divergences, rewards
from credit.theory.world import World, posterior

SOURCES = ("abstract", "second-hand", "ours")
TOLERANCE = 1e-10


def log_mean(logp_C: Tensor) -> Tensor:
    """Return the log of the mean over the leading axis, the other way to average log-probabilities."""
    return logp_C.logsumexp(dim=0) - torch.tensor(float(logp_C.shape[0]), dtype=logp_C.dtype).log()


def expected_credit(logp_student_V: Tensor, reward_V: Tensor) -> Tensor:
    """Return E_{v~p} R_v, the baseline of the state."""
    return (logp_student_V.exp() * reward_V).sum(dim=-1)


def mixture(logp_teacher_ZN: Tensor, log_weight_Z: Tensor) -> Tensor:
    """Return the log of sum_z w_z p_T(y | z)."""
    return (logp_teacher_ZN + log_weight_Z.unsqueeze(-1)).logsumexp(dim=0)


def likelihood(ratio_N: Tensor) -> Tensor:
    """Return a feedback probability p(z | y) in (0, 1] that is proportional to a bounded ratio p_T / p."""
    return ratio_N / ratio_N.max()


def subsets(inputs: Iterable[int], size: int) -> list[tuple[int, ...]]:
    """Return every draw of `size` different inputs."""
    return list(combinations(inputs, size))


@dataclass(frozen=True)
class Ingredients:
    """What the identities are about. The defaults are the exact posterior and the functions that train models."""

    posterior: Callable[[World], Tensor] = posterior
    teacher_prior: Callable[[World], World] = lambda world: world.with_policy(world.other_policy)
    increment: Callable[..., Tensor] = rewards.filtering_increment
    decompose: Callable[..., tuple[Tensor, Tensor]] = rewards.decompose
    leave_one_out: Callable[..., tuple[Tensor, Tensor]] = rewards.decompose_leave_one_out
    credit: Callable[..., Tensor] = rewards.credit_reward
    target: Callable[..., Tensor] = rewards.contrastive_teacher
    restrict_target: Callable[..., tuple[Tensor, Tensor]] = divergences.restrict_target
    advantages: Callable[..., Tensor] = rewards.token_advantages
    expected_credit: Callable[..., Tensor] = expected_credit
    reverse_kl: Callable[..., Tensor] = divergences.reverse_kl
    jsd_advantage: Callable[..., Tensor] = divergences.jsd_advantage
    mixture_gap: Callable[..., Tensor] = compatibility.mixture_gap
    mixture: Callable[..., Tensor] = mixture
    likelihood: Callable[[Tensor], Tensor] = likelihood
    log_mean: Callable[[Tensor], Tensor] = log_mean
    subsets: Callable[..., list[tuple[int, ...]]] = subsets
    follow: Callable[..., Tensor] = torch.lerp


@dataclass(frozen=True)
class Break:
    """One ingredient, spoiled: what is wrong with it, and the fields that replace the sound ones."""

    what: str
    changes: dict[str, Any]

    def spoil(self) -> Ingredients:
        """Return ingredients of which this one is wrong."""
        return replace(Ingredients(), **self.changes)


def _averaged(function: Callable[..., Any], teachers: int) -> Callable[..., Any]:
    """Hand `function` the log of the mean where it expects several negatives; they follow `teachers` arguments."""

    def spoiled(*args: Any) -> Any:
        contrasts = (log_mean(a)[None] if isinstance(a, Tensor) else a for a in args[teachers:])
        return function(*args[:teachers], *contrasts)

    return spoiled


def _own_input_included(logp_teacher_N: Tensor) -> tuple[Tensor, Tensor]:
    generic = logp_teacher_N.mean(dim=0, keepdim=True).expand_as(logp_teacher_N)
    return logp_teacher_N - generic, generic


def _with_gamma(*args: Any) -> Tensor:
    reward, expected, mask, token_credit, gamma, baseline, mean = args
    return rewards.token_advantages(reward, expected, mask, token_credit, 0.9 * gamma, baseline, mean)


def _bucket(teacher: Tensor, contrasts: Any, index: Tensor, tail: str, target: Callable[..., Tensor]) -> Any:
    return divergences.restrict_target(teacher, contrasts, index, "bucket" if tail == "exact" else tail, target)


BREAKS: dict[str, Break] = {
    "posterior": Break(
        "the teacher is sharper than the Bayes posterior",
        {"posterior": lambda world: (1.1 * posterior(world)).log_softmax(dim=-1)},
    ),
    "normalised-teacher": Break(
        "the teacher's probabilities sum to 1.01",
        {"posterior": lambda world: posterior(world) + torch.tensor(1.01).log()},
    ),
    "teacher-weights": Break(
        "the teacher's weights are taken for the student's",
        {"teacher_prior": lambda world: world},
    ),
    "increment": Break("r is student minus teacher", {"increment": lambda teacher, student: student - teacher}),
    "mean-of-logs": Break(
        "G is the log of a mean, not the mean of logs",
        {
            "decompose": _averaged(rewards.decompose, 1),
            "credit": _averaged(rewards.credit_reward, 2),
            "target": _averaged(rewards.contrastive_teacher, 1),
        },
    ),
    "unrelated-inputs": Break("an input counts among its own unrelated inputs", {"leave_one_out": _own_input_included}),
    "credit": Break(
        "lambda has the wrong sign in R",
        {"credit": lambda t, p, c, lam, *rest: 2 * (t - p) - rewards.credit_reward(t, p, c, lam, *rest)},
    ),
    "target": Break(
        "the target uses half more than lambda",
        {"target": lambda t, c, lam, *rest: rewards.contrastive_teacher(t, c, 1.5 * lam + 0.01, *rest)},
    ),
    "form": Break(
        "every form is taken for the paper's",
        {"target": lambda t, c, lam, *rest: rewards.contrastive_teacher(t, c, lam)},
    ),
    "reverse-kl": Break(
        "the divergence runs in the other direction", {"reverse_kl": lambda p, q: divergences.reverse_kl(q, p)}
    ),
    "jsd-advantage": Break(
        "the closed form swaps alpha and 1 - alpha",
        {"jsd_advantage": lambda u, alpha: divergences.jsd_advantage(u, 1 - alpha)},
    ),
    "exact-tail": Break("everything outside the support is one bucket raised to a power", {"restrict_target": _bucket}),
    "to-go": Break("later credit is discounted by 0.9", {"advantages": _with_gamma}),
    "baseline": Break(
        "the baseline is a plain mean over the vocabulary", {"expected_credit": lambda p, reward: reward.mean(dim=-1)}
    ),
    "mixture": Break(
        "the student is the geometric mean of its teachers",
        {"mixture": lambda teacher, weight: (teacher * weight.exp().unsqueeze(-1)).sum(dim=0).log_softmax(dim=-1)},
    ),
    "mixture-gap": Break(
        "the gap compares with equally likely feedback",
        {"mixture_gap": lambda p, t, w: compatibility.mixture_gap(p, t, torch.zeros_like(w).log_softmax(dim=0))},
    ),
    "bounded-likelihood": Break(
        "ratios above 1 are cut instead of scaled", {"likelihood": lambda ratio: ratio.clamp(max=1.0)}
    ),
    "log-of-mean": Break("the log of the mean forgets to divide", {"log_mean": lambda logp: logp.logsumexp(dim=0)}),
    "without-replacement": Break(
        "one input may be drawn several times", {"subsets": lambda inputs, size: list(product(inputs, repeat=size))}
    ),
    "follow": Break(
        "the EMA rate is inverted", {"follow": lambda teacher, student, rate: torch.lerp(teacher, student, 1 - rate)}
    ),
}


@dataclass(frozen=True)
class Identity:
    """One checked statement.

    Attributes:
        name: short name, unique.
        source: where the statement comes from, one of `SOURCES`.
        statement: what is claimed, in one line.
        needs: names of `BREAKS` that make it fail; all others leave it alone.
        error: (world, ingredients) -> largest absolute difference between the two sides, or violation of the bound.
    """

    name: str
    source: str
    statement: str
    needs: tuple[str, ...]
    error: Callable[[World, Ingredients], Tensor]


IDENTITIES: list[Identity] = []


def identity(name: str, source: str, needs: tuple[str, ...]) -> Callable[..., Any]:
    """Register a function as the check of the identity its docstring states, in the order of definition."""
    if source not in SOURCES or not needs or set(needs) - set(BREAKS) or name in {known.name for known in IDENTITIES}:
        raise ValueError(f"identity {name!r}: wrong source, an unknown or missing ingredient, or a name given twice.")

    def register(error: Callable[[World, Ingredients], Tensor]) -> Callable[[World, Ingredients], Tensor]:
        IDENTITIES.append(Identity(name, source, " ".join((error.__doc__ or "").split()), needs, error))
        return error

    return register


def largest(*differences: Tensor) -> Tensor:
    """Return the largest absolute entry of all tensors; NaN if any entry is."""
    return torch.stack([d.abs().max() for d in differences]).max()


def above(excess: Tensor) -> Tensor:
    """Return by how much a quantity that must not be positive is."""
    return excess.clamp(min=0)
