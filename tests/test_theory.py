"""Every identity of the analysis holds, and every check of one can fail."""

import functools
import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from torch.testing import assert_close

from credit.cli import main
from credit.compatibility import best_weights, mixture_gap
from credit.rewards import credit_reward, decompose, filtering_increment
from credit.theory import BREAKS, IDENTITIES, breaks_of, capitals, dependants, random_world, verify
from credit.theory.curves import collect
from logps import random_logps

EXACT = {"rtol": 0.0, "atol": 1e-12}
NAMES = [identity.name for identity in IDENTITIES]


@functools.cache
def failing(ingredient: str) -> set[str]:
    return {row.name for row in verify(ingredient) if not row.passed}


def test_every_identity_holds_to_rounding():
    rows = verify()
    assert [row.name for row in rows] == NAMES
    assert {row.name: row.error for row in rows if not row.error <= 1e-12} == {}
    assert all(row.passed and row.tolerance == 1e-10 for row in rows)


@pytest.mark.parametrize("broken", BREAKS)
def test_a_spoiled_ingredient_fails_exactly_the_identities_that_rest_on_it(broken):
    assert failing(broken) == set(dependants(broken)) != set()


@pytest.mark.parametrize("name", NAMES)
def test_every_identity_can_be_made_to_fail_by_its_own_name(name):
    assert name in failing(breaks_of(name))
    assert breaks_of(name.replace(" ", "-")) == breaks_of(name)


def test_an_unknown_ingredient_is_named():
    with pytest.raises(ValueError, match=r"'prior' is neither an ingredient \(posterior, .*follow\) nor the name"):
        verify("prior")


def test_capitals_by_hand():
    """p(praise) = 45/128; 15/32 after "clearly", 3/4 after "paris"."""
    world = capitals()
    france, italy_japan, clearly_paris = 0, [1, 2], 9
    assert world.responses_NT[clearly_paris].tolist() == [1, 0, 0]
    teacher = world.sampled(world.teacher_ZXNTV)[0, :, clearly_paris]
    student = world.sampled(world.student_XNTV)[france, clearly_paris]
    specific, generic = decompose(teacher[france], teacher[italy_japan])

    def logs(*values):
        return torch.tensor(values, dtype=torch.float64).log()

    assert_close(world.filtered_ZXNS[0, france, clearly_paris], logs(45 / 128, 15 / 32, 3 / 4, 3 / 4), **EXACT)
    assert_close(filtering_increment(teacher[france], student), logs(4 / 3, 8 / 5, 1), **EXACT)
    assert_close(generic, logs(1 / 3, 1 / 10, 1 / 2), **EXACT)
    assert_close(specific, logs(1, 8, 1), **EXACT)
    credit = credit_reward(teacher[france], student, teacher[italy_japan], 1.0)
    assert_close(credit.sum(), (logs(32 / 15) - logs(1 / 60)).squeeze(), **EXACT)


def test_the_teacher_of_a_world_is_a_distribution_and_the_world_adds_up():
    world = random_world(3, inputs=2, tokens=4, steps=2, feedbacks=3)
    for logp in (world.teacher_ZXNTV, world.student_XNTV, world.logp_feedback_XNZ):
        assert_close(logp.logsumexp(dim=-1), torch.zeros(logp.shape[:-1], dtype=torch.float64), **EXACT)
    assert_close(world.logp_XN.logsumexp(dim=-1), torch.zeros(2, dtype=torch.float64), **EXACT)


def test_mixture_gap_by_hand():
    teachers = torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64).log()
    student = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
    even, all_first = torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=torch.float64).log()
    assert mixture_gap(student, teachers, even).item() == pytest.approx(0.0, abs=1e-15)
    assert mixture_gap(student, teachers, all_first).item() == pytest.approx(0.5 * math.log(4 / 3))


def test_best_weights_find_the_mixture_or_the_nearest_one():
    teachers, weights = random_logps(3, 4, 6), random_logps(4, 3).T
    student = (teachers + weights.unsqueeze(-1)).logsumexp(dim=0)
    found = best_weights(student, teachers)
    assert (mixture_gap(student, teachers, found) < 1e-8).all()
    stranger = random_logps(4, 6)
    nearest = mixture_gap(stranger, teachers, best_weights(stranger, teachers))
    for _ in range(50):
        assert (mixture_gap(stranger, teachers, random_logps(4, 3).T) >= nearest - 1e-9).all()
    assert (nearest > 1e-3).all()


def test_curves_show_what_the_identities_say():
    curves = collect()
    by_label = {name: dict(curves[name]) for name in ("bounds", "estimates", "flattening", "drift", "gradients")}
    assert all(value == pytest.approx(1.0) for _, value in by_label["gradients"]["to go"])
    assert by_label["gradients"]["immediate"][-1][1] < 0.9
    assert by_label["flattening"]["paper, λ 1"][-1][1] == pytest.approx(math.log(3), abs=1e-3)
    assert len({round(value, 12) for _, value in by_label["flattening"]["guided, λ 1"]}) == 1
    assert len({round(value, 12) for _, value in by_label["drift"]["feedback_contrast, λ 1"]}) == 1
    assert by_label["drift"]["guided, λ 1"][-1][1] > 0.99 > by_label["drift"]["paper, λ 0.5"][-1][1]
    for (_, below), (_, true), (_, above) in zip(
        by_label["bounds"]["InfoNCE"], by_label["bounds"]["I(x; y)"], by_label["bounds"]["E sum S (CLUB)"], strict=True
    ):
        assert below <= true + 1e-12 <= above


# Through the command line


def test_verify_prints_rows_as_json(capsys):
    assert main(["verify", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == NAMES
    assert all(set(row) == {"name", "source", "error", "tolerance", "passed"} for row in rows)
    assert {row["source"] for row in rows} == {"abstract", "second-hand", "ours"}


def test_verify_fails_loudly_when_broken(capsys):
    assert main(["verify", "--break", "telescoping"]) == 1
    said = capsys.readouterr().out
    assert "broken on purpose: posterior (the teacher is sharper than the Bayes posterior)." in said
    assert "6 identities fail, exactly those that rest on it." in said
    assert main(["verify", "--break", "nothing"]) == 2
    assert "neither an ingredient" in capsys.readouterr().err


def test_verify_writes_a_page_with_figures(tmp_path, capsys):
    assert main(["verify", "--out", str(tmp_path / "page"), "--break", "follow"]) == 1
    page = (tmp_path / "page" / "verify.html").read_text()
    assert "2 of 30 identities fail" in page
    assert "the EMA rate is inverted" in page
    assert "http" not in page.replace("http-equiv", "")
    rows = json.loads((tmp_path / "page" / "verify.json").read_text())
    assert [row["name"] for row in rows if not row["passed"]] == dependants("follow")
    figures = sorted(path.stem for path in (tmp_path / "page").glob("*.svg"))
    assert figures == sorted(collect())
    for path in (tmp_path / "page").glob("*.svg"):
        ElementTree.parse(path)  # well-formed on its own


def test_verify_refuses_a_file_as_folder(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["verify", "--out", str(tmp_path / "taken")]) == 2
    assert "is a file. Name a folder." in capsys.readouterr().err


def test_theory_needs_torch_only():
    code = (
        "import sys\n"
        "for name in ('transformers', 'trl', 'rich', 'jinja2', 'pyarrow', 'datasets'): sys.modules[name] = None\n"
        "from credit.theory import verify\n"
        "assert all(row.passed for row in verify())"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)
