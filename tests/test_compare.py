"""`credit compare` as a person types it, on the embedded world."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml

from credit.cli import main
from credit.study.results import read_results

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

STUDY = {
    "base": {
        "config": "quickstart", "max_steps": 4, "save_steps": 1, "eval_limit": 8, "eval_samples": 1,
        "per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 24, "credit_log_steps": 0,
    },
    "methods": {"grpo": {"method": "grpo", "blend": "none"}, "ours": {}},
    "learning_rates": [5e-4],
    "seeds": [1],
}  # fmt: skip


def write(folder: Path, **changes) -> str:
    (folder / "s.yaml").write_text(yaml.safe_dump({**STUDY, **changes}))
    return str(folder / "s.yaml")


def complaint(capsys, *argv: str) -> str:
    assert main(["compare", *argv]) == 2
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1, err
    return err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": {"a": {"method": "grop"}}}, "method"),
        ({"methods": {"a": {"lamb": 1}}}, "s: a: unknown key 'lamb' in a.yaml; did you mean 'lam'?"),
        ({"methods": {"a": {"method": "grpo", "blend": "none", "lam": 0.5}}}, "a sets lam, but it has no teacher"),
        ({"methods": {"a": {"method": "grpo"}}}, "s: a: method='grpo' has no teacher, so there is nothing to blend"),
        ({"methods": {"a": {"tail": "bucket"}}}, "a sets tail, but it compares the full vocabulary"),
        ({"models": {"m": {"model": "./nowhere"}}}, "model folder ./nowhere does not exist"),
        ({"base": {"config": "quickstart", "task": "nothing"}}, "task='nothing' is unknown"),
        ({"base": {"config": "nothing"}}, "config 'nothing' is neither a file nor one of"),
        ({"methods": {"a": {"num_negatives": 9}}}, "num_negatives=9 needs at least 10 different prompts"),
    ],
)
def test_what_cannot_run_is_said_before_anything_runs(tmp_path, capsys, changes, said):
    assert said in complaint(capsys, "--config", write(tmp_path, **changes), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_command_needs_one_of_config_and_report(capsys, tmp_path):
    assert "give either --config" in complaint(capsys)
    assert "holds no results.parquet" in complaint(capsys, "--report", str(tmp_path))
    assert main(["train", "--config", "study-smoke"]) == 2
    assert "study-smoke is a study, not one run" in capsys.readouterr().err
    assert "use at least 1" in complaint(capsys, "--config", write(tmp_path), "--jobs", "0")


@pytest.mark.parametrize(("name", "cells"), [("study-smoke", 8), ("study", 14 * 3 * 2 + 14 * 5 + 21 * 3)])
def test_built_in_studies_are_sound(name, cells, capsys, tmp_path):
    assert main(["compare", "--config", name, "--dry-run", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert f"\n{cells} cells, " in shown
    assert "seconds_per_cell of the study file" in shown
    assert not (tmp_path / "out").exists()


def without_times(folder: Path) -> list[dict]:
    _, rows = read_results(folder)
    return [{k: v for k, v in row.items() if not k.startswith(("seconds", "peak"))} for row in rows]


def test_an_interrupted_study_goes_on_to_the_same_results(tmp_path, capsys):
    methods, base = {"ours": {}}, {**STUDY["base"], "max_steps": 12}  # enough to be stopped before the end
    config = write(tmp_path, methods=methods, base=base)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(["compare", "--config", config, "--out", str(whole), "--jobs", "2"]) == 0
    assert "minus ours" in capsys.readouterr().out
    assert not list(whole.glob("cells/**/checkpoint-*"))

    command = [sys.executable, "-m", "credit", "compare", "--config", config, "--out", str(cut), "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    # As after `&` in a shell, where SIGINT is ignored: the cells must hear it all the same.
    deaf = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=deaf)
    while not list(cut.glob("cells/**/credit_complete.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert "the same command goes on" in process.communicate(timeout=40)[1]
    assert process.returncode == 130
    assert "complete" not in {row["status"] for row in without_times(cut)}

    assert main(["compare", "--config", config, "--out", str(cut), "--jobs", "2"]) == 0
    assert without_times(cut) == without_times(whole)

    times = [path.stat().st_mtime_ns for path in sorted(whole.glob("cells/**/run.json"))]
    assert main(["compare", "--config", config, "--out", str(whole)]) == 0
    assert [path.stat().st_mtime_ns for path in sorted(whole.glob("cells/**/run.json"))] == times  # nothing ran again
    page = (whole / "report.html").read_bytes()
    (whole / "report.html").unlink()
    for folder in ("cells", "study.yaml"):
        (whole / folder).rename(tmp_path / f"moved-{folder}")
    assert main(["compare", "--report", str(whole)]) == 0
    assert (whole / "report.html").read_bytes() == page

    capsys.readouterr()
    changed = write(tmp_path, methods=methods, base={**base, "max_steps": 14})
    error = complaint(capsys, "--config", changed, "--out", str(cut))
    assert "cell final/base/ours/lr0.0005-seed1 was run with other options (max_steps: 12 -> 14)" in error


def test_a_method_in_a_file_of_ones_own_is_compared(tmp_path, capsys, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "methods.md").read_text()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sharpen.py").write_text(page.split("```python\n")[1].split("```")[0])
    mine = {"method": "sharpen:SHARPEN", "level": "token", "blend": "none"}
    base = {**STUDY["base"], "max_steps": 1}
    config = write(tmp_path, methods={"grpo": STUDY["methods"]["grpo"], "mine": mine}, base=base)
    assert main(["compare", "--config", config, "--out", "out", "--jobs", "2"]) == 0
    assert "mine" in capsys.readouterr().out
    _, rows = read_results(tmp_path / "out")
    assert {row["method"]: row["status"] for row in rows} == {"grpo": "complete", "mine": "complete"}
    assert ">mine<" in (tmp_path / "out" / "report.html").read_text()


def test_tuning_chooses_on_validation_rows_before_test_rows_are_opened(tmp_path, capsys):
    config = write(tmp_path, methods={"grpo": STUDY["methods"]["grpo"]}, learning_rates=[5e-4, 1e-3])
    out = tmp_path / "out"
    assert "tuning is not finished" in complaint(capsys, "--config", config, "--out", str(out), "--stages", "final")
    assert main(["compare", "--config", config, "--out", str(out), "--stages", "tune", "--jobs", "2"]) == 0
    assert "finalists.yaml (commit it)" in capsys.readouterr().out.replace("\n", "")
    _, rows = read_results(out)
    assert [(row["stage"], row["split"], row["status"]) for row in rows if row["stage"] == "tune"] == [
        ("tune", "validation", "complete")
    ] * 2
    assert {row["status"] for row in rows if row["stage"] == "final"} == {"none"}
    assert not (out / "cells" / "final").exists()
    chosen = yaml.safe_load((out / "finalists.yaml").read_text())["base"]["grpo"]
    best = max((row["accuracy_sampled"], -row["learning_rate"]) for row in rows if row["stage"] == "tune")
    assert chosen["learning_rate"] == -best[1]
    assert main(["compare", "--config", config, "--out", str(out), "--stages", "tune"]) == 0  # nothing is left to do
    assert yaml.safe_load((out / "finalists.yaml").read_text())["base"]["grpo"] == chosen
    settings = yaml.safe_load(next(out.glob("cells/tune/**/config.yaml")).read_text())
    assert (settings["eval_split"], settings["torch_threads"]) == ("validation", 1)
