"""Targets and gradients: three ways to write one gradient, supports with an exact tail, and credit to go."""

from __future__ import annotations

import torch
from torch import Tensor

from credit.divergences import jsd, policy_surrogate, student_support
from credit.rewards import raw_target
from credit.theory.identity import Ingredients, identity, largest
from credit.theory.inputs import LAM, pairs
from credit.theory.world import World


def gradient(loss: Tensor, *of: Tensor) -> Tensor:
    """Return the gradients with respect to all tensors, flattened into one vector."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, of, retain_graph=True)])


def _views(world: World, use: Ingredients) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return (student logits, teacher, contrast) for every feedback and input, logits asking for a gradient."""
    teacher = use.posterior(world)
    return [
        (world.student_XNTV[x].clone().requires_grad_(), teacher[z, x], teacher[z, world.others(x)])
        for z, x in pairs(world)
    ]


@identity("one gradient", "ours", ("mean-of-logs", "credit", "target", "reverse-kl"))
def one_gradient(world: World, use: Ingredients) -> Tensor:
    """KL(p || q), KL(p || p_T) + lambda sum_v p G and -sum_v p R have one gradient: -p_v (R_v - E_p R) by logits."""
    errors = []
    for logits, teacher, contrast in _views(world, use):
        student = logits.log_softmax(dim=-1)
        p = student.exp()
        generic = contrast.mean(dim=0)
        reward = use.credit(teacher, student.detach(), contrast, LAM)
        target = gradient(use.reverse_kl(student, use.target(teacher, contrast, LAM)).sum(), logits)
        penalty = gradient((use.reverse_kl(student, teacher) + LAM * (p * generic).sum(dim=-1)).sum(), logits)
        surrogate = gradient(policy_surrogate(student, reward).sum(), logits)
        closed = -(p * (reward - (p * reward).sum(dim=-1, keepdim=True))).detach().flatten()
        errors += [penalty - target, surrogate - target, closed - target]
    return largest(*errors)


@identity("one negative suffices", "ours", ("mean-of-logs", "reverse-kl"))
def one_negative_suffices(world: World, use: Ingredients) -> Tensor:
    """The reverse-KL gradient with a single negative is unbiased: it is linear in G."""
    errors = []
    for logits, teacher, contrast in _views(world, use):

        def of(negatives: Tensor, logits: Tensor = logits, teacher: Tensor = teacher) -> Tensor:
            return gradient(
                use.reverse_kl(logits.log_softmax(dim=-1), use.target(teacher, negatives, LAM)).sum(), logits
            )

        each = [of(negative[None]) for negative in contrast]
        errors.append(torch.stack(each).mean(dim=0) - of(contrast))
    return largest(*errors)


@identity("JSD advantage", "ours", ("jsd-advantage",))
def jsd_closed_form(world: World, use: Ingredients) -> Tensor:
    """The generalised JSD is a policy gradient with A_v = (1-a) log((1-a) + a q/p)."""
    errors = []
    for logits, teacher, contrast in _views(world, use):
        student = logits.log_softmax(dim=-1)
        target = use.target(teacher, contrast, LAM)
        for alpha in (0.1, 0.7):
            advantage = use.jsd_advantage(target - student.detach(), alpha)
            exact = gradient(jsd(student, target, alpha).sum(), logits)
            errors.append(gradient(policy_surrogate(student, advantage).sum(), logits) - exact)
    return largest(*errors)


@identity("input does not matter", "ours", ("target", "form"))
def input_does_not_matter(world: World, use: Ingredients) -> Tensor:
    """Where all inputs have one teacher: paper q ~ p_T^(1-lambda), guided q = p_T, feedback_contrast q ~
    p_T^(1-lambda) p_T0^lambda.
    """
    errors = []
    plain = world.student_XNTV  # without feedback the exact teacher is the student
    for z, x in pairs(world):
        teacher, prior = use.posterior(world)[z, x].log_softmax(dim=-1), plain[x]
        same, same_prior = teacher.expand(2, *teacher.shape), prior.expand(2, *prior.shape)
        expected = {
            "paper": (1 - LAM) * teacher,
            "guided": teacher,
            "feedback_contrast": (1 - LAM) * teacher + LAM * prior,
        }
        for form, raw in expected.items():
            errors.append(use.target(teacher, same, LAM, form, same_prior) - raw.log_softmax(dim=-1))
    return largest(*errors)


@identity("lambda 0", "ours", ("normalised-teacher", "target"))
def lambda_zero(world: World, use: Ingredients) -> Tensor:
    """With lambda 0 every form is plain self-distillation: q = p_T."""
    teacher = use.posterior(world)
    contrast = teacher[:, world.others(0)].transpose(0, 1)
    forms = ("paper", "guided", "feedback_contrast")
    return largest(*(use.target(teacher[:, 0], contrast, 0.0, form, contrast) - teacher[:, 0] for form in forms))


