"""Oracles of the divergences: values against numpy, gradients in closed form, supports against full sums."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.testing import assert_close

from credit.divergences import (
    DIVERGENCES,
    INSERTIONS,
    TAILS,
    credit_divergence,
    forward_kl,
    jsd,
    jsd_advantage,
    log_tail,
    policy_surrogate,
    restrict,
    restrict_target,
    reverse_kl,
    student_support,
)
from credit.rewards import contrastive_teacher, raw_target
from logps import random_logps

EXACT = {"rtol": 0.0, "atol": 1e-12}
LAM = 0.5


def gradient(loss, logits):
    """Gradient on the logits of the summed loss of their log-softmax."""
    logits = logits.detach().requires_grad_()
    (grad,) = torch.autograd.grad(loss(logits.log_softmax(dim=-1)).sum(), logits)
    return grad


def numpy_kl(p, q):
    return (p * np.log(p / q)).sum(axis=-1)


def paper(logp_teacher, logp_contrast_C, lam=LAM):
    return raw_target(logp_teacher, logp_contrast_C.mean(dim=0), lam)


# Values


def test_shapes_are_checked_in_tests():
    with pytest.raises(TypeCheckError):
        reverse_kl(torch.zeros(2, 3), torch.zeros(2, 4))


def test_divergences_match_numpy():
    student, target = random_logps(3, 4, 5), random_logps(3, 4, 5)
    p, q = student.exp().numpy(), target.exp().numpy()
    mixture = 0.7 * p + 0.3 * q
    assert_close(reverse_kl(student, target), torch.from_numpy(numpy_kl(p, q)), **EXACT)
    assert_close(forward_kl(student, target), torch.from_numpy(numpy_kl(q, p)), **EXACT)
    expected = 0.7 * numpy_kl(p, mixture) + 0.3 * numpy_kl(q, mixture)
    assert_close(jsd(student, target, 0.3), torch.from_numpy(expected), **EXACT)


def test_jsd_is_symmetric_at_one_half_and_at_most_log_two():
    student, target = random_logps(50, 5, scale=20.0), random_logps(50, 5, scale=20.0)
    value = jsd(student, target)
    assert_close(value, jsd(target, student), **EXACT)
    assert ((value > 0) & (value < math.log(2) + 1e-12)).all()


@pytest.mark.parametrize("distance", [reverse_kl, forward_kl, jsd])
def test_distance_to_oneself_is_zero_and_flat(distance):
    logits = torch.randn(4, 6, dtype=torch.float64)
    target = logits.log_softmax(dim=-1)
    assert_close(distance(target, target), torch.zeros(4, dtype=torch.float64), **EXACT)
    assert_close(gradient(lambda p: distance(p, target), logits), torch.zeros_like(logits), **EXACT)


@pytest.mark.parametrize(("alpha", "distance"), [(0.0, forward_kl), (1.0, reverse_kl)])
def test_jsd_ends_are_forward_and_reverse_kl(alpha, distance):
    student, target = random_logps(4, 6), random_logps(4, 6)
    assert torch.equal(jsd(student, target, alpha), distance(student, target))


@pytest.mark.parametrize(("alpha", "distance"), [(1e-6, forward_kl), (1 - 1e-6, reverse_kl)])
def test_jsd_tends_to_the_kl_its_end_is_mapped_to(alpha, distance):
    student, target = random_logps(4, 6), random_logps(4, 6)
    assert_close(jsd(student, target, alpha) / min(alpha, 1 - alpha), distance(student, target), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_jsd_refuses_weights_outside_the_unit_interval(alpha):
    with pytest.raises(ValueError, match="outside"):
        jsd(random_logps(2, 3), random_logps(2, 3), alpha)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_closed_form_refuses_the_ends(alpha):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        jsd_advantage(torch.zeros(3), alpha)


# Gradients


def centred(logits, advantage):
    """-p_v (A_v - E_p A)."""
    p = logits.softmax(dim=-1)
    return -p * (advantage - (p * advantage).sum(dim=-1, keepdim=True))


def test_reverse_kl_gradient_is_centred_credit():
    logits, target = torch.randn(4, 6, dtype=torch.float64), random_logps(4, 6)
    grad = gradient(lambda p: reverse_kl(p, target), logits)
    assert_close(grad, centred(logits, target - logits.log_softmax(dim=-1)), **EXACT)


def test_forward_kl_gradient_is_student_minus_target():
    logits, target = torch.randn(4, 6, dtype=torch.float64), random_logps(4, 6)
    assert_close(gradient(lambda p: forward_kl(p, target), logits), logits.softmax(-1) - target.exp(), **EXACT)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_jsd_gradient_is_its_closed_form(alpha):
    logits, target = torch.randn(4, 6, dtype=torch.float64), random_logps(4, 6)
    advantage = jsd_advantage(target - logits.log_softmax(dim=-1), alpha)
    assert_close(gradient(lambda p: jsd(p, target, alpha), logits), centred(logits, advantage), **EXACT)


def test_reverse_kl_target_penalty_and_surrogate_have_one_gradient():
    logits, teacher, contrast = (
        torch.randn(4, 6, dtype=torch.float64),
        random_logps(4, 6),
        random_logps(2, 4, 6),
    )
    generic = contrast.mean(dim=0)
    target = contrastive_teacher(teacher, contrast, LAM)
    by_target = gradient(lambda p: reverse_kl(p, target), logits)
    by_penalty = gradient(lambda p: reverse_kl(p, teacher) + LAM * (p.exp() * generic).sum(dim=-1), logits)
    by_reward = gradient(lambda p: policy_surrogate(p, teacher - p - LAM * generic), logits)
    assert_close(by_penalty, by_target, rtol=0, atol=1e-6)
    assert_close(by_reward, by_target, rtol=0, atol=1e-6)
    assert by_target.abs().max() > 1e-2


def test_surrogate_value_is_minus_expected_advantage_with_the_advantage_detached():
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    advantage = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    loss = policy_surrogate(logits.log_softmax(dim=-1), advantage)
    assert_close(loss, -(logits.softmax(-1) * advantage).sum(-1), **EXACT)
    loss.sum().backward()
    assert advantage.grad is None


def test_a_constant_per_token_in_the_generic_part_changes_no_reverse_kl_gradient():
    logits, teacher, generic = torch.randn(4, 6, dtype=torch.float64), random_logps(4, 6), random_logps(4, 6)

    def grad(shift):
        target = raw_target(teacher, generic + shift, LAM)
        return gradient(lambda p: credit_divergence(p, teacher, target), logits)

    assert_close(grad(torch.randn(4, 1, dtype=torch.float64)), grad(0.0), **EXACT)


# Insertions of lambda


@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_insertions_have_one_gradient_without_lambda(alpha):
    logits, teacher = torch.randn(4, 6, dtype=torch.float64), random_logps(4, 6)
    expected = gradient(lambda p: jsd(p, teacher, alpha), logits)
    for insertion in INSERTIONS:
        grad = gradient(lambda p, i=insertion: credit_divergence(p, teacher, teacher, "jsd", alpha, i), logits)
        assert_close(grad, expected, **EXACT)


def test_insertions_differ_with_lambda():
    logits, teacher, contrast = (
        torch.randn(4, 6, dtype=torch.float64),
        random_logps(4, 6),
        random_logps(2, 4, 6),
    )
    target, penalty, kernel = (
        gradient(lambda p, i=i: credit_divergence(p, teacher, paper(teacher, contrast), "jsd", 0.5, i), logits)
        for i in ("target", "penalty", "kernel")
    )
    assert min((target - penalty).abs().max(), (target - kernel).abs().max(), (kernel - penalty).abs().max()) > 1e-3


def test_credit_divergence_matches_its_definitions():
    student, teacher, contrast = random_logps(4, 6), random_logps(4, 6), random_logps(2, 4, 6)
    generic, q = contrast.mean(dim=0), contrastive_teacher(teacher, contrast, LAM)
    reward = teacher - student - LAM * generic
    expected = {
        ("reverse_kl", "target"): reverse_kl(student, q),
        ("forward_kl", "target"): forward_kl(student, q),
        ("jsd", "target"): jsd(student, q, 0.3),
        ("jsd", "kernel"): -(student.exp() * 0.7 * (0.7 + 0.3 * reward.exp()).log()).sum(dim=-1),
        ("jsd", "penalty"): jsd(student, teacher, 0.3) + LAM * (student.exp() * generic).sum(dim=-1),
    }
    for (divergence, insertion), value in expected.items():
        loss = credit_divergence(student, teacher, paper(teacher, contrast), divergence, 0.3, insertion)
        assert_close(loss, value, **EXACT)


@pytest.mark.parametrize(
    ("divergence", "insertion", "message"),
    [
        ("kl", "target", "divergence='kl' is unknown. Use one of reverse_kl, forward_kl, jsd"),
        ("jsd", "magic", "insertion='magic' is unknown. Use one of target, kernel, penalty"),
    ],
)
def test_unknown_names_are_refused(divergence, insertion, message):
    logps = random_logps(2, 3)
    with pytest.raises(ValueError, match=message):
        credit_divergence(logps, logps, logps, divergence, 0.5, insertion)


# Supports and tails


def test_support_is_the_students_most_likely_tokens_without_gradient():
    student = random_logps(5, 9).requires_grad_()
    index = student_support(student, 3)
    assert torch.equal(index.sort(dim=-1).values, student.argsort(dim=-1)[:, -3:].sort(dim=-1).values)


def test_support_larger_than_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match=r"support_size=4 is larger than the vocabulary \(3\)"):
        student_support(random_logps(2, 3), 4)


def test_tail_survives_where_one_minus_the_support_is_zero_in_float32():
    logps = torch.tensor([40.0, 0.0, 0.0]).log_softmax(dim=-1)
    index = torch.tensor([0])
    assert (1 - logps[index].exp().sum()).item() == 0.0
    assert_close(log_tail(logps, index), torch.tensor([math.log(2) - 40.0]))


def coarse(p_V, index_K):
    """Coarse-grain a distribution: the support, and one entry for the rest."""
    inside = torch.zeros_like(p_V).scatter(-1, index_K, 1.0)
    return torch.cat([p_V.gather(-1, index_K), (p_V * (1 - inside)).sum(dim=-1, keepdim=True)], dim=-1)


def on_support(size, tail, vocabulary=8):
    """(student on the support, log p_T, raw target on it, index, full q, full student)."""
    student, teacher, contrast = (
        random_logps(4, vocabulary),
        random_logps(4, vocabulary),
        random_logps(2, 4, vocabulary),
    )
    index = student_support(student, size) if size else None
    logp_teacher_K, raw_K = restrict_target(teacher, (contrast,), index, tail, paper)
    q = contrastive_teacher(teacher, contrast, LAM)
    return restrict(student, index, tail), logp_teacher_K, raw_K, index, q, student


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_exact_tail_is_the_coarse_grained_full_vocabulary(size, divergence):
    student_K, logp_teacher_K, raw_K, index, q, student = on_support(size, "exact")
    assert_close(student_K.exp(), coarse(student.exp(), index), **EXACT)
    assert_close(raw_K.softmax(dim=-1), coarse(q.exp(), index), **EXACT)
    loss = credit_divergence(student_K, logp_teacher_K, raw_K, divergence)
    p, q = coarse(student.exp(), index).numpy(), coarse(q.exp(), index).numpy()
    expected = {
        "reverse_kl": numpy_kl(p, q),
        "forward_kl": numpy_kl(q, p),
        "jsd": (numpy_kl(p, (p + q) / 2) + numpy_kl(q, (p + q) / 2)) / 2,
    }[divergence]
    assert_close(loss, torch.from_numpy(expected), **EXACT)


def test_bucket_tail_coarse_grains_each_model_first():
    torch.manual_seed(0)
    student_K, logp_teacher_K, raw_K, index, *_ = on_support(3, "bucket")
    torch.manual_seed(0)
    student, teacher, contrast = random_logps(4, 8), random_logps(4, 8), random_logps(2, 4, 8)
    assert_close(student_K.exp(), coarse(student.exp(), index), **EXACT)
    assert_close(logp_teacher_K.exp(), coarse(teacher.exp(), index), **EXACT)
    buckets = torch.stack([coarse(c.exp(), index).log() for c in contrast])
    assert_close(raw_K, paper(logp_teacher_K, buckets), **EXACT)


def test_bucket_tail_is_biased_and_the_exact_tail_is_not():
    student, teacher, contrast = (random_logps(*shape, scale=1.0) for shape in ((8, 2000), (8, 2000), (1, 8, 2000)))
    q = contrastive_teacher(teacher, contrast, LAM)
    index = student_support(student, 20)

    def tail_mass(tail):
        return restrict_target(teacher, (contrast,), index, tail, paper)[1].softmax(dim=-1)[:, -1]

    true = coarse(q.exp(), index)[:, -1]
    assert_close(tail_mass("exact"), true, rtol=0, atol=1e-12)
    # Raising one bucket of 1980 tokens to a power is not raising each of them.
    odds, true_odds = (m / (1 - m) for m in (tail_mass("bucket"), true))
    assert (odds / true_odds < 0.1).all()


def test_renormalise_treats_the_support_as_the_vocabulary():
    torch.manual_seed(0)
    student_K, logp_teacher_K, raw_K, index, *_ = on_support(3, "renormalise")
    torch.manual_seed(0)
    student, teacher, contrast = random_logps(4, 8), random_logps(4, 8), random_logps(2, 4, 8)

    def cut(logps):
        kept = logps.exp().gather(-1, index)
        return (kept / kept.sum(dim=-1, keepdim=True)).log()

    assert_close(student_K, cut(student), **EXACT)
    assert_close(logp_teacher_K, cut(teacher), **EXACT)
    assert_close(raw_K, paper(cut(teacher), torch.stack([cut(c) for c in contrast])), **EXACT)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("size", [None, 8])
def test_a_support_as_large_as_the_vocabulary_is_the_full_vocabulary(size, tail, divergence):
    student_K, logp_teacher_K, raw_K, _, q, student = on_support(size, tail)
    distance = {"reverse_kl": reverse_kl, "forward_kl": forward_kl, "jsd": jsd}[divergence]
    assert_close(credit_divergence(student_K, logp_teacher_K, raw_K, divergence), distance(student, q), **EXACT)


@pytest.mark.parametrize("tail", TAILS)
def test_supports_without_contrast_pass_none_to_the_target(tail):
    teacher, index = random_logps(4, 8), torch.tensor([[0, 3]]).expand(4, 2)
    seen = []

    def target(logp_teacher, *contrasts):
        seen.extend(contrasts)
        return logp_teacher

    logp_teacher_K, raw_K = restrict_target(teacher, (None, None), index, tail, target)
    assert seen == [None, None]
    assert_close(raw_K, logp_teacher_K, **EXACT)


def test_unknown_tail_is_refused():
    with pytest.raises(ValueError, match=r"tail='cut' is unknown\. Use one of renormalise, bucket, exact"):
        restrict_target(random_logps(2, 3), (None,), None, "cut", lambda p, g: p)


def test_impossible_tokens_count_nothing_and_send_no_nan_back():
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    masked = torch.tensor([False, False, True, False, False, False])
    logq = torch.randn(4, 6, dtype=torch.float64).masked_fill(masked, -torch.inf).log_softmax(-1)
    logp = logits.masked_fill(masked, -torch.inf).log_softmax(-1)
    kept = ~masked
    for kl in (reverse_kl, forward_kl):
        torch.testing.assert_close(kl(logp, logq), kl(logp[:, kept], logq[:, kept]))
        (gradient,) = torch.autograd.grad(kl(logp, logq).sum(), logits, retain_graph=True)
        assert gradient.isfinite().all()
