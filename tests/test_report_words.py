import subprocess
import sys

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("pyarrow")
pytest.importorskip("yaml")

from credit.report.options import credit_options, tables
from credit.report.text import command_line, compact, messages, number, show, visible
from credit.report.tokens import token_text
from credit.report.verdict import verdict
from report_runs import evaluation, side


@pytest.mark.parametrize(
    ("numbers", "tone", "said"),
    [
        ((0.5, 0.42, -0.12, -0.04), "fell", "fell from 0.50 to 0.42 (−0.08, 95% interval −0.12 to −0.04)."),
        (
            (0.5, 0.51, -0.02, 0.04),
            "unclear",
            "the interval includes zero, so the run shows no clear change.",
        ),
        ((0.5, 0.55, 0.0, 0.1), "unclear", "includes zero"),
        ((0.424, 0.906, 0.44, 0.52), "rose", "from 0.424 to 0.906 (+0.482, 95% interval 0.440 to 0.520)"),
        ((0.5, 0.52, 0.001, 0.04), "rose", "95% interval 0.001 to 0.040"),
        ((0.5, 0.52, None, None), "unclear", "no interval of the difference was recorded"),
    ],
)
def test_verdict_says_no_more_than_the_interval(numbers, tone, said):
    found = verdict(evaluation(*numbers), "complete")
    assert found.tone == tone
    assert said in found.sentence


def test_verdict_of_one_side_and_other_splits():
    only = {"settings": {"split": "validation"}, "before": side(0.4)}
    found = verdict(only, "running").sentence
    assert found == (
        "So far there is no comparison: before training, sampled accuracy on 280 validation prompts was 0.40 "
        "(interval 0.36 to 0.44); nothing was measured after training."
    )
    greedy = {s: {"greedy": side(m)["greedy"]} for s, m in (("before", 0.4), ("after", 0.5))}
    assert verdict(greedy, None).sentence.startswith("Greedy accuracy on 280 prompts (split not recorded) went")


def test_options_come_from_the_config_source():
    options = credit_options()
    assert list(options)[:3] == ["method", "form", "lam"]
    assert options["lam"][0] == 0.1
    assert "paper" in options["lam"][1]
    ours, others = tables({"lam": 0.1, "form": "guided", "aaa": None})
    assert [o.changed for o in ours if o.name in ("lam", "form", "method")] == [None, True, False]
    assert [(o.name, o.value) for o in others] == [("aaa", "none")]


def test_credentials_are_hidden():
    assert command_line("credit train --hub_token hf_x --lam 1") == "credit train --hub_token (hidden) --lam 1"
    assert command_line("--hub-token=hf_x") == "--hub-token=(hidden)"


def test_texts():
    assert (show(-0.0001), show(True), show("1"), show(2.0, 1, sign=True)) == ("0.000", "–", "–", "+2.0")
    assert (compact(0), compact(2e-5), compact(-12345678), number(1e308)) == (
        "0.000",
        "2e−05",
        "−1.23e+07",
        None,
    )
    assert visible("a\r\nb\tc") == "a\nb\tc"
    assert messages('[{"role": "user", "content": [{"type": "text", "text": "hi"}]}]') == [("user", "hi")]
    assert messages("[1, 2]") == [("", "[1, 2]")]
    assert (token_text("Ġthe", True), token_text("Ã©", True), token_text("Ã", True)) == (" the", "é", "Ã")
    assert (token_text("▁a", False), token_text("Ċ", True), token_text("", False)) == (" a", "↵\n", "∅")


def test_a_report_needs_no_trainer():
    code = "import sys, credit.report; print([m for m in ('torch', 'trl', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
