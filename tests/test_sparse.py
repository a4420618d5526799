"""The head at K tokens against the dense head: the same losses, the same logged numbers, the same gradients."""

import pytest
import torch
from torch.testing import assert_close

from credit import sparse
from credit.kernel import LossOptions, Views, vocabulary_loss
from credit.methods import get_method
from credit.rewards import FORMS
from credit.scoring import Head, LerpHead
from local_models import fit, history, make_config, make_trainer

N, V, D, K = 9, 23, 6, 5
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
LOSSES = [("reverse_kl", "target"), ("forward_kl", "target"), *(("jsd", i) for i in ("target", "kernel", "penalty"))]
HEADS = {
    "plain": {},
    "scaled": {"scale": 0.3, "temperature": 0.7},
    "softcap": {"softcap": 2.0},
    "biased": {"bias": True},
    "float32": {"float32": True, "half": True, "bias": True},
    "half": {"half": True},
}


def make_head(kind: str, trained: bool) -> Head:
    options = dict(HEADS[kind])
    dtype = torch.bfloat16 if options.pop("half", False) else torch.float32
    bias = torch.randn(V, dtype=dtype) if options.pop("bias", False) else None
    head = Head(torch.randn(V, D, dtype=dtype), bias, **options)
    if trained:
        head.weight.requires_grad_()
        if bias is not None:
            bias.requires_grad_()
    return head


def make_views(count: int, nofeedback: bool, dtype=torch.float32, tokens: int = N) -> Views:
    """Token 1 misses one of several negatives, token 2 all of them."""
    if not count:
        return Views(torch.randn(tokens, D, dtype=dtype))
    available = torch.ones(tokens, count, dtype=torch.bool)
    if tokens:
        available[1, 0] = count == 1
        available[2] = False
    contrast = torch.randn(tokens, count, D, dtype=dtype)
    plain = torch.randn(tokens, count, D, dtype=dtype) if nofeedback else None
    return Views(torch.randn(tokens, D, dtype=dtype), contrast, available, plain, 0.4)


def both(hidden, head, views, teacher_head, form, divergence, insertion, floor=-3.0):
    """[(results, gradients)] of the dense and of the sparse head."""
    options = LossOptions(divergence, 0.3, insertion, K, "renormalise", floor, 4)
    labels, found = torch.randint(V, (len(hidden),)), []
    for dense in (True, False):
        out = vocabulary_loss(
            hidden, labels, head, views, teacher_head, lambda *s: get_method("credit").target(*s, form), options,
            policy_gradient=dense,
        )  # fmt: skip
        inputs = [t for t in (hidden, head.weight, head.bias) if t is not None]
        weights = torch.linspace(0.1, 1, len(hidden))
        found.append((out, torch.autograd.grad((out["loss"] * weights).sum(), inputs)))
    return found


def check(found, **close):
    (dense, dense_grads), (thin, thin_grads) = found
    assert dense.keys() == thin.keys()
    assert not thin["logp"].requires_grad
    for name in dense:
        assert_close(thin[name], dense[name], **close)
    for ours, theirs in zip(thin_grads, dense_grads, strict=True):
        assert_close(ours, theirs, **close)


@pytest.mark.parametrize("count", [0, 1, 2, 4])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("divergence", "insertion"), LOSSES)
def test_forms_divergences_and_missing_negatives(form, divergence, insertion, count):
    hidden = torch.randn(N, D, requires_grad=True)
    views = make_views(count, form == "feedback_contrast")
    head, teacher_head = make_head("plain", True), make_head("plain", False)
    check(both(hidden, head, views, teacher_head, form, divergence, insertion), **CLOSE)


@pytest.mark.parametrize("kind", HEADS)
def test_heads(kind, monkeypatch):
    monkeypatch.setattr(sparse, "_BUDGET", 2 * K * D)  # two tokens at a time
    dtype = torch.bfloat16 if "half" in HEADS[kind] else torch.float32
    hidden = torch.randn(N, D, dtype=dtype, requires_grad=True)
    views = make_views(2, False, dtype)
    found = both(hidden, make_head(kind, True), views, make_head(kind, False), "paper", "reverse_kl", "target")
    # Half precision rounds the two orders of summation apart; a float32 head does not.
    check(found, **({"rtol": 0.05, "atol": 0.02} if "half" in HEADS[kind] else CLOSE))


def test_a_teacher_between_two_heads():
    hidden, views = torch.randn(N, D, requires_grad=True), Views(torch.randn(N, 2 * D))
    teacher_head = LerpHead(torch.randn(V, D), student=Head(torch.randn(V, D), scale=0.5), share=0.3)
    check(both(hidden, make_head("plain", True), views, teacher_head, "paper", "reverse_kl", "target"), **CLOSE)


def test_a_tied_head_gets_one_gradient():
    weight = torch.randn(V, D, requires_grad=True)
    ids, views, teacher_head = torch.randint(V, (N,)), make_views(1, False), make_head("plain", False)
    options = LossOptions("reverse_kl", 0.5, "target", K, "renormalise", None, 4)
    grads = []
    for dense in (True, False):
        out = vocabulary_loss(
            weight[ids].tanh(), ids, Head(weight), views, teacher_head,
            lambda *s: get_method("credit").target(*s, "paper"), options, policy_gradient=dense,
        )  # fmt: skip
        grads.append(torch.autograd.grad(out["loss"].sum(), weight)[0])
    assert_close(*grads, **CLOSE)


def test_no_token_stays_connected():
    hidden, head = torch.randn(0, D, requires_grad=True), make_head("biased", True)
    found = both(hidden, head, make_views(1, False, tokens=0), make_head("plain", False), "paper", "jsd", "target")
    check(found, **CLOSE)
    assert not found[1][1][1].any()


def test_rows_at_has_the_gradient_of_finite_differences():
    hidden, weight = (torch.randn(s, D, dtype=torch.float64, requires_grad=True) for s in (4, V))
    index = torch.tensor([[0, 3], [3, 3], [22, 1], [5, 0]])
    assert torch.autograd.gradcheck(lambda h, w: sparse.rows_at(h, w, index), (hidden, weight))


def test_only_what_needs_a_gradient_elsewhere_projects_everything(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr("credit.scoring.rows_at", lambda *a: called.append(1) or sparse.rows_at(*a))
    for changed, thin in (
        ({}, True),
        ({"blend": "loss"}, False),
        ({"entropy_coef": 0.1}, False),
        ({"tail": "bucket"}, False),
        ({"support_size": 0}, False),
        ({"method": "sdpo", "importance_cap": 2.0}, True),
        ({"method": "srpo"}, False),
    ):
        called.clear()
        trainer = make_trainer(tmp_path / "out", **{"support_size": 8, "max_steps": 1, **changed})
        fit(trainer)
        assert bool(called) is trainer.args.sparse_head is thin, changed
    assert make_config(tmp_path, beta=0.1).policy_gradient  # its trainer would load a reference model by name


@pytest.mark.parametrize("family", ["qwen3", "olmo3"])
def test_training_is_the_same(family, tmp_path, monkeypatch):
    runs = []
    for dense in (True, False):
        if dense:
            monkeypatch.setattr("credit.config.CreditConfig.policy_gradient", True)
        else:
            monkeypatch.undo()
        trainer = make_trainer(
            tmp_path / f"{dense}", family=family, support_size=8, form="guided", max_steps=2, optim="sgd"
        )
        fit(trainer)
        runs.append((history(trainer), [p.detach().clone() for p in trainer.model.parameters()]))
    for ours, theirs in zip(runs[0][1], runs[1][1], strict=True):
        assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(runs[0][0], runs[1][0], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
