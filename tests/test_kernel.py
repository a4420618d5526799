"""The chunked kernel against brute force on full logits: values, and gradients on hidden states and head."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from credit.divergences import INSERTIONS, TAILS
from credit.kernel import LossOptions, Views, token_credit, vocabulary_loss
from credit.methods import METHODS, get_method
from credit.rewards import FORMS, raw_target
from credit.scoring import Head, in_chunks

N, V, D, C, LAM = 7, 6, 4, 2, 0.4
OPTIONS = LossOptions("reverse_kl", 0.3, "target", None, "renormalise", None, 3)
CLOSE = {"rtol": 2e-4, "atol": 2e-5}  # float32 against float64
LOSSES = [
    ("reverse_kl", "target"),
    ("forward_kl", "target"),
    *(("jsd", insertion) for insertion in INSERTIONS),
]


def make_views(tokens: int = N, nofeedback: bool = False) -> Views:
    """Teacher views of random hidden states. Token 1 misses one negative, token 2 all of them."""
    available = torch.ones(tokens, C, dtype=torch.bool)
    if tokens:
        available[1, 0] = False
        available[2] = False
    contrast = 2 * torch.randn(tokens, C, D)
    plain = 2 * torch.randn(tokens, C, D) if nofeedback else None
    return Views(2 * torch.randn(tokens, D), contrast, available, plain, LAM)


def make_case(tokens: int = N, nofeedback: bool = False):
    """(hidden, labels, head, views, teacher head); the last two without gradient."""
    hidden = (2 * torch.randn(tokens, D)).requires_grad_()
    head = Head(torch.randn(V, D).requires_grad_())
    return hidden, torch.randint(V, (tokens,)), head, make_views(tokens, nofeedback), Head(torch.randn(V, D))


def target_of(form: str = "paper"):
    method = get_method("credit")
    return lambda *scores: method.target(*scores, form)


PAPER = target_of()


# Brute force, one token at a time in float64, written from the definitions


def brute_scores(
    row: int, views: Views, teacher_head: Head, cut, mean: str = "logs"
) -> tuple[Tensor, Tensor | None, float]:
    """(log p_T, G, lambda) of one token after `cut`, which coarse-grains a distribution."""

    def logps(hidden: Tensor) -> Tensor:
        return cut((teacher_head.weight.double() @ hidden.double()).softmax(-1)).log()

    negatives = [logps(views.contrast_NCD[row, c]) for c in range(C) if views.available_NC[row, c]]
    generic = sum(negatives) / len(negatives) if negatives else None
    if negatives and mean == "probabilities":
        generic = (sum(n.exp() for n in negatives) / len(negatives)).log()
    return logps(views.teacher_ND[row]), generic, views.lam if negatives else 0.0


def brute_loss(row: int, logits: Tensor, views: Views, teacher_head: Head, options: LossOptions) -> Tensor:
    p_V = logits.softmax(-1)
    support = p_V.argsort(descending=True)[: options.support_size or V]

    def cut(p):
        inside = p[support]
        if options.tail == "renormalise":
            return inside / inside.sum()
        return inside if len(support) == V else torch.cat([inside, 1 - inside.sum().unsqueeze(0)])

    first_cut = (lambda p: p) if options.tail == "exact" else cut
    logp_teacher, generic, lam = brute_scores(row, views, teacher_head, first_cut, options.generic_mean)
    if generic is None:
        generic = torch.zeros_like(logp_teacher)
    elif options.contrast_floor is not None:
        generic = generic.clamp(min=options.contrast_floor)
    weight = (logp_teacher - lam * generic).exp()
    logp_teacher = cut(logp_teacher.exp()).log() if options.tail == "exact" else logp_teacher
    if options.tail == "exact":
        inside = weight[support]
        weight = inside if len(support) == V else torch.cat([inside, (weight.sum() - inside.sum()).unsqueeze(0)])
    p, q, a = cut(p_V), weight / weight.sum(), options.jsd_alpha
    p_teacher = logp_teacher.exp()

    def kl(one, two):
        return (one * (one / two).log()).sum()

    def jsd(one, two):
        mixture = (1 - a) * one + a * two
        return (1 - a) * kl(one, mixture) + a * kl(two, mixture)

    if options.divergence == "jsd":
        return {
            "target": lambda: jsd(p, q),
            "kernel": lambda: -(p * ((1 - a) * (1 - a + a * weight / p).log()).detach()).sum(),
            "penalty": lambda: jsd(p, p_teacher) + (p * (p_teacher / weight).log()).sum(),
        }[options.jsd_lambda]()
    return kl(p, q) if options.divergence == "reverse_kl" else kl(q, p)


def check_against_brute_force(options: LossOptions):
    hidden, labels, head, views, teacher_head = make_case()
    weights = torch.rand(N)
    out = vocabulary_loss(hidden, labels, head, views, teacher_head, PAPER, options)
    grads = torch.autograd.grad((out["loss"] * weights).sum(), [hidden, head.weight])

    logits = hidden.double() @ head.weight.double().T
    loss = torch.stack([brute_loss(row, logits[row], views, teacher_head, options) for row in range(N)])
    expected = torch.autograd.grad((loss * weights).sum(), [hidden, head.weight])
    assert_close(out["loss"].double(), loss, **CLOSE)
    assert_close(grads, expected, **CLOSE)
    assert out["loss"].abs().max() > 1e-2


@pytest.mark.parametrize(("divergence", "insertion"), LOSSES)
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("size", [None, 3, V])
def test_loss_and_gradients_match_brute_force(size, tail, divergence, insertion):
    options = replace(OPTIONS, divergence=divergence, jsd_lambda=insertion, support_size=size, tail=tail)
    check_against_brute_force(options)


@pytest.mark.parametrize("tail", TAILS)
def test_floor_enters_the_target(tail):
    check_against_brute_force(replace(OPTIONS, support_size=3, tail=tail, contrast_floor=-1.5))


@pytest.mark.parametrize("tail", TAILS)
def test_the_log_of_a_mean_equals_brute_force_too(tail):
    check_against_brute_force(replace(OPTIONS, support_size=3, tail=tail, generic_mean="probabilities"))


# What comes with the loss


def test_side_results_are_those_of_the_students_full_vocabulary():
    hidden, labels, head, views, teacher_head = make_case()
    out = vocabulary_loss(hidden, labels, head, views, teacher_head, PAPER, replace(OPTIONS, support_size=2))
    p = (hidden.double() @ head.weight.double().T).softmax(-1)
    assert_close(out["logp"].double(), p[torch.arange(N), labels].log(), **CLOSE)
    assert_close(out["entropy"].double(), -(p * p.log()).sum(-1), **CLOSE)
    assert_close(out["support_mass"].double(), p.topk(2).values.sum(-1).detach(), **CLOSE)
    assert out["logp"].requires_grad
    assert out["entropy"].requires_grad
    assert not out["support_mass"].requires_grad


def test_full_vocabulary_holds_all_the_mass():
    out = vocabulary_loss(*make_case(), PAPER, OPTIONS)
    assert torch.equal(out["support_mass"], torch.ones(N))


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("size", [None, 3])
def test_clamped_is_the_share_of_the_support_whose_generic_part_met_the_floor(size, tail):
    hidden, labels, head, views, teacher_head = make_case()
    options = replace(OPTIONS, contrast_floor=-2.0, tail=tail, support_size=size)
    clamped = vocabulary_loss(hidden, labels, head, views, teacher_head, PAPER, options)["clamped"]
    for row, p_V in enumerate((hidden.double() @ head.weight.double().T).softmax(-1)):
        support = p_V.argsort(descending=True)[: size or V]

        def cut(p, support=support):
            return p[support] / p[support].sum() if tail == "renormalise" else p[support]

        _, generic, _ = brute_scores(row, views, teacher_head, cut)
        share = 0.0 if generic is None else (generic < -2.0).double().mean().item()
        assert clamped[row].item() == pytest.approx(share)
    assert 0 < clamped.mean() < 1


def test_nothing_is_clamped_without_floor_or_contrast():
    hidden, labels, head, views, teacher_head = make_case()
    for same, floor in ((views, None), (Views(views.teacher_ND), -2.0)):
        options = replace(OPTIONS, contrast_floor=floor)
        out = vocabulary_loss(hidden, labels, head, same, teacher_head, PAPER, options)
        assert torch.equal(out["clamped"], torch.zeros(N))


def test_no_gradient_reaches_the_teacher():
    hidden, labels, head, views, teacher_head = make_case()
    teacher_head.weight.requires_grad_()
    for view in (views.teacher_ND, views.contrast_NCD):
        view.requires_grad_()
    vocabulary_loss(hidden, labels, head, views, teacher_head, PAPER, OPTIONS)["loss"].sum().backward()
    assert hidden.grad is not None
    assert teacher_head.weight.grad is views.teacher_ND.grad is views.contrast_NCD.grad is None


@pytest.mark.parametrize(("divergence", "insertion"), LOSSES)
def test_lambda_zero_is_the_path_without_contrast_bit_for_bit(divergence, insertion):
    """CREDIT at lambda 0, SDPO, and CREDIT on tokens without any negative are one loss."""
    hidden, labels, head, views, teacher_head = make_case()
    options = replace(OPTIONS, divergence=divergence, jsd_lambda=insertion, support_size=3)
    bare = Views(views.teacher_ND)
    sdpo = METHODS["sdpo"]
    expected = vocabulary_loss(
        hidden, labels, head, bare, teacher_head, lambda *scores: sdpo.target(*scores, "paper"), options
    )
    missing = replace(views, available_NC=torch.zeros_like(views.available_NC), nofeedback_NCD=views.contrast_NCD)
    for form in FORMS:
        for same in (bare, missing):
            out = vocabulary_loss(hidden, labels, head, same, teacher_head, target_of(form), options)
            assert torch.equal(out["loss"], expected["loss"])


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_chunk_size_changes_nothing(size):
    case = make_case()
    hidden, head = case[0], case[2]

    def run(chunk):
        out = vocabulary_loss(*case, PAPER, replace(OPTIONS, chunk_tokens=chunk, support_size=3))
        grads = torch.autograd.grad(out["loss"].sum() + out["logp"].sum(), [hidden, head.weight])
        return [
            *out.values(),
            *grads,
            *token_credit(*case, PAPER, replace(OPTIONS, chunk_tokens=chunk)).values(),
        ]

    for chunked, whole in zip(run(size), run(N), strict=True):
        assert_close(chunked, whole, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_chunks_are_never_larger_than_asked():
    sizes = []

    def function(x, missing):
        assert missing is None
        sizes.append(len(x))
        return {"x": x}

    with torch.no_grad():
        assert torch.equal(in_chunks(function, 3, torch.arange(7), None)["x"], torch.arange(7))
    assert sizes == [3, 3, 1]


def test_no_tokens_give_an_empty_loss_still_connected_to_the_graph():
    case = make_case(tokens=0)
    out = vocabulary_loss(*case, PAPER, replace(OPTIONS, support_size=3))
    assert all(value.shape == (0,) for value in out.values())
    out["loss"].sum().backward()
    assert torch.equal(case[2].weight.grad, torch.zeros(V, D))
    assert all(value.shape[0] == 0 for value in token_credit(*case, PAPER, OPTIONS, alternatives=2).values())


def test_student_and_teacher_each_use_their_own_head():
    hidden, labels, head, views, teacher_head = make_case()
    warm, cold = replace(head, temperature=2.0), replace(teacher_head, scale=0.5, softcap=3.0)
    out = token_credit(hidden, labels, warm, views, cold, PAPER, OPTIONS)
    rows = torch.arange(N)
    assert_close(out["logp_student"], warm.logps(hidden)[rows, labels])
    assert_close(out["logp_teacher"], cold.logps(views.teacher_ND)[rows, labels])


# Credit of the sampled tokens


@pytest.mark.parametrize("form", FORMS)
def test_token_credit_is_that_of_the_definitions(form):
    hidden, labels, head, views, teacher_head = make_case(nofeedback=True)
    out = token_credit(hidden, labels, head, views, teacher_head, target_of(form), OPTIONS)
    student = (hidden.double() @ head.weight.double().T).log_softmax(-1).detach()
    plain = replace(views, contrast_NCD=views.nofeedback_NCD)
    for row in range(N):
        teacher, generic, lam = brute_scores(row, views, teacher_head, lambda p: p)
        generic0 = brute_scores(row, plain, teacher_head, lambda p: p)[1]
        r = teacher - student[row]
        credit = r if generic is None else r + {
            "paper": -lam * generic,
            "guided": lam * (teacher - generic),
            "feedback_contrast": -lam * (generic - generic0),
        }[form]  # fmt: skip
        expected = {
            "logp_student": student[row],
            "logp_teacher": teacher,
            "r": r,
            "R": credit,
            "G": torch.full((V,), torch.nan) if generic is None else generic,
            "S": torch.full((V,), torch.nan) if generic is None else teacher - generic,
        }
        for name, value_V in expected.items():
            assert_close(out[name][row].double(), value_V[labels[row]].double(), equal_nan=True, **CLOSE)
        assert_close(out["baseline"][row].double(), (student[row].exp() * credit).sum(), **CLOSE)
    assert out["G"].isnan().tolist() == [row == 2 for row in range(N)]


def test_token_credit_without_contrast_has_no_generic_part():
    hidden, labels, head, views, teacher_head = make_case()
    out = token_credit(hidden, labels, head, Views(views.teacher_ND), teacher_head, PAPER, OPTIONS)
    assert out["G"].isnan().all()
    assert out["S"].isnan().all()
    assert torch.equal(out["R"], out["r"])
    assert not out["R"].isnan().any()
    assert not any(value.requires_grad for value in out.values())


def test_each_negative_is_recorded_and_their_mean_is_the_generic_part():
    case = make_case()
    _, labels, _, views, teacher_head = case
    out = token_credit(*case, PAPER, OPTIONS)
    for row in range(N):
        for c in range(C):
            logits = teacher_head.weight.double() @ views.contrast_NCD[row, c].double()
            expected = logits.log_softmax(-1)[labels[row]] if views.available_NC[row, c] else torch.tensor(torch.nan)
            assert_close(out["logp_contrast"][row, c].double(), expected.double(), equal_nan=True, **CLOSE)
    assert_close(out["logp_contrast"].nanmean(dim=1), out["G"], equal_nan=True, **CLOSE)


@pytest.mark.parametrize("form", FORMS)
def test_alternatives_are_the_likeliest_of_student_and_target(form):
    case = make_case(nofeedback=True)
    every = token_credit(*case, target_of(form), OPTIONS, alternatives=V + 1)  # more than there are: all of them
    best = token_credit(*case, target_of(form), OPTIONS, alternatives=2)
    assert every["alt_ids"].sort(-1).values.tolist() == [list(range(V))] * N
    chosen = every["alt_ids"] == case[1][:, None]  # the sampled token among its alternatives
    for name in ("logp_student", "logp_teacher", "G", "R"):
        assert_close(every[f"alt_{name}"][chosen], every[name], equal_nan=True, **CLOSE)
        assert torch.equal(best[f"alt_{name}"].nan_to_num(), every[f"alt_{name}"][:, :2].nan_to_num())
    student = every["alt_logp_student"]
    target = (student + every["alt_R"]).log_softmax(-1)  # R is log q - log p before normalisation
    likely = torch.maximum(student, target)
    assert (likely.diff(dim=-1) <= 1e-6).all()
    assert token_credit(*case, PAPER, OPTIONS).keys().isdisjoint({"alt_ids", "alt_R"})


def test_token_credit_uses_the_floor():
    case = make_case()
    out = token_credit(*case, PAPER, replace(OPTIONS, contrast_floor=-1.0))
    known = ~out["G"].isnan()
    assert out["G"][known].min() == -1.0
    assert_close(out["R"][known], (out["r"] - LAM * out["G"])[known], **CLOSE)


def test_token_credit_ignores_the_support():
    case = make_case()
    whole = token_credit(*case, PAPER, OPTIONS)
    cut = token_credit(*case, PAPER, replace(OPTIONS, support_size=2, tail="bucket"))
    assert all(torch.equal(whole[name].nan_to_num(), cut[name].nan_to_num()) for name in whole)


# Methods


def test_methods_are_registered_by_name():
    assert list(METHODS) == [method.name for method in METHODS.values()]
    assert get_method("credit").contrast == "inputs"
    assert get_method("sdpo").contrast is None
    assert [name for name in METHODS if not get_method(name).needs_teacher] == ["grpo"]


def test_unknown_method_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match=r"method='dpo' is unknown\. Use one of grpo, sdpo, credit"):
        get_method("dpo")


def test_method_targets():
    teacher, generic, generic0 = torch.randn(3, V), torch.randn(3, V), torch.randn(3, V)
    assert get_method("sdpo").target(teacher, generic, generic0, 0.5, "paper") is teacher
    for form in FORMS:
        target = get_method("credit").target(teacher, generic, generic0, 0.5, form)
        assert torch.equal(target, raw_target(teacher, generic, 0.5, form, generic0))
