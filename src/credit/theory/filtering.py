"""What the self-distillation reward measures: identities of r along one response, and what they ask of the teacher."""

from __future__ import annotations

import torch
from torch import Tensor

from credit.theory.identity import Ingredients, above, identity, largest
from credit.theory.world import World


def increments(world: World, use: Ingredients) -> Tensor:
    """Return r of every response token, (Z, X, N, T)."""
    teacher = world.sampled(use.posterior(world))
    return use.increment(teacher, world.sampled(world.student_XNTV).expand_as(teacher))


@identity("filtering increment", "abstract", ("posterior", "normalised-teacher", "increment"))
def filtering_increment(world: World, use: Ingredients) -> Tensor:
    """r_t = log p(z | x, y_<=t) - log p(z | x, y_<t): by how much one token changes the belief in the feedback."""
    return largest(increments(world, use) - world.filtered_ZXNS.diff(dim=-1))


@identity("telescoping", "abstract", ("posterior", "normalised-teacher", "increment"))
def telescoping(world: World, use: Ingredients) -> Tensor:
    """sum_t r_t = log p(z | x, y) - log p(z | x) = pMI(y; z | x)."""
    return largest(increments(world, use).sum(dim=-1) - world.pmi_ZXN)


@identity("martingale", "ours", ("normalised-teacher", "increment"))
def martingale(world: World, use: Ingredients) -> Tensor:
    """E_{v~p} exp r_t(v) = 1 for any teacher, posterior or not."""
    student = world.student_XNTV
    teachers = use.posterior(world), use.posterior(world.with_policy(world.other_policy))
    sums = [(student + use.increment(teacher, student.expand_as(teacher))).logsumexp(dim=-1) for teacher in teachers]
    return largest(*(total.exp() - 1 for total in sums))


@identity("expected reward", "ours", ("increment", "reverse-kl"))
def expected_reward(world: World, use: Ingredients) -> Tensor:
    """E_{y~p} sum_t r_t = -KL(p || p_T) <= 0 at fixed feedback, for any teacher: on average the student is told off."""
    stranger = use.posterior(world.with_policy(world.other_policy))
    student, probability_XN = world.student_XNTV.expand_as(stranger), world.logp_XN.exp()
    rewards = use.increment(world.sampled(stranger), world.sampled(student))
    expected = (probability_XN * rewards.sum(dim=-1)).sum(dim=-1)
    divergence = (probability_XN.unsqueeze(-1) * use.reverse_kl(student, stranger)).sum(dim=(-2, -1))
    return largest(expected + divergence, above(expected))


@identity("joint information", "ours", ("posterior", "normalised-teacher", "increment"))
def joint_information(world: World, use: Ingredients) -> Tensor:
    """E_{y,z} sum_t r_t = I(y; z | x) >= 0 when feedback is drawn for the response: on the whole it is praised."""
    joint_ZXN = (world.logp_XN + world.logp_feedback_XNZ.permute(2, 0, 1)).exp()
    expected_X = (joint_ZXN * increments(world, use).sum(dim=-1)).sum(dim=(0, 2))
    # I = H(z | x) - H(z | x, y), from the feedback model alone.
    marginal_ZX = joint_ZXN.sum(dim=2)
    before_X = -(marginal_ZX * marginal_ZX.log()).sum(dim=0)
    after_X = -(joint_ZXN * world.logp_feedback_XNZ.permute(2, 0, 1)).sum(dim=(0, 2))
    return largest(expected_X - (before_X - after_X), above(-expected_X))


@identity("weight gap", "ours", ("posterior", "normalised-teacher", "teacher-weights", "increment", "reverse-kl"))
def weight_gap(world: World, use: Ingredients) -> Tensor:
    """With other teacher weights sum_t r_t = pMI_T(y; z | x) - log p(y | x) / p_T0(y | x); the last term averages to
    -KL(p || p_T0), a trust region.
    """
    # The rewards of a teacher with other weights; what the identity says they are made of is `prior`.
    teacher = world.sampled(use.posterior(world.with_policy(world.other_policy)))
    total_ZXN = use.increment(teacher, world.sampled(world.student_XNTV).expand_as(teacher)).sum(dim=-1)
    prior = use.teacher_prior(world)
    gap_XN = world.logp_XN - prior.logp_XN
    divergence_XNT = use.reverse_kl(world.student_XNTV, prior.student_XNTV)
    probability_XN = world.logp_XN.exp()
    expected_X = (probability_XN * gap_XN).sum(dim=1)
    divergence_X = (probability_XN.unsqueeze(-1) * divergence_XNT).sum(dim=(1, 2))
    return largest(total_ZXN - (prior.pmi_ZXN - gap_XN), expected_X - divergence_X)


@identity("mixture of teachers", "ours", ("posterior", "normalised-teacher", "mixture-gap"))
def mixture_of_teachers(world: World, use: Ingredients) -> Tensor:
    """sum_z p(z | x, y_<t) p_T(v | z) = p(v): if the teacher is a posterior, the student is the mixture of its
    teachers.
    """
    teacher = use.posterior(world)
    weights_ZXNT = world.filtered_ZXNS[..., :-1]
    return largest(use.mixture_gap(world.student_XNTV, teacher, weights_ZXNT))


@identity("mixture suffices", "ours", ("mixture",))
def mixture_suffices(world: World, use: Ingredients) -> Tensor:
    """Teachers that mix to the student are the posterior of p(z | x, y) = w_z p_T(y | z) / p(y): nothing else is
    assumed.
    """
    # Any teachers will do: here the rows of the policies, one per input, as the teachers of one student.
    teacher_ZN = torch.cat([world.logp_XN, world.with_policy(world.other_policy).logp_XN])
    weight_Z = torch.linspace(1, 2, len(teacher_ZN), dtype=teacher_ZN.dtype).log_softmax(dim=0)
    student_N = use.mixture(teacher_ZN, weight_Z)
    feedback_ZN = weight_Z.unsqueeze(-1) + teacher_ZN - student_N
    recovered_ZN = (student_N + feedback_ZN).log_softmax(dim=-1)
    return largest(feedback_ZN.logsumexp(dim=0), recovered_ZN - teacher_ZN)


@identity("one feedback is free", "ours", ("bounded-likelihood",))
def one_feedback_is_free(world: World, use: Ingredients) -> Tensor:
    """For one z any teacher with a bounded ratio is a posterior: p(z | x, y) = c p_T(y) / p(y) is a probability."""
    stranger_XN = world.with_policy(world.other_policy).logp_XN
    errors = []
    for student_N, teacher_N in zip(world.logp_XN, stranger_XN, strict=True):
        likelihood_N = use.likelihood((teacher_N - student_N).exp())
        recovered_N = (student_N + likelihood_N.log()).log_softmax(dim=-1)
        errors += [recovered_N - teacher_N, above(likelihood_N - 1)]
    return largest(*errors)
