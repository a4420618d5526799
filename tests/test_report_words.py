import subprocess
import sys

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("pyarrow")
pytest.importorskip("yaml")

from credit.report.options import METHOD, SOURCES, as_config, declared, source_of_default, summary, tables
from credit.report.smoothing import pieces, smoothed, window
from credit.report.text import command_line, compact, messages, number, setting, show, size, visible
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
    options = declared(METHOD)
    assert list(options)[:3] == ["method", "form", "lam"]
    assert options["lam"][0] == 0.1
    assert {source_of_default(meaning) for _, meaning in options.values()} == set(SOURCES.values())
    origins = {"lam": "flag", "form": "preset paper-code", "model": "config mine.yaml"}
    groups = tables({"lam": 0.1, "form": "guided", "model": "tiny", "aaa": None}, origins)
    (_, ours), (_, run), (_, others) = groups
    lines = {o.name: o for o in (*ours, *run)}
    assert [lines[name].changed for name in ("lam", "form", "method")] == [False, True, None]
    assert [lines[name].set_by for name in ("lam", "form", "method", "model")] == [
        "hand", "preset paper-code", "default", "config mine.yaml",
    ]  # fmt: skip
    assert [lines[name].source for name in ("lam", "method")] == ["paper, second-hand", "ours"]
    assert [o.name for o in run] == ["model"]
    assert [(o.name, o.value) for o in others] == [("aaa", "none")]
    assert summary(groups).startswith("Options set: 1 by hand, 1 by preset paper-code, 1 by config mine.yaml.")


def test_without_a_record_nobody_is_said_to_have_set_anything():
    (_, ours), _, (_, others) = tables({"lam": 0.3, "form": "paper", "aaa": 1}, None)
    found = {o.name: o.set_by for o in (*ours, *others)}
    assert (found["lam"], found["form"], found["aaa"]) == ("not recorded", "default", "not recorded")
    assert as_config({"lam": 0.3}, None) == ""


def test_a_config_that_sets_the_same_holds_no_credential():
    import yaml

    config = {"lam": 0.3, "form": "paper", "output_dir": "x", "hub_token": "hf_x", "model_init_kwargs": {"token": "q"}}
    text = as_config(config, dict.fromkeys([*config, "overwrite"], "flag") | {"form": "preset paper-code"})
    assert yaml.safe_load(text) == {"lam": 0.3, "form": "paper", "model_init_kwargs": {"token": "(hidden)"}}


def test_smoothing_moves_no_trend_and_keeps_gaps():
    assert [window(n) for n in (3, 14, 15, 60, 200, 10_000)] == [0, 0, 5, 7, 21, 101]
    line = [(float(x), 2.0 * x) for x in range(9)]
    assert [y for _, y in pieces(smoothed(line, 5))[0]] == [y for _, y in line]
    peak = [(float(x), float(x == 4)) for x in range(9)]
    assert [y for _, y in pieces(smoothed(peak, 3))[0]] == pytest.approx([0, 0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0])
    gaps = [(1.0, 1.0), (2.0, None), (3.0, None), (4.0, 5.0), (5.0, 7.0)]
    assert pieces(smoothed(gaps, 5)) == [[(1.0, 1.0)], [(4.0, 5.0), (5.0, 7.0)]]
    assert smoothed([], 5) == []


def test_credentials_are_hidden():
    assert command_line("credit train --hub_token hf_x --lam 1") == "credit train --hub_token (hidden) --lam 1"
    assert command_line("--hub-token=hf_x") == "--hub-token=(hidden)"
    inside = """credit train --model_init_kwargs '{"token": "abc", "attn": "sdpa"}' --token_credit to_go"""
    assert command_line(inside) == inside.replace("abc", "(hidden)")
    assert setting("note", "mine is hf_" + "a" * 34) == "mine is (hidden)"
    assert setting("pad_token", "<pad>") == "<pad>"


def test_texts():
    assert (show(-0.0001), show(True), show("1"), show(2.0, 1, sign=True)) == ("0.000", "–", "–", "+2.0")
    assert (compact(0), compact(2e-5), compact(-12345678), number(1e308)) == (
        "0.000",
        "2e−05",
        "−1.23e+07",
        None,
    )
    assert (size(847831040), size(2.5e9), size(None), size(-1)) == ("848 MB", "2.50 GB", "–", "–")
    assert visible("a\r\nb\tc") == "a\nb\tc"
    assert messages('[{"role": "user", "content": [{"type": "text", "text": "hi"}]}]') == [("user", "hi")]
    assert messages("[1, 2]") == [("", "[1, 2]")]
    assert (token_text("Ġthe", True), token_text("Ã©", True), token_text("Ã", True)) == (" the", "é", "Ã")
    assert (token_text("▁a", False), token_text("Ċ", True), token_text("", False)) == (" a", "↵\n", "∅")


def test_a_report_needs_no_trainer():
    code = "import sys, credit.report; print([m for m in ('torch', 'trl', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
