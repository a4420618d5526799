import math

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("pyarrow")
pytest.importorskip("yaml")

from credit.report import write_report
from credit.report.health import health
from credit.report.tokens import LABELS
from report_runs import HOSTILE, estimate, evaluation, page, rollout, write_run


def test_full_run(tmp_path):
    parsed = page(write_run(tmp_path / "run"))
    text = parsed.text
    assert "Sampled accuracy on 280 held-out prompts rose from 0.42 to 0.91 (+0.49, 95% interval 0.44 to 0.53)." in text
    order = [
        "rose from",
        "lam is provisional",
        "What was run method credit, form guided",
        "Sampled accuracy family before after",
        "Training curves",
        "Token credit Every",
        "Health Mean",
        "Gained and lost answers",
        "Cost phase",
        "How to reproduce",
    ]
    assert sorted(order, key=text.index) == order
    for part in (
        "0.381 to 0.461",
        "+0.442 to +0.533",
        "0.912",
        "0.022",
        "first 0.410, last 0.900",
        "12.5%",
        "< 0.1%",
        "sum of R −0.300",
        "credit train --config quickstart",
        "embedded world",
        "2 min 14 s",
        "134.2",
        "1.25 GB",
        "peak of the phase",
        "R = r + λS, λ = 0.5",
        "Options set: 1 by hand, 1 by config quickstart.yaml.",
        "warned of nothing",
        "update the student's forward and backward pass, and the rest 0.250 12.5%",
        "digest of model 00ff00ff00ff00ff",
        "lam: 0.5 form: guided",
        "credit inspect RUN",
        "centred mean of 5 logged values",
        "last logged step 50 of 50",
        "Greedy answers to 280 prompts: 171 gained, 34 lost, 75 unchanged.",
        "Gained: 1 of 171",
        "Lost: 1 of 34",
        "Not logged in this run: credit/r, credit/S, credit/G.",
        "user: which unit?",
        "a sibling",
        "an unrelated input",
        "R = r + λS.",
    ):
        assert part in text, part
    assert "Missing or damaged" not in text
    assert "p-same" not in text
    assert text.index("lam") < text.index("zeta")
    assert "hf_x" not in text
    assert sum(tag == "svg" for tag, _ in parsed.tags) == 2 + 6
    titles = [a["title"] for tag, a in parsed.tags if tag == "span" and "title" in a]
    assert titles[0] == "\n".join(
        [
            "token 1 of 3: let (id 0)",
            *(f"{n} −0.200" for n in LABELS.values()),
        ]
    )


def test_every_logged_reward_is_in_the_figure(tmp_path):
    source = write_report(write_run(tmp_path)).read_text()
    for step in range(1, 51):
        assert f"<title>reward, step {step}: {0.4 + step / 100:.3f}</title>" in source


def test_runs_of_older_versions_have_a_page_too(tmp_path):
    old = evaluation()
    del old["changes"]
    folder = write_run(tmp_path, eval=old, run={"status": "complete", "seconds": {"train": 3.0}})
    text = page(folder).text
    for part in (
        "How many there are in all is not recorded. eval.json holds 4 examples: 1 gained, 1 lost, 1 unchanged.",
        "Peak memory was not recorded.",
        "Warnings of the trainer were not recorded.",
        "together 3.0 s 3.0 –",
    ):
        assert part in text, part
    assert "Options set" not in text
    assert "as a file" not in text


def test_a_run_without_teacher_is_not_told_what_it_lacks(tmp_path):
    metrics = [{"step": s, "reward": 0.5, "entropy": 1.0, "frac_reward_zero_std": 0.25} for s in range(1, 4)]
    folder = write_run(tmp_path, config={"method": "grpo", "max_steps": 3}, metrics=metrics, rollouts=None)
    parsed = page(folder)
    assert "teacher ema" not in parsed.text
    assert "GRPO has no teacher" in parsed.text
    assert "prompts of one reward all rollouts scored alike: no signal for GRPO 25.0%" in parsed.text
    assert "clamped entries" in parsed.text.partition("Not logged in this run: rollouts without")[2]
    assert "input" not in {tag for tag, _ in parsed.tags}, "three values have nothing to smooth"


