"""Study files, cells, finalists, results and the runner, without training anything."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from credit.errors import UserError
from credit.study import finalists, runner
from credit.study.cells import Cell, digest
from credit.study.idle import idle_option
from credit.study.page import write_study_page
from credit.study.plan import read_study
from credit.study.results import first_step_at, read_results, row_of, write_results
from credit.study.summary import summaries
from report_runs import HOSTILE, Page

PRESETS = {"paper-code": {"form": "paper", "lam": 0.1}}
STUDY = {
    "base": {"config": "quickstart"},
    "methods": {"grpo": {"method": "grpo"}, "ours": {"form": "guided"}},
    "learning_rates": [1e-3, 5e-4],
    "seeds": [1, 2],
}


def study(**changes):
    content = {key: value for key, value in {**STUDY, **changes}.items() if value is not None}
    config = {"max_steps": 60, "form": "guided", "note": "n", "seed": 7, "output_dir": "runs/q"}
    return read_study("s", content, lambda name: (name, config), PRESETS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metods": {}}, "s: unknown key 'metods' in the study. Use some of note, base"),
        ({"methods": None}, "s: methods must map names to options"),
        ({"methods": {}}, "s: methods is empty"),
        ({"methods": {"a b": {}}}, "s: methods: name 'a b' names a folder"),
        ({"methods": {"../x": {}}}, "names a folder"),
        ({"methods": {1: {}}}, "in quotes if it is a number"),
        ({"methods": {"grpo": [1]}}, "s: methods.grpo must hold options"),
        ({"methods": {"grpo": {"seed": 3}}}, "s: methods.grpo sets seed, which the study sets for every cell"),
        ({"methods": {"grpo": {"eval_split": "test"}}}, "sets eval_split"),
        ({"methods": {"grpo": {"learning_rate": 1e-3}}}, "tunes for all with one budget"),
        ({"methods": {"grpo": {"preset": "papr"}}}, "preset 'papr' is unknown. Use one of paper-code."),
        ({"methods": {"grpo": {"of": "x"}}}, "only ablations have `of`"),
        ({"reference": "sdpo"}, "s: reference 'sdpo' is none of the methods (grpo, ours)"),
        ({"learning_rates": ["5e-4"]}, "YAML reads 5e-4 as text"),
        ({"learning_rates": [1e-3, 1e-3]}, "must list different rates"),
        ({"learning_rates": [0]}, "0 is no positive number"),
        ({"seeds": [1, 1]}, "a seed of stage tune is there twice"),
        ({"seeds": None}, "stage tune has no seeds"),
        ({"seeds": ["1"]}, "stage tune has no seeds"),
        ({"learning_rates": [1e-3], "stages": {"tune": {"seeds": [1]}}}, "stages.tune is idle"),
        ({"stages": {"ablations": {"seeds": [1]}}}, "stages.ablations is idle"),
        ({"stages": {"test": {}}}, "unknown key 'test' in stages. Use some of tune, final, ablations."),
        ({"stages": {"tune": {"method": "grpo"}}}, "s: stages.tune sets method"),
        ({"ablations": {"c2": {"num_negatives": 2}}}, "s: ablations.c2 needs `of`"),
        ({"ablations": {"grpo": {"of": "ours"}}}, "'grpo' is a method and an ablation"),
        ({"target_accuracy": 2}, "target_accuracy=2 must be a number in (0, 1]"),
        ({"seconds_per_cell": -1}, "seconds_per_cell=-1"),
    ],
)
def test_errors_of_a_study_file_are_one_line(changes, said):
    with pytest.raises(UserError) as error:
        study(**changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_names_given_twice_are_an_error_not_the_last_one(tmp_path):
    from credit.cli.configs import read_config

    (tmp_path / "s.yaml").write_text("methods:\n  grpo: {method: grpo}\n  grpo: {method: sdpo}\n")
    with pytest.raises(UserError, match=r"s.yaml .*'grpo' is there twice.*line 3"):
        read_config(str(tmp_path / "s.yaml"))


def test_cells_share_budget_seeds_and_splits():
    s = study(ablations={"c2": {"of": "ours", "num_negatives": 2}, "big": {"of": "grpo", "learning_rate": 0.01}})
    tune = s.cells("tune")
    assert len(tune) == 2 * 2 * 2
    assert {c.options["eval_split"] for c in tune} == {"validation"}
    assert [c.method for c in tune[:4]] == ["grpo", "grpo", "ours", "ours"]  # all methods of a seed first
    assert [c.options["skip_eval_before"] for c in tune] == [False] + [True] * 7
    rates = {("base", "grpo"): 5e-4, ("base", "ours"): 1e-3}
    final = s.cells("final", rates)
    assert [(c.method, c.learning_rate, c.seed) for c in final] == [
        ("grpo", 5e-4, 1), ("ours", 1e-3, 1), ("grpo", 5e-4, 2), ("ours", 1e-3, 2)
    ]  # fmt: skip
    assert {c.options["eval_split"] for c in final} == {"test"}
    ablations = {c.method: c for c in s.cells("ablations", rates)}
    assert ablations["c2"].learning_rate == 1e-3  # that of the method it changes
    assert ablations["big"].learning_rate == 0.01
    assert ablations["big"].options["method"] == "grpo"
    assert "of" not in ablations["c2"].options
    assert s.cells("final", {**rates, ("base", "grpo"): None})[0].method == "ours"
    assert {"note", "output_dir"} & set(final[0].options) == set()


def test_a_preset_of_a_method_wins_over_the_base():
    s = study(methods={"paper": {"preset": "paper-code", "lam": 0.2}}, learning_rates=[1e-3])
    assert (s.methods["paper"]["form"], s.methods["paper"]["lam"]) == ("paper", 0.2)
    assert s.cells("final")[0].options["form"] == "paper"


@pytest.mark.parametrize(
    ("named", "changed", "traits", "said"),
    [
        ({"lam": 1}, {}, (False, None), "sets lam, but it has no teacher"),
        ({"ema_rate": 1}, {}, (False, None), "sets ema_rate, but it has no teacher"),
        ({"method": 1, "blend": "none"}, {}, (False, None), None),
        ({"form": 1}, {}, (True, None), "sets form, but it contrasts nothing"),
        ({"ema_rate": 1}, {"teacher": "live"}, (True, "inputs"), "a teacher that is live, not ema"),
        ({"tail": 1}, {"support_size": 0}, (True, "inputs"), "full vocabulary"),
        ({"num_negatives": 2}, {"lam": 0}, (True, "inputs"), "contrasts nothing at lam 0"),
        ({"blend_weight": 1}, {"blend": "none"}, (True, "inputs"), "is not blended"),
        ({"lam": 1}, {}, (True, "answers"), "sets lam, but it contrasts answers, not inputs"),
        ({"num_negatives": 2}, {}, (True, "answers"), None),
        ({"jsd_alpha": 1}, {}, (True, "inputs"), "uses reverse_kl"),
        ({"tail": 1, "ema_rate": 1, "lam": 1, "blend_weight": 1}, {}, (True, "inputs"), None),
    ],
)
def test_options_a_method_does_not_read_are_named(named, changed, traits, said):
    config = {
        "lam": 1.0, "teacher": "ema", "blend": "loss", "divergence": "reverse_kl", "support_size": 20,
        "level": "vocabulary", **changed,
    }  # fmt: skip
    own = {"method", "lam", "form", "ema_rate", "num_negatives", "blend", "blend_weight", "tail", "jsd_alpha"}
    reason = idle_option(named, config, own, *traits)
    assert (reason is None) if said is None else said in reason


def tuned(method, rate, seed, accuracy, status="complete"):
    keys = ("stage", "model", "method", "learning_rate", "seed", "accuracy_sampled", "status")
    return dict(zip(keys, ("tune", "base", method, rate, seed, accuracy, status), strict=True))


def test_finalists_are_chosen_by_equal_budget_and_frozen(tmp_path):
    s = study()
    rows = [
        tuned("grpo", 5e-4, 1, 0.6), tuned("grpo", 5e-4, 2, 0.8),
        tuned("grpo", 1e-3, 1, 0.7), tuned("grpo", 1e-3, 2, 0.7),
        tuned("ours", 5e-4, 1, 0.2), tuned("ours", 5e-4, 2, 0.2), tuned("ours", 1e-3, 1, 0.9),
        tuned("ours", 1e-3, 2, None, "failed"),
    ]  # fmt: skip
    assert finalists.chosen(s, tmp_path) == {("base", "grpo"): None, ("base", "ours"): None}
    assert not finalists.covers(s, tmp_path)
    assert finalists.freeze(s, tmp_path, rows)
    assert finalists.covers(s, tmp_path)
    # A tie goes to the smaller rate; a rate with a failed cell is out, however good its other cell.
    assert finalists.chosen(s, tmp_path) == {("base", "grpo"): 5e-4, ("base", "ours"): 5e-4}
    held = (tmp_path / "finalists.yaml").read_text()
    better = [{**row, "accuracy_sampled": 1.0, "status": "complete"} for row in rows if row["learning_rate"] == 1e-3]
    assert not finalists.freeze(s, tmp_path, rows[:2] + better)
    assert (tmp_path / "finalists.yaml").read_text() == held
    (tmp_path / "finalists.yaml").write_text(held.replace("learning_rate: 0.0005", "learning_rate: 0.7", 1))
    with pytest.raises(UserError, match=r"0.7, which is not in the grid. Use one of 0.001, 0.0005"):
        finalists.chosen(s, tmp_path)


def test_sample_efficiency_waits_for_a_full_window():
    curve = [(float(step), reward) for step, reward in enumerate([1.0, 0.7, 0.7, 0.8, 0.8, 1.0, 0.9], start=1)]
    assert first_step_at(curve, 0.8) == 5.0  # mean of the first five is 0.8, and it reaches 0.8
    assert first_step_at(curve, 0.81) == 7.0  # 0.84
    assert first_step_at(curve, 0.9) is None
    assert first_step_at(curve[:4], 0.1) is None


FAKE = """
import json, sys, time, yaml
from pathlib import Path
argv = sys.argv[1:]
out, config = (Path(argv[argv.index(f) + 1]) for f in ("--output_dir", "--config"))
options = yaml.safe_load(config.read_text())
out.mkdir(parents=True, exist_ok=True)
with (out / "starts").open("a") as starts: starts.write("resume\\n" if "--resume" in argv else "new\\n")
held = {"generation_batch_size": 8, "steps_per_generation": 1, "num_iterations": 1, "gradient_accumulation_steps": 1}
(out / "config.yaml").write_text(yaml.safe_dump({**options, **held}))
(out / "model").mkdir(exist_ok=True)
def record(status, error=None):
    (out / "run.json").write_text(json.dumps({"status": status, "error": error, "seconds": {"train": 1.5}}))
