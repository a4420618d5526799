"""The trust-region teacher: two models' logits, interpolated, against full logits; what moves it, what is saved."""

import pytest
import torch

from credit.scoring import Head, LerpHead
from credit.teacher import Teacher
from local_models import fit, history, make_model, make_trainer
from test_trainer import first_batch, record_plans

SHARE = 0.3


def lerped(reference, student, prompt_ids, completion_ids):
    """Log-probabilities (T, V) of the interpolated logits, without padding."""
    ids = torch.tensor([[*prompt_ids, *completion_ids]])
    with torch.no_grad():
        one, two = (model(input_ids=ids).logits[0].double() for model in (reference, student))
    return ((1 - SHARE) * one + SHARE * two)[len(prompt_ids) - 1 : -1].log_softmax(-1)


def test_a_head_of_two_is_the_interpolation_of_their_logits():
    reference, student = Head(torch.randn(6, 4), softcap=3.0), Head(torch.randn(6, 4), temperature=2.0)
    head = LerpHead(**vars(reference), student=student, share=SHARE)
    one, two = torch.randn(5, 4), torch.randn(5, 4)
    expected = (1 - SHARE) * reference.logits(one) + SHARE * student.logits(two)
    torch.testing.assert_close(head.logps(torch.cat([one, two], dim=-1)), expected.log_softmax(-1))


@pytest.mark.parametrize("family", ["qwen3", "olmo3"])
def test_loss_equals_brute_force_on_full_logits(tmp_path, family):
    lam, size = 0.6, 7
    trainer = make_trainer(
        tmp_path, family, teacher="trust_region", ema_rate=SHARE, lam=lam, support_size=size, num_negatives=2
    )
    trainer.teacher.model.load_state_dict(make_model(family, initializer_range=0.2).state_dict())
    plans = record_plans(trainer)
    loss = trainer._compute_loss(trainer.model, first_batch(trainer)).item()
    plan, completions = plans[0]
    student, total, tokens = trainer._student, 0.0, 0
    for i, ids in enumerate(completions):
        if not any(plan.contexts[i]):
            continue
        logp = lerped(student, student, plan.student[i], ids)
        index = logp.topk(size, dim=-1).indices

        def on_support(logp, index=index):
            return logp.gather(-1, index).log_softmax(-1)

        views = [plan.own[i], *(view[i] for view in plan.contrast)]
        taught, *others = (on_support(lerped(trainer.teacher.model, student, view, ids)) for view in views)
        target = (taught - lam * torch.stack(others).mean(0)).log_softmax(-1)
        total += (on_support(logp).exp() * (on_support(logp) - target)).sum().item()
        tokens += len(ids)
    assert tokens > 50
    assert loss == pytest.approx(total / tokens, rel=1e-5)


@pytest.mark.parametrize("level", ["vocabulary", "token"])
def test_a_share_of_one_is_the_live_teacher(tmp_path, level):
    whole = make_trainer(tmp_path, teacher="trust_region", ema_rate=1.0, level=level, credit_log_steps=1)
    live = make_trainer(tmp_path, teacher="live", level=level, credit_log_steps=1)
    fit(whole, live)
    for a, b in zip(history(whole, "credit/weight_gap"), history(live, "credit/weight_gap"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3, abs=1e-6)
        assert a["credit/R"] == pytest.approx(b["credit/R"], rel=1e-3, abs=1e-5)


def test_the_target_of_a_batch_stays_while_the_student_takes_several_steps(tmp_path):
    trainer = make_trainer(tmp_path, teacher="trust_region", ema_rate=SHARE, num_iterations=2)
    inputs = first_batch(trainer)
    with torch.no_grad():
        before = trainer._teacher_head.logps(inputs["teacher_hidden"])
        for parameter in trainer.model.parameters():
            parameter.mul_(1.5)
        assert torch.equal(before, trainer._teacher_head.logps(inputs["teacher_hidden"]))


def test_the_reference_stays_is_saved_and_comes_back(tmp_path):
    trainer = make_trainer(tmp_path, teacher="trust_region", ema_rate=SHARE)
    start = [p.detach().clone() for p in trainer._student.parameters()]
    fit(trainer)
    assert all(torch.equal(a, b) for a, b in zip(start, trainer.teacher.model.parameters(), strict=True))
    assert not torch.equal(start[0], next(trainer._student.parameters()))
    trainer.teacher.save(tmp_path)
    other = Teacher(make_model("qwen3", initializer_range=0.2), "trust_region", SHARE)
    other.load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(start, other.model.parameters(), strict=True))
    with pytest.raises(ValueError, match="Use the same settings to resume"):
        Teacher(make_model("qwen3"), "trust_region", 0.5).load(tmp_path)