def test_warnings_resumes_errors_and_the_viewer_are_told(tmp_path):
    run = {
        "status": "failed",
        "error": f"ValueError: {HOSTILE}",
        "resumed_from": "checkpoint-20",
        "seconds": {"train": 3.0},
        "memory": {"host": {"train": 1e9}, "device": {"train": 4e10}, "host_is": "peak since the process started"},
        "idle_warnings": [f"Step 5: {HOSTILE}", 7],
    }
    folder = write_run(tmp_path, run=run)
    (folder / "inspect.html").write_text("")
    parsed = page(folder)
    for part in (
        "It ended with an error. ValueError: <script>",
        "Warned during trainingStep 5: <script>",
        "The run was resumed from checkpoint-20",
        "40.00 GB",
        "peak since the process started",
        "token by token: inspect.html",
    ):
        assert part in parsed.text, part
    assert "inspect.html" in [a.get("href") for _, a in parsed.tags]


def test_the_figures_bring_nothing_that_could_collide(tmp_path):
    parsed = page(write_run(tmp_path))
    ids = [a["id"] for _, a in parsed.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for _, a in parsed.tags if a.get("href", "").startswith("#")} <= set(ids)
    source = (tmp_path / "report.html").read_text()
    assert source.count('class="smooth"') >= 4
    assert "DejaVu" not in source
    assert write_report(tmp_path).read_text() == source, "the same run gives the same page"


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "path", "lines.linewidth": 9, "font.size": 30, "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        write_report(write_run(tmp_path / "a"))
        assert dict(matplotlib.rcParams) == before
    source = (tmp_path / "a" / "report.html").read_text().replace("Run a", "Run b").replace("a –", "b –")
    assert write_report(write_run(tmp_path / "b")).read_text() == source, "a matplotlibrc changes nothing"


def test_running_run_with_damaged_last_line(tmp_path):
    folder = write_run(tmp_path, eval=None, rollouts=None, run={"status": "running"})
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 51, "rew')
    text = page(folder).text
    assert "So far there is no result: this run was not evaluated" in text
    assert "not finished (still going, or stopped early); last logged step 50" in text
    assert "The last line of metrics.jsonl is damaged" in text
    assert "No token credit was written" in text
    assert "The command is not recorded" in text
    assert "rose" not in text


def test_damaged_line_in_the_middle_and_resume(tmp_path):
    folder = write_run(tmp_path)
    lines = [
        '{"step": 1, "reward": 0.125}',
        "\xff{",
        '{"step": 2, "reward": 0.5}',
        '{"step": 1, "reward": 0.75}',
    ]
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
    for name in (
        "config.yaml is damaged",
        "run.json is damaged",
        "eval.json is damaged",
        "step_000020.parquet cannot be read",
    ):
        assert name in text
    assert "step_000010.parquet" in text


@pytest.mark.parametrize(
    "content", ["[]", "null", '{"before": 3, "after": {"sampled": []}, "settings": [], "examples": {}}']
)
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
    assert source.count('class="gap" title') == 2
    assert "sum of" not in text
    assert "Not logged in this run: credit/loss, entropy" in text
    assert "No share was logged" in text
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
    row = rollout(
        [HOSTILE, "</span>", "<|im_end|>", "<s>", "\u202egnp"],
        prompt=HOSTILE,
        completion=HOSTILE,
        solution=HOSTILE,
        feedback=HOSTILE,
        negatives=[HOSTILE],
        score=None,
    )
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
    rows = [
        rollout(["مرحبا", "بالعالم"], prompt="שלום"),
        rollout([], completion=""),
        rollout(["only"], [0.0]),
    ]
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


def test_parquet_of_another_shape(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = write_run(tmp_path)
    for columns in (
        {"R": ["a"], "tokens": ["abc"], "prompt": [3], "negatives": [[1]]},
        {"x": [1]},
        {"tokens": []},
    ):
        pq.write_table(pa.table(columns), folder / "credit" / "step_000010.parquet")
        assert "has no column" in page(folder).text


def test_health_lists_what_only_some_methods_log_where_it_is_logged():
    with_it = health([{"step": 1, "credit/by_teacher": 0.25}, {"step": 2, "credit/by_teacher": 0.75}], [], "rlsd")
    assert [(line.label, line.mean, line.last) for line in with_it.table] == [("tokens taught", "50.0%", "75.0%")]
    assert "tokens taught" not in with_it.absent
    assert "tokens taught" not in health([{"step": 1, "entropy": 1.0}], [], "credit").absent
