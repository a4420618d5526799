import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("pyarrow")
yaml = pytest.importorskip("yaml")

from credit.credit_log import TOKEN_COLUMNS, write_token_credit  # noqa: E402
from credit.report import write_report  # noqa: E402
from credit.report.options import credit_options, tables  # noqa: E402
from credit.report.text import messages, show, visible  # noqa: E402
from credit.report.tokens import token_text  # noqa: E402
from credit.report.verdict import verdict  # noqa: E402

HOSTILE = '<script>alert(1)</script><img src="http://evil.example/x.png" onerror=alert(2)>&amp;"\'{{ 7*7 }}'


def estimate(mean, low=None, high=None, n=280):
    return {"n": n, "mean": mean, "low": low, "high": high}


def side(mean):
    families = {"route": estimate(mean - 0.1, mean - 0.17, mean - 0.03, 70), "facts": estimate(mean + 0.05, n=70)}
    return {
        "sampled": {"overall": estimate(mean, mean - 0.04, mean + 0.04), "families": families},
        "greedy": {"overall": estimate(mean + 0.02, mean - 0.03, mean + 0.07), "families": families},
        "extras": {"reasoning_kept": 0.9125, "boilerplate_leak": 0.0225},
    }


def evaluation(before=0.421, after=0.911, low=0.442, high=0.533):
    return {
        "settings": {"split": "test", "samples": 4, "interval": "95% bootstrap over prompts", "prompts": 280},
        "before": side(before),
        "after": side(after),
        "difference": {"sampled": {"overall": {"mean": after - before, "low": low, "high": high}}},
        "examples": [
            {"prompt": "p-gained", "family": "route", "before": "s1", "before_score": 0, "after": "s7", "after_score": 1,
             "answer": "s7"},
            {"prompt": [{"role": "user", "content": "p-lost"}], "before": HOSTILE, "before_score": 1, "after": "x",
             "after_score": 0.5},
            {"prompt": "p-same", "before": "a", "before_score": 1, "after": "a", "after_score": 1},
            {"prompt": "p-unscored", "before": "a", "before_score": None, "after": "a", "after_score": 1},
        ],
    }  # fmt: skip


def rollout(tokens, values=None, **fields):
    numbers = {name: values or [round(0.1 * i - 0.2, 3) for i in range(len(tokens))] for name in TOKEN_COLUMNS}
    row = {
        "step": 10, "row": 0, "group": 0, "prompt": '[{"content": "which unit?", "role": "user"}]',
        "completion": " ".join(tokens), "score": 0.25, "solution": "a sibling", "feedback": None,
        "negatives": ["an unrelated input"], "tokens": tokens, "token_ids": list(range(len(tokens))),
    }  # fmt: skip
    return {**row, **numbers, **fields}


def write_run(folder: Path, **parts) -> Path:
    """Write a run directory; `parts` replace its files, None leaves one out."""
    metrics = [
        {"step": s, "epoch": s / 50, "reward": 0.4 + s / 100, "entropy": 1.5, "credit/loss": 2.0 / s,
         "completions/mean_length": 12.0, "credit/no_teacher": 0.125, "credit/no_negative": 0.0,
         "credit/clamped": 0.0004, "credit/context_cut": 0.0, **({"credit/R": 0.2} if s % 10 == 0 else {})}
        for s in range(1, 51)
    ]  # fmt: skip
    run = {
        "status": "complete", "started": "2026-01-02T03:04:05+00:00", "command": "credit train --config quickstart",
        "seconds": {"setup": 1.5, "eval_before": 20.0, "train": 134.2, "eval_after": 21.0}, "model": "tiny", "seed": 3,
        "versions": {"credit": "0.1.0", "trl": "1.16.0"}, "dataset": "embedded world", "note": "lam is provisional",
    }  # fmt: skip
    files = {
        "config": {"zeta": 1, "lam": 0.5, "method": "credit", "form": "guided", "hub_token": "hf_x", "max_steps": 50},
        "run": run, "eval": evaluation(), "metrics": metrics, "rollouts": [rollout(["let", "me", "think"])],
    }  # fmt: skip
    files.update(parts)
    folder.mkdir(parents=True, exist_ok=True)
    if files["config"] is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(files["config"]))
    for name in ("run", "eval"):
        if files[name] is not None:
            (folder / f"{name}.json").write_text(json.dumps(files[name]))
    if files["metrics"] is not None:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in files["metrics"]))
    if files["rollouts"] is not None:
        write_token_credit(folder / "credit" / "step_000010.parquet", files["rollouts"])
    return folder