@identity("exact tail", "ours", ("exact-tail",))
def exact_tail(world: World, use: Ingredients) -> Tensor:
    """Top-K with the exact tail is q itself, its tail summed into one entry."""
    errors = []
    lam = 0.5
    for logits, teacher, contrast in _views(world, use):
        index = student_support(logits.detach(), 1)

        def raw(logp_teacher: Tensor, logp_contrast: Tensor) -> Tensor:
            return raw_target(logp_teacher, logp_contrast.mean(dim=0), lam)

        _, kept = use.restrict_target(teacher, (contrast,), index, "exact", raw)
        whole = raw(teacher, contrast).log_softmax(dim=-1).exp()
        inside = whole.gather(-1, index)
        errors.append(kept.log_softmax(dim=-1).exp() - torch.cat([inside, 1 - inside.sum(-1, keepdim=True)], dim=-1))
    return largest(*errors)


class Policy:
    """The student of one input as tables of logits, and the credit of its responses under one feedback.

    Attributes:
        logits: one leaf (V^t, V) per step.
        logp_NTV: log p along every response, with gradient.
        logp_NT: of the sampled tokens, with gradient.
        raw_NTV: log q before normalisation, detached; R = raw - log p.
    """

    def __init__(self, world: World, use: Ingredients, z: int, x: int, lam: float = LAM):
        self.world, self.use = world, use
        self.logits = [table[x].clone().requires_grad_() for table in world.policy]
        self.logp_NTV = world.along([table.log_softmax(dim=-1) for table in self.logits])
        self.logp_NT = world.sampled(self.logp_NTV)
        teacher = use.posterior(world)
        student = world.student_XNTV[x]
        self.reward_NTV = use.credit(teacher[z, x], student, teacher[z, world.others(x)], lam)
        self.raw_NTV = self.reward_NTV + student
        self.probability_N = world.logp_XN[x].exp()

    def exact(self) -> Tensor:
        """Return the gradient of E_{y~p} sum_t R_t, everything differentiated."""
        reward_N = (self.world.sampled(self.raw_NTV) - self.logp_NT).sum(dim=-1)
        return gradient((self.logp_NT.sum(dim=-1).exp() * reward_N).sum(), *self.logits)

    def estimated(self, token_credit: str, baseline: str = "none", centred: bool = False) -> Tensor:
        """Return the expectation of the policy-gradient estimator that training uses."""
        reward_NT = self.world.sampled(self.reward_NTV)
        expected_NT = self.use.expected_credit(self.logp_NTV.detach(), self.reward_NTV)
        if centred:
            reward_NT = reward_NT - expected_NT

        def mean(values: Tensor, where: Tensor) -> Tensor:
            return (self.probability_N.unsqueeze(-1) * values * where).sum() / self.world.T

        advantage_NT = self.use.advantages(
            reward_NT, expected_NT, torch.ones_like(reward_NT, dtype=torch.bool), token_credit, 1.0, baseline, mean
        )
        weighted = self.probability_N.unsqueeze(-1) * advantage_NT.detach() * self.logp_NT
        return gradient(weighted.sum(), *self.logits)

    def local(self) -> Tensor:
        """Return minus the gradient of the summed KL(p || q) at fixed prefixes: what one distils towards."""
        target = self.raw_NTV.log_softmax(dim=-1)
        divergence_NT = self.use.reverse_kl(self.logp_NTV, target)
        return -gradient((self.probability_N.unsqueeze(-1) * divergence_NT).sum(), *self.logits)


@identity("credit to go", "ours", ("to-go",))
def credit_to_go(world: World, use: Ingredients) -> Tensor:
    """A_t = sum_{u>=t} R_u, with or without one baseline, is the exact gradient of E sum_t R_t."""
    errors = []
    for z, x in pairs(world):
        policy = Policy(world, use, z, x)
        errors += [policy.estimated("to_go", baseline) - policy.exact() for baseline in ("none", "batch_mean")]
    return largest(*errors)


@identity("immediate credit", "ours", ("reverse-kl",))
def immediate_credit(world: World, use: Ingredients) -> Tensor:
    """A_t = R_t, with or without the expected baseline, is the gradient of KL(p || q) at fixed prefixes, no more."""
    errors = []
    for z, x in pairs(world):
        policy = Policy(world, use, z, x)
        errors += [policy.estimated("immediate", baseline) - policy.local() for baseline in ("none", "expected")]
    return largest(*errors)


@identity("centred steps collapse", "ours", ("baseline",))
def centred_steps_collapse(world: World, use: Ingredients) -> Tensor:
    """Summing rewards centred at every step gives back the immediate gradient: such a sum sees no further."""
    errors = []
    for z, x in pairs(world):
        policy = Policy(world, use, z, x)
        errors.append(policy.estimated("to_go", centred=True) - policy.estimated("immediate"))
    return largest(*errors)
