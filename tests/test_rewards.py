"""Oracles of the rewards. What they sum to on exact worlds is checked by `credit verify` (test_theory.py)."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.testing import assert_close

from credit.divergences import reverse_kl
from credit.rewards import (
    FORMS,
    contrastive_teacher,
    credit_reward,
    decompose,
    decompose_leave_one_out,
    filtering_increment,
    generic_score,
    raw_target,
    rewards_to_go,
    token_advantages,
)
from credit.theory import random_world
from logps import random_logps

EXACT = {"rtol": 0.0, "atol": 1e-12}


def test_shapes_are_checked_in_tests():
    with pytest.raises(TypeCheckError):
        filtering_increment(torch.zeros(2, 3), torch.zeros(3, 2))


# Splitting along the input axis


def test_specific_and_generic_add_up_to_the_teacher():
    teacher, contrast = random_logps(4, 6), random_logps(3, 4, 6)
    specific, generic = decompose(teacher, contrast)
    assert_close(generic, torch.from_numpy(contrast.numpy().mean(axis=0)), **EXACT)
    assert_close(specific + generic, teacher, **EXACT)


def test_leave_one_out_specific_parts_sum_to_zero():
    specific, _ = decompose_leave_one_out(random_logps(5, 4, 6))
    assert_close(specific.sum(dim=0), torch.zeros(4, 6, dtype=torch.float64), **EXACT)


def test_leave_one_out_is_each_input_against_the_others(world):
    specific, generic = decompose_leave_one_out(world.teacher_ZXNTV[0])
    for x in range(world.X):
        alone = decompose(world.teacher_ZXNTV[0, x], world.teacher_ZXNTV[0, world.others(x)])
        assert_close((specific[x], generic[x]), alone, **EXACT)


def test_leave_one_out_needs_two_inputs():
    with pytest.raises(ValueError, match="at least 2 inputs, got 1"):
        decompose_leave_one_out(random_logps(1, 4))


def test_the_log_of_a_mean_is_what_it_says_and_skips_what_is_missing():
    contrast = random_logps(3, 5, 4)
    available = torch.tensor([[True, True, False, True, False]] * 2 + [[True, False, False, False, False]])
    found = generic_score(contrast, available.unsqueeze(-1), mean="probabilities")
    probabilities = contrast.exp().numpy()
    for row, count in enumerate((3, 2, 0, 2, 0)):
        expected = np.log(probabilities[:count, row].mean(axis=0)) if count else np.zeros(4)
        assert_close(found[row], torch.from_numpy(expected), **EXACT)
    assert_close(found[:1], generic_score(contrast, mean="probabilities")[:1], **EXACT)
    with pytest.raises(ValueError, match="Use one of logs, probabilities"):
        generic_score(contrast, mean="log")


def test_one_negative_mean_of_logs_is_log_of_mean():
    contrast = random_logps(1, 4, 6)
    assert_close(generic_score(contrast), contrast.exp().mean(dim=0).log(), **EXACT)


def test_several_negatives_mean_of_logs_is_below_log_of_mean():
    contrast = random_logps(3, 4, 6)
    assert (generic_score(contrast) < contrast.exp().mean(dim=0).log()).all()
    assert (generic_score(contrast).exp().sum(dim=-1) < 1).all()


def test_missing_negatives_leave_the_mean_whatever_they_hold():
    contrast = random_logps(3, 2, 4)
    available = torch.tensor([[True, False], [True, False], [False, False]])
    contrast[2] = torch.nan
    contrast[:, 1] = -torch.inf
    generic = generic_score(contrast, available.unsqueeze(-1))
    assert_close(generic[0], (contrast[0, 0] + contrast[1, 0]) / 2, **EXACT)
    assert torch.equal(generic[1], torch.zeros(4, dtype=torch.float64))


def test_floor_clamps_the_mean_and_only_from_below():
    contrast = torch.tensor([[-1.0, -30.0, -60.0], [-3.0, -2.0, -60.0]])
    assert_close(generic_score(contrast, floor=-20.0), torch.tensor([-2.0, -16.0, -20.0]))


# Reward and contrastive teacher


def numpy_inputs(shape=(2, 3, 5), negatives=2):
    teacher, student = random_logps(*shape), random_logps(*shape)
    return teacher, student, random_logps(negatives, *shape), random_logps(negatives, *shape)


def numpy_tilt(form: str, teacher, contrast, nofeedback, lam: float):
    """Unnormalised target as products of powers of probabilities, one negative at a time."""
    p_teacher = np.exp(teacher.numpy())
    tilt = p_teacher ** (1 + lam) if form == "guided" else p_teacher.copy()
    for negative, plain in zip(np.exp(contrast.numpy()), np.exp(nofeedback.numpy()), strict=True):
        tilt /= negative ** (lam / len(contrast))
        if form == "feedback_contrast":
            tilt *= plain ** (lam / len(contrast))
    return tilt


@pytest.mark.parametrize("lam", [0.1, 1.0])
@pytest.mark.parametrize("form", FORMS)
def test_reward_and_target_match_numpy(form, lam):
    teacher, student, contrast, nofeedback = numpy_inputs()
    tilt = numpy_tilt(form, teacher, contrast, nofeedback, lam)
    reward = credit_reward(teacher, student, contrast, lam, form, nofeedback)
    assert_close(reward, torch.from_numpy(np.log(tilt / np.exp(student.numpy()))), **EXACT)
    target = contrastive_teacher(teacher, contrast, lam, form, nofeedback)
    assert_close(target.exp(), torch.from_numpy(tilt / tilt.sum(axis=-1, keepdims=True)), **EXACT)


@pytest.mark.parametrize("form", FORMS)
def test_lambda_zero_is_self_distillation_bit_for_bit(form):
    teacher, student, contrast, _ = numpy_inputs()
    poison = torch.full_like(contrast, torch.nan)
    assert raw_target(teacher, None, 0.0, form) is teacher
    assert raw_target(teacher, poison[0], 0.0, form, poison[0]) is teacher
    plain = filtering_increment(teacher, student)
    for untouched in (None, poison):
        assert torch.equal(credit_reward(teacher, student, untouched, 0.0, form, untouched), plain)
        assert torch.equal(contrastive_teacher(teacher, untouched, 0.0, form, untouched), teacher.log_softmax(-1))


@pytest.mark.parametrize("form", FORMS)
def test_lambda_near_zero_is_near_self_distillation(form):
    teacher, student, contrast, nofeedback = numpy_inputs()
    reward = credit_reward(teacher, student, contrast, 1e-6, form, nofeedback)
    target = contrastive_teacher(teacher, contrast, 1e-6, form, nofeedback)
    assert_close(reward, filtering_increment(teacher, student), rtol=0, atol=1e-5)
    assert_close(target, teacher, rtol=0, atol=1e-5)
    assert not torch.equal(target, teacher)


@pytest.mark.parametrize("form", FORMS)
def test_target_where_the_input_does_not_matter(form):
    teacher, nofeedback, lam = random_logps(4, 6), random_logps(4, 6), 0.3
    same = teacher.expand(3, 4, 6)
    target = contrastive_teacher(teacher, same, lam, form, nofeedback.expand(3, 4, 6))
    power = {
        "paper": (1 - lam) * teacher,
        "guided": teacher,
        "feedback_contrast": (1 - lam) * teacher + lam * nofeedback,
    }[form]
    assert_close(target.exp(), power.exp() / power.exp().sum(dim=-1, keepdim=True), **EXACT)


def test_feedback_contrast_keeps_the_teacher_where_feedback_changes_nothing():
    teacher, contrast = random_logps(4, 6), random_logps(2, 4, 6)
    assert_close(contrastive_teacher(teacher, contrast, 0.7, "feedback_contrast", contrast), teacher, **EXACT)


@pytest.mark.parametrize("form", FORMS)
def test_lambda_may_differ_between_tokens(form):
    teacher, generic, nofeedback = random_logps(3, 4), random_logps(3, 4), random_logps(3, 4)
    lam = torch.tensor([0.0, 0.1, 1.0], dtype=torch.float64)
    together = raw_target(teacher, generic, lam.unsqueeze(-1), form, nofeedback)
    for row, value in enumerate(lam.tolist()):
        alone = raw_target(teacher[row], generic[row], value, form, nofeedback[row])
        assert_close(together[row], alone, **EXACT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "papper"}, "form='papper' is unknown. Use one of paper, guided, feedback_contrast"),
        ({"lam": -0.1}, "lam=-0.1 is not allowed"),
        ({"logp_contrast": None}, "Pass logp_contrast, or lam=0"),
        ({"form": "feedback_contrast"}, "Pass logp_contrast_nofeedback"),
    ],
)
def test_degenerate_settings_are_refused(arguments, message):
    teacher, student, contrast, _ = numpy_inputs()
    with pytest.raises(ValueError, match=message):
        credit_reward(teacher, student, **{"logp_contrast": contrast, "lam": 0.1, **arguments})


def test_a_contrast_without_negatives_is_refused():
    with pytest.raises(ValueError, match="at least one negative"):
        decompose(random_logps(2, 3), random_logps(0, 2, 3))


# Token level


def ragged_rewards(batch=4, steps=6):
    mask = torch.arange(steps) < torch.tensor([6, 3, 1, 0]).unsqueeze(-1)
    mask[0, 2] = False
    return torch.randn(batch, steps, dtype=torch.float64).masked_fill(~mask, torch.nan), mask


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
def test_rewards_to_go_match_a_plain_loop(gamma):
    reward, mask = ragged_rewards()
    expected = torch.zeros_like(reward)
    for b in range(reward.shape[0]):
        for t in range(reward.shape[1]):
            # Time is counted in masked tokens: row 0 has a tool's token in the middle.
            later = [reward[b, u] for u in range(t, reward.shape[1]) if mask[b, u]]
            expected[b, t] = sum(gamma**k * value for k, value in enumerate(later)) if mask[b, t] else 0.0
    assert_close(rewards_to_go(reward, mask, gamma), expected, **EXACT)


def test_rewards_to_go_of_no_tokens():
    assert rewards_to_go(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)).shape == (2, 0)


def masked_mean(values, where):
    return values[where].mean()


def advantages(reward, expected, mask, token_credit="immediate", gamma=1.0, baseline="none", mean=masked_mean):
    return token_advantages(reward, expected, mask, token_credit, gamma, baseline, mean)


@pytest.mark.parametrize("baseline", ["expected", "batch_mean", "none"])
@pytest.mark.parametrize("token_credit", ["immediate", "to_go"])
def test_advantages_are_credit_minus_one_baseline_and_zero_outside_the_mask(token_credit, baseline):
    reward, mask = ragged_rewards()
    expected = torch.randn_like(reward)
    score = reward if token_credit == "immediate" else rewards_to_go(reward, mask, 0.9)
    base = {"expected": expected, "batch_mean": score[mask].mean(), "none": 0.0}[baseline]
    result = advantages(reward, expected, mask, token_credit, 0.9, baseline)
    assert_close(result[mask], (score - base)[mask], **EXACT)
    assert torch.equal(result[~mask], torch.zeros(int((~mask).sum()), dtype=torch.float64))


class TwoSteps:
    """All nine answers of two tokens, with a trainable student, for exact policy gradients."""

    def __init__(self, lam: float = 0.5):
        tree = random_world(inputs=1, tokens=3, steps=2, feedbacks=1)
        self.sampled = tree.sampled
        self.first = torch.randn(3, dtype=torch.float64, requires_grad=True)
        self.second = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
        states = 1 + 3

        def along(table_SV):
            return torch.stack([table_SV[:1].expand(9, 3), table_SV[1:].repeat_interleave(3, dim=0)], dim=1)

        self.student = along(torch.cat([self.first[None], self.second]).log_softmax(dim=-1))
        teacher, contrast = along(random_logps(states, 3)), along(random_logps(states, 3)).unsqueeze(0)
        self.target = contrastive_teacher(teacher, contrast, lam)
        self.reward = credit_reward(teacher, self.student, contrast, lam)
        self.logp = self.sampled(self.student)
        self.probability = self.logp.sum(dim=-1).exp()
        self.expected = (self.student.exp() * self.reward).sum(dim=-1).detach()
        self.mask = torch.ones(9, 2, dtype=torch.bool)

    def gradient(self, objective):
        return torch.autograd.grad(objective, [self.first, self.second], retain_graph=True)

    def estimate(self, token_credit, baseline, mean=masked_mean):
        """Expectation over all answers of the policy gradient with these advantages."""
        reward = self.sampled(self.reward).detach()
        advantage = advantages(reward, self.expected, self.mask, token_credit, 1.0, baseline, mean)
        return self.gradient((self.probability.detach()[:, None] * advantage * self.logp).sum())


@pytest.mark.parametrize("detached", [True, False], ids=["rewards_detached", "rewards_live"])
@pytest.mark.parametrize(
    ("baseline", "mean"),
    [
        ("none", masked_mean),
        ("expected", masked_mean),
        ("batch_mean", lambda values, where: values.new_tensor(0.7)),
    ],
    ids=["none", "state", "constant"],
)
def test_to_go_advantages_give_the_exact_gradient_of_the_expected_sum(baseline, mean, detached):
    two = TwoSteps()
    reward = two.sampled(two.reward).sum(dim=-1)
    estimate = two.estimate("to_go", baseline, mean)
    exact = two.gradient((two.probability * (reward.detach() if detached else reward)).sum())
    assert_close(estimate, exact, **EXACT)


@pytest.mark.parametrize("baseline", ["expected", "none"])
def test_immediate_advantages_give_the_exact_gradient_of_each_step(baseline):
    two = TwoSteps()
    estimate = two.estimate("immediate", baseline)
    # Every state weighted by how often it is visited: the reverse KL to the contrastive teacher.
    visits = two.probability.detach()[:, None]
    exact = two.gradient(-(visits * reverse_kl(two.student, two.target)).sum())
    assert_close(estimate, exact, **EXACT)


def test_immediate_and_to_go_are_different_objectives():
    two = TwoSteps()
    immediate, to_go = two.estimate("immediate", "none"), two.estimate("to_go", "none")
    assert (immediate[0] - to_go[0]).abs().max() > 1e-3
    assert_close(immediate[1], to_go[1], **EXACT)  # nothing comes after the last step