class _Page(HTMLParser):
    """What a browser would make of the page: tags with attributes, and text."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(source)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.cdata_elem is None:  # not the style sheet
            self.text += data


def page(folder: Path) -> _Page:
    path = write_report(folder)
    assert path == folder / "report.html"
    assert not list(folder.glob("*.partial")) + list(folder.glob(".*.partial"))
    parsed = _Page(path.read_text(encoding="utf-8"))
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "img", "link", "iframe", "object", "base")]
    for _, attributes in parsed.tags:
        assert not {"src", "href", "xlink:href", "srcset", "action"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
        assert "url(" not in (attributes.get("style") or "")
    return parsed


def test_full_run(tmp_path):
    parsed = page(write_run(tmp_path / "run"))
    text = parsed.text
    assert "Sampled accuracy on 280 held-out prompts rose from 0.42 to 0.91 (+0.49, 95% interval 0.44 to 0.53)." in text
    order = ["rose from", "lam is provisional", "Before and after", "Training curves", "Token credit", "Health",
             "Gained and lost", "How to reproduce", "Times"]  # fmt: skip
    assert sorted(order, key=text.index) == order
    for part in ("0.381 to 0.461", "+0.442 to +0.533", "0.912", "0.022", "first 0.410, last 0.900", "12.5%", "< 0.1%", "sum of R −0.300",
                 "credit train --config quickstart", "embedded world", "2 min 14 s", "134.2", "last logged step 50 of 50",
                 "1 gained, 1 lost, 1 unchanged", "Not logged in this run: credit/r, credit/S, credit/G.", "user: which unit?",
                 "a sibling", "an unrelated input", "R = r + λS."):  # fmt: skip
        assert part in text, part
    assert "Missing or damaged" not in text
    assert "p-same" not in text
    assert text.index("lam") < text.index("zeta")
    assert "hf_x" not in text
    assert sum(tag == "svg" for tag, _ in parsed.tags) == 2 + 6
    titles = [a["title"] for tag, a in parsed.tags if tag == "span" and "title" in a]
    assert titles[0] == "\n".join(["token 1 of 3: let (id 0)", *(f"{n} −0.200" for n in (
        "log p student", "log p teacher", "r", "S", "G", "R"))])  # fmt: skip


def test_every_logged_reward_is_in_the_figure(tmp_path):
    source = write_report(write_run(tmp_path)).read_text()
    for step in range(1, 51):
        assert f"<title>reward, step {step}: {0.4 + step / 100:.4f}</title>" in source


def test_running_run_with_damaged_last_line(tmp_path):
    folder = write_run(tmp_path, eval=None, rollouts=None, run={"status": "running"})
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 51, "rew')
    text = page(folder).text
    assert "So far there is no result: this run was not evaluated" in text
    assert "still running, or stopped before its end; last logged step 50" in text
    assert "The last line of metrics.jsonl is damaged" in text
    assert "No token credit was written" in text
    assert "The command is not recorded" in text
    assert "rose" not in text


def test_damaged_line_in_the_middle_and_resume(tmp_path):
    folder = write_run(tmp_path)
    lines = ['{"step": 1, "reward": 0.125}', "\xff{", '{"step": 2, "reward": 0.5}', '{"step": 1, "reward": 0.75}']
    (folder / "metrics.jsonl").write_text("\n".join(lines), encoding="latin-1")
    text = page(folder).text
    assert "metrics.jsonl: line 2 cannot be read" in text
    assert "the run was resumed" in text
    assert "first 0.750, last 0.500" in text


def test_empty_directory(tmp_path):
    text = page(tmp_path).text
    for name in ("config.yaml", "run.json", "metrics.jsonl"):
        assert f"{name} is missing" in text
    assert "There is no result" in text


def test_damaged_files_are_named(tmp_path):
    folder = write_run(tmp_path)
    for name in ("config.yaml", "run.json", "eval.json", "credit/step_000020.parquet"):
        (folder / name).write_bytes(b"\xff{[")
    text = page(folder).text
    for name in ("config.yaml is damaged", "run.json is damaged", "eval.json is damaged", "step_000020.parquet cannot be read"):
        assert name in text
    assert "step_000010.parquet" in text


@pytest.mark.parametrize("content", ["[]", "null", '{"before": 3, "after": {"sampled": []}, "settings": [], "examples": {}}'])
def test_files_of_another_shape(tmp_path, content):
    folder = write_run(tmp_path, metrics=[{"step": 1, "reward": "high", "credit/loss": True}])
    for name in ("config.yaml", "run.json", "eval.json"):
        (folder / name).write_text(content)
    assert "no result" in page(folder).text


def test_not_a_directory(tmp_path):
    with pytest.raises(NotADirectoryError, match="Pass the output_dir"):
        write_report(tmp_path / "absent")


def test_gaps_are_never_zero(tmp_path):
    metrics = [{"step": s, "reward": r} for s, r in enumerate([0.5, math.nan, None, 0.75, math.inf], start=1)]
    rows = [rollout(["a", "b"], [math.nan, 0.5]), rollout(["c"], [math.nan])]
    source = write_report(write_run(tmp_path, metrics=metrics, rollouts=rows)).read_text()
    text = page(tmp_path).text
    assert "first 0.500, last 0.750 (3 missing)" in text
    assert source.count("<polyline") == 0
    assert source.count("reward, step") == 2
    assert "1 of 2 tokens have no credit" in text
    assert "no teacher could be built" in text
    assert source.count('class="none" title') == 2
    assert "sum of" not in text
    assert "not logged" in text
    assert "nan" not in text.lower().split()


def test_missing_column_is_named(tmp_path):
    import pyarrow.parquet as pq

    folder = write_run(tmp_path)
    path = folder / "credit" / "step_000010.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["S", "tokens"]), path)
    text = page(folder).text
    assert "has no column tokens, S" in text
    assert "#0" in text


def test_hostile_texts_stay_texts(tmp_path):
    row = rollout([HOSTILE, "</span>", "<|im_end|>", "<s>", "\u202egnp"], prompt=HOSTILE, completion=HOSTILE,
                  solution=HOSTILE, feedback=HOSTILE, negatives=[HOSTILE], score=None)  # fmt: skip
    names = dict.fromkeys(("model", "command", "note", "dataset", "started", "status"), HOSTILE)
    evil = evaluation()
    evil["before"]["sampled"]["families"] = {HOSTILE: estimate(0.5), "$x^2$": estimate(0.25, "low", "high")}
    evil["settings"]["interval"] = evil["before"]["extras"][HOSTILE] = HOSTILE
    config = {HOSTILE: HOSTILE, "lam": HOSTILE, "form": HOSTILE}
    parsed = page(write_run(tmp_path, rollouts=[row], run=names, eval=evil, config=config))
    assert parsed.text.count("alert(1)") > 15
    assert "<|im_end|>" in parsed.text
    assert "{{ 7*7 }}" in parsed.text
    assert "\u202e" not in parsed.text
    assert "⟨U+202E⟩gnp" in parsed.text


def test_lone_surrogates_and_nul_do_not_stop_the_page(tmp_path):
    folder = write_run(tmp_path, run={"status": "complete", "note": "\ud800 and \x00 and \x1b[31m"})
    assert "⟨U+D800⟩ and ⟨U+0000⟩ and ⟨U+001B⟩[31m" in page(folder).text


def test_right_to_left_empty_and_single_token(tmp_path):
    rows = [rollout(["مرحبا", "بالعالم"], prompt="שלום"), rollout([], completion=""), rollout(["only"], [0.0])]
    parsed = page(write_run(tmp_path, rollouts=rows))
    assert "مرحبا" in parsed.text
    assert "שלום" in parsed.text
    assert "The response is empty." in parsed.text
    assert "1 token," in parsed.text
    assert [a["dir"] for _, a in parsed.tags if a.get("class") == "tokens"] == ["auto", "auto"]


def test_long_responses_are_cut_and_counted(tmp_path):
    parsed = page(write_run(tmp_path, rollouts=[rollout(["t"] * 700)] * 9))
    assert "for 6 of 9 responses" in parsed.text
    assert parsed.text.count("The first 600 of 700 tokens.") == 6


@pytest.mark.parametrize(
    ("numbers", "tone", "said"),
    [
        ((0.5, 0.42, -0.12, -0.04), "fell", "fell from 0.50 to 0.42 (−0.08, 95% interval −0.12 to −0.04)."),
        ((0.5, 0.51, -0.02, 0.04), "unclear", "the interval includes zero, so the run shows no clear change."),
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


def test_texts():
    assert (show(-0.0001), show(True), show("1"), show(2.0, 1, sign=True)) == ("0.000", "–", "–", "+2.0")
    assert visible("a\r\nb\tc") == "a\nb\tc"
    assert messages('[{"role": "user", "content": [{"type": "text", "text": "hi"}]}]') == [("user", "hi")]
    assert messages("[1, 2]") == [("", "[1, 2]")]
    assert (token_text("Ġthe", True), token_text("Ã©", True), token_text("Ã", True)) == (" the", "é", "Ã")
    assert (token_text("▁a", False), token_text("Ċ", True), token_text("", False)) == (" a", "↵\n", "∅")


def test_a_report_needs_no_trainer():
    code = "import sys, credit.report; print([m for m in ('torch', 'trl', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
