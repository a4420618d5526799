"""The input axis: S and G, what a response is worth under unrelated inputs, and what C samples of them estimate."""

from __future__ import annotations

from itertools import pairwise, product

import torch
from torch import Tensor

from credit.theory.identity import Ingredients, above, identity, largest
from credit.theory.world import World

LAM = 0.3


def pairs(world: World) -> list[tuple[int, int]]:
    """Return every (feedback, input)."""
    return list(product(range(world.Z), range(world.X)))


def response_logps(world: World, use: Ingredients) -> Tensor:
    """Return log p_T(y | x, z) of whole responses, (Z, X, N)."""
    return world.sampled(use.posterior(world)).sum(dim=-1)


@identity("decomposition", "second-hand", ("mean-of-logs",))
def decomposition(world: World, use: Ingredients) -> Tensor:
    """log p_T = S + G with G = E_{x'} log p_T(v | x', y_<t, z), the mean of logs over all other inputs."""
    teacher = use.posterior(world)
    errors = []
    for z, x in pairs(world):
        others = world.others(x)
        specific, generic = use.decompose(teacher[z, x], teacher[z, others])
        expected = sum(teacher[z, other] for other in others) / len(others)
        errors += [specific + generic - teacher[z, x], generic - expected]
    return largest(*errors)


@identity("S is centred", "ours", ("unrelated-inputs",))
def specific_is_centred(world: World, use: Ingredients) -> Tensor:
    """Against the other inputs of the batch, S sums to 0 over the batch, and equals S against the exact expectation."""
    errors = []
    for teacher_X in use.posterior(world):
        specific, generic = use.leave_one_out(teacher_X)
        expected = torch.stack([teacher_X[world.others(x)].mean(dim=0) for x in range(world.X)])
        errors += [specific.sum(dim=0), generic - expected]
    return largest(*errors)


@identity("G is no distribution", "ours", ("mean-of-logs", "normalised-teacher", "reverse-kl"))
def generic_is_no_distribution(world: World, use: Ingredients) -> Tensor:
    """-log sum_v exp G(v) = E_{x'} KL(g || p_T(. | x')) >= 0 with g = exp G normalised: what is missing measures how
    much the inputs disagree.
    """
    teacher = use.posterior(world)
    errors = []
    for z, x in pairs(world):
        contrast = teacher[z, world.others(x)]
        _, generic = use.decompose(teacher[z, x], contrast)
        lacking = -generic.logsumexp(dim=-1)
        disagreement = use.reverse_kl(generic.log_softmax(dim=-1).expand_as(contrast), contrast).mean(dim=0)
        errors += [lacking - disagreement, above(-lacking)]
    return largest(*errors)


@identity("credit of a response", "abstract", ("posterior", "normalised-teacher", "mean-of-logs", "credit"))
def credit_of_a_response(world: World, use: Ingredients) -> Tensor:
    """sum_t R_t = [pMI(y; z | x) - lambda E pMI(y; z | x')] - lambda E log p(y | x'), student and teacher of one set of
    weights: contrastive pMI, and a price on responses that are likely anyway.
    """
    teacher = world.sampled(use.posterior(world))
    student = world.sampled(world.student_XNTV)
    errors = []
    for z, x in pairs(world):
        others = world.others(x)
        total_N = use.credit(teacher[z, x], student[x], teacher[z, others], LAM).sum(dim=-1)
        contrastive_N = world.pmi_ZXN[z, x] - LAM * world.pmi_ZXN[z, others].mean(dim=0)
        errors.append(total_N - (contrastive_N - LAM * world.logp_XN[others].mean(dim=0)))
    return largest(*errors)


@identity("C samples are unbiased", "ours", ("mean-of-logs",))
def samples_are_unbiased(world: World, use: Ingredients) -> Tensor:
    """The mean of G over all draws of C other inputs is G."""
    teacher = use.posterior(world)
    errors = []
    for z, x in pairs(world):
        others = world.others(x)
        exact = teacher[z, others].mean(dim=0)
        for count in range(1, len(others) + 1):
            drawn = [use.decompose(teacher[z, x], teacher[z, list(s)])[1] for s in use.subsets(others, count)]
            errors.append(torch.stack(drawn).mean(dim=0) - exact)
    return largest(*errors)