record("running")
try:
    time.sleep(options.get("sleep", 0))
except KeyboardInterrupt:
    record("interrupted")
    sys.exit(130)
if options.get("breaks") and not (out.parent / "mended").exists():
    record("failed", "ValueError: it broke")
    sys.exit("it broke")
score = 0.5 + options["seed"] / 10 + options.get("gain", 0)
value = {"n": 1, "mean": score, "low": 0, "high": 1}
side = {"overall": value, "families": {"f": value, "g": value}}
after = {"sampled": side, "greedy": side, "extras": {"reasoning_kept": 1.0, "boilerplate_leak": 0.25}}
(out / "eval.json").write_text(json.dumps({"settings": {"prompts": 4}, "after": after}))
reward = 0.8 if options.get("gain") else 0.7
lines = [{"step": s, "reward": reward, "entropy": 1.0, "completions/mean_length": 9.0} for s in range(1, 11)]
(out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
record("complete")
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.setattr(runner, "PROGRAM", (sys.executable, str(tmp_path / "fake.py")))
    return tmp_path / "study"


def run(cells, out, jobs=2, keep=False):
    seen = []
    with runner.claimed(out) as lock:
        outcomes = runner.run_cells(cells, out, lock, jobs, keep, seen.append)
    assert seen == outcomes
    return {o.cell.method: o.code for o in outcomes}


def cell(method, seed=1, stage="final", **options):
    return Cell(stage, "base", method, 1e-3, seed, {"torch_threads": 1, "seed": seed, **options})


def test_a_failed_cell_does_not_lose_the_others_and_is_run_again(fake):
    cells = [cell("breaks", breaks=True), cell("a"), cell("b")]
    assert run(cells, fake) == {"breaks": 1, "a": 0, "b": 0}
    assert runner.last_words(cells[0], fake) == "it broke"
    assert not (cells[1].folder(fake) / "model").exists()
    row = row_of(cells[0], fake, 0.8)
    assert (row["status"], row["error"], row["accuracy_sampled"]) == ("failed", "ValueError: it broke", None)
    todo = [c for c in cells if not runner.finished(c, fake)]
    assert todo == cells[:1]
    (cells[0].folder(fake).parent / "mended").touch()
    assert run(todo, fake, keep=True) == {"breaks": 0}
    assert (cells[0].folder(fake) / "starts").read_text() == "new\nresume\n"
    assert (cells[0].folder(fake) / "model").exists()


def test_ctrl_c_interrupts_every_running_cell_and_waits_for_it(fake):
    cells = [cell("a", sleep=60), cell("b", sleep=60), cell("c")]
    started = time.monotonic()

    def stop(number, frame):
        raise KeyboardInterrupt

    held = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(cells, fake)
    finally:
        signal.signal(signal.SIGALRM, held)
    assert time.monotonic() - started < 55  # not the 60 s they sleep
    assert [row_of(c, fake, 0.8)["status"] for c in cells] == ["interrupted", "interrupted", "none"]


def test_cells_of_a_killed_study_are_never_started_twice(fake):
    script = (
        "import sys; from pathlib import Path; from credit.study import runner; from test_study import cell\n"
        "runner.PROGRAM = (sys.executable, sys.argv[1]); out = Path(sys.argv[2])\n"
        "with runner.claimed(out) as lock: runner.run_cells([cell('a', sleep=2)], out, lock, 1, False, print)"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")])
    command = [sys.executable, "-c", script, str(fake.parent / "fake.py"), str(fake)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    folder = cell("a").folder(fake)
    while not (folder / "run.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    with pytest.raises(UserError, match="is being worked on"), runner.claimed(fake):
        pass
    while json.loads((folder / "run.json").read_text())["status"] != "complete":
        time.sleep(0.05)
    time.sleep(0.5)  # it ends, and lets go
    with runner.claimed(fake):
        pass


@pytest.fixture
def done(fake):
    """A study whose second method is ahead by 0.1 on each of two seeds, with a broken third."""
    methods = {"grpo": {}, "ours": {"gain": 0.1}, "broken": {"breaks": True}}
    s = study(
        methods=methods, learning_rates=[1e-3], note=HOSTILE, base={}, ablations={"less": {"of": "ours", "gain": 0.0}}
    )
    cells = s.cells("final") + s.cells("ablations")
    run(cells, fake)
    write_results(s, fake, [row_of(c, fake, s.target_accuracy) for c in cells])
    return fake


def test_results_and_summary_of_a_study(done):
    about, rows = read_results(done)
    assert len(rows) == 8
    ours = next(r for r in rows if r["method"] == "ours" and r["seed"] == 2)
    assert ours["accuracy_sampled"] == pytest.approx(0.8)
    assert (ours["sampled/f"], ours["seconds_train"], ours["rollouts_to_target"]) == (pytest.approx(0.8), 1.5, 40.0)
    assert ours["config_digest"] == digest(
        yaml.safe_load((done / "cells/final/base/ours/lr0.001-seed2/config.yaml").read_text())
    )
    found = {s.name: s for s in summaries(about, rows, "final")}
    assert found["grpo"].compared is None
    difference = found["ours"].compared.difference
    assert [difference[k] for k in ("n", "mean", "low", "high")] == [2, *[pytest.approx(0.1)] * 3]
    # Seeds 0.6, 0.7 against 0.7, 0.8: three of four pairs won and one tied, in both families.
    assert found["ours"].compared.improvement["mean"] == pytest.approx(3.5 / 4)
    assert (found["broken"].seeds, found["broken"].unfinished) == ([], [1, 2])
    assert found["broken"].compared.difference is None
    unlogged = [{**row, "curve_step": [], "curve_reward": [], "rollouts_to_target": None} for row in rows]
    assert summaries(about, unlogged, "final")[1].compared.saved is None
    (less,) = summaries(about, rows, "ablations")
    assert less.compared.with_ == "ours"
    assert less.compared.difference["mean"] == pytest.approx(-0.1)
    assert (found["ours"].rollouts, found["grpo"].reached) == (40.0, 0)
    assert found["ours"].compared.saved["mean"] == 40.0  # the reference drew 80 and never got there
    assert found["ours"].curve[-1] == pytest.approx((80.0, 0.8, 0.8, 0.8))


def test_the_page_is_made_from_results_alone_and_acts_on_nothing(done, tmp_path):
    about, rows = read_results(done)
    (tmp_path / "page").mkdir()
    page = Page(write_study_page(tmp_path / "page", about, rows).read_text())
    assert not [tag for tag, _ in page.tags if tag in ("script", "img", "link", "iframe")]
    assert "Cells that did not finish: 2" in page.text
    assert "Against grpo, by sampled accuracy on test rows: above it ours." in page.text
    assert "ValueError: it broke" in page.text
    assert HOSTILE in page.text.replace(" ", " ")
    labels = [attributes.get("aria-label", "") for tag, attributes in page.tags if tag == "svg"]
    assert any("ours: 0.750 (0.700 to 0.800)" in label for label in labels)


def test_a_study_without_anything_finished_has_a_page(tmp_path):
    s = study()
    write_results(s, tmp_path, [row_of(c, tmp_path, 0.8) for c in s.cells("tune")])
    page = Page(write_study_page(tmp_path, *read_results(tmp_path)).read_text())
    assert "Nothing is compared yet" in page.text
    with pytest.raises(UserError, match=r"holds no results.parquet"):
        read_results(tmp_path / "nothing")