@identity("variance of C samples", "ours", ("mean-of-logs", "without-replacement"))
def variance_of_samples(world: World, use: Ingredients) -> Tensor:
    """Var G = sigma^2 / C * (M - C) / (M - 1) for C of M inputs drawn without replacement."""
    teacher = use.posterior(world)
    errors = [torch.zeros(1, dtype=teacher.dtype)]
    for z, x in pairs(world):
        others = world.others(x)
        spread = teacher[z, others].var(dim=0, correction=0)
        for count in range(1, len(others) + 1 if len(others) > 1 else 1):
            drawn = [use.decompose(teacher[z, x], teacher[z, list(s)])[1] for s in use.subsets(others, count)]
            finite = (len(others) - count) / (len(others) - 1)
            errors.append(torch.stack(drawn).var(dim=0, correction=0) - spread / count * finite)
    return largest(*errors)


@identity("log of a mean", "ours", ("log-of-mean", "without-replacement"))
def log_of_a_mean(world: World, use: Ingredients) -> Tensor:
    """The log of the mean over C inputs equals G at C=1, rises with C, and reaches log E p_T only at C=M: biased
    between.
    """
    teacher = use.posterior(world)
    errors = []
    for z, x in pairs(world):
        others = world.others(x)
        expected = [
            torch.stack([use.log_mean(teacher[z, list(s)]) for s in use.subsets(others, count)]).mean(dim=0)
            for count in range(1, len(others) + 1)
        ]
        rising = [above(earlier - later) for earlier, later in pairwise(expected)]
        exact = teacher[z, others].exp().mean(dim=0).log()
        errors += [expected[0] - teacher[z, others].mean(dim=0), expected[-1] - exact, *rising]
    return largest(*errors)


def information(logp_XN: Tensor) -> Tensor:
    """Return I(x; y) in nats for equally likely inputs and the channel p(y | x)."""
    marginal_N = logp_XN.exp().mean(dim=0).log()
    return (logp_XN.exp() * (logp_XN - marginal_N)).sum(dim=-1).mean()


def infonce(logp_XN: Tensor, count: int, use: Ingredients) -> Tensor:
    """Return the InfoNCE estimate with `count` unrelated inputs, the own one included in the mean."""
    inputs = range(len(logp_XN))
    scores = []
    for x in inputs:
        for drawn in use.subsets([other for other in inputs if other != x], count):
            ratio_N = logp_XN[x] - use.log_mean(logp_XN[[x, *drawn]])
            scores.append((logp_XN[x].exp() * ratio_N).sum())
    return torch.stack(scores).mean()


@identity("InfoNCE is below", "ours", ("log-of-mean", "without-replacement"))
def infonce_is_below(world: World, use: Ingredients) -> Tensor:
    """With the own input in the mean, y ~ p_T(. | x, z) and equally likely x, the log of a mean gives InfoNCE: a lower
    bound of I(x; y), under log(C+1), rising, exact with all inputs. Without the own input it is no lower bound.
    """
    errors = []
    for logp_XN in response_logps(world, use):
        true = information(logp_XN)
        bounds = [infonce(logp_XN, count, use) for count in range(1, world.X)]
        steps = [above(earlier - later) for earlier, later in zip(bounds, [*bounds[1:], true], strict=True)]
        ceiling = [above(bound - torch.tensor(count + 1.0).log()) for count, bound in enumerate(bounds, start=1)]
        errors += [bounds[-1] - true, *steps, *ceiling]
    return largest(*errors)


@identity("S is CLUB", "ours", ("mean-of-logs", "unrelated-inputs"))
def specific_is_club(world: World, use: Ingredients) -> Tensor:
    """For y ~ p_T(. | x, z) and equally likely x, E sum_t S_t over all inputs is the CLUB bound, I(x; y) + E_{x'}
    KL(p(y) || p_T(y | x')); leaving the own input out scales it by M / (M - 1). For the student's own y it is no bound.
    """
    errors = []
    for teacher_X, logp_XN in zip(use.posterior(world), response_logps(world, use), strict=True):
        tokens_XNT = world.sampled(teacher_X)
        marginal_N = logp_XN.exp().mean(dim=0)
        club = information(logp_XN) + (marginal_N * (marginal_N.log() - logp_XN)).sum(dim=-1).mean()
        specific = torch.stack([use.decompose(own, tokens_XNT)[0] for own in tokens_XNT]).sum(dim=-1)
        without_own = use.leave_one_out(tokens_XNT)[0].sum(dim=-1)
        probability_XN = logp_XN.exp()
        errors.append((probability_XN * specific).sum(dim=-1).mean() - club)
        errors.append((probability_XN * without_own).sum(dim=-1).mean() - club * world.X / (world.X - 1))
    return largest(*errors)
