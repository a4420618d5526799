"""Runs cut short: killed, stopped, out of disk, or left with a damaged checkpoint. None loses what it had saved."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from credit.cli import main
from credit.errors import UserError
from credit.faults.checkpoints import SEAL, explained_if_full, flaw, saving, seal
from local_models import make_trainer, save_model, write_rows
from test_cli import SHORT, metrics, train

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
FLAGS = ("--max_steps", "14", "--save_steps", "2", "--save_total_limit", "3", "--blend", "loss", "--skip_eval")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    save_model("qwen3", folder / "qwen3")
    write_rows(folder / "rows.jsonl")
    (folder / "short.yaml").write_text(yaml.safe_dump(SHORT))
    return folder


@pytest.fixture(scope="module")
def whole(place):
    assert main(train(place, "whole", *FLAGS)) == 0
    return place / "whole"


def start(place: Path, out: str, *flags: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "credit", *train(place, out, *flags)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_steps(process: subprocess.Popen, out: Path, steps: int) -> None:
    log, end = out / "metrics.jsonl", time.time() + 120
    while process.poll() is None and time.time() < end and (not log.exists() or log.read_text().count("\n") < steps):
        time.sleep(0.005)


def same(one: Path, other: Path) -> None:
    assert metrics(one) == metrics(other)
    for name in ("model.safetensors", "credit_teacher.safetensors"):
        assert (one / "checkpoint-14" / name).read_bytes() == (other / "checkpoint-14" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kill_after", [3, 8, 11])
def test_a_killed_run_resumes_to_the_same_numbers(place, whole, kill_after):
    """Epochs are 9 steps long: the kills fall into the first and the second."""
    out = place / f"killed-{kill_after}"
    process = start(place, out.name, *FLAGS)
    wait_for_steps(process, out, kill_after)
    process.kill()
    process.communicate()
    assert len(metrics_lines(out)) < 14, "the run ended before the kill; the test proves nothing"
    assert main(train(place, out.name, *FLAGS, "--resume")) == 0
    same(out, whole)


def metrics_lines(out: Path) -> list[str]:
    return (out / "metrics.jsonl").read_text().splitlines()


# -- SIGTERM


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
def test_a_run_told_to_stop_saves_and_goes_on_to_the_same_numbers(place, whole, batch):
    """With two optimiser steps on a batch the run stops where the batch ends, whatever the moment of the signal."""
    flags = (*FLAGS, "--save_steps", "50", *(("--num_iterations", "2") if batch == 2 else ()))
    out = place / f"stopped-{batch}"
    process = start(place, out.name, *flags)
    wait_for_steps(process, out, 3)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    steps = len(metrics_lines(out))
    assert 3 <= steps < 14
    assert steps % batch == 0
    assert [p.name for p in out.glob("checkpoint-*")] == [f"checkpoint-{steps}"]
    assert flaw(out / f"checkpoint-{steps}") is None
    assert "SIGTERM: stopping after this step" in said
    goes_on = f"credit train --resume --output_dir {out} goes on"
    assert f"stopped: SIGTERM after step {steps}. Nothing is lost: {goes_on}." in said
    assert "Traceback" not in said
    status = json.loads((out / "run.json").read_text())
    assert (status["status"], status["error"]) == ("interrupted", f"Terminated: SIGTERM after step {steps}")
    assert main(train(place, out.name, *flags, "--resume")) == 0
    if batch == 1:
        same(out, whole)
    assert json.loads((out / "run.json").read_text())["status"] == "complete"


@pytest.mark.slow
def test_outside_training_a_run_told_to_stop_stops_at_once(place):
    process = start(place, "early", "--eval_samples", "64")
    while process.poll() is None and not (place / "early" / "eval" / "before-sampled").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "stopped: SIGTERM. Nothing is lost" in said
    assert not list((place / "early").glob("checkpoint-*"))
    assert json.loads((place / "early" / "run.json").read_text())["status"] == "interrupted"


# -- damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "optimizer.pt was changed after it was written": lambda folder: flip(folder / "optimizer.pt"),
    "model.safetensors has 100 bytes instead of": lambda folder: os.truncate(folder / "model.safetensors", 100),
    "credit_teacher.safetensors is missing": lambda folder: (folder / "credit_teacher.safetensors").unlink(),
    "credit_complete.json cannot be read": lambda folder: (folder / SEAL).write_text("{"),
}


@pytest.mark.parametrize("wrong", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(place, whole, capsys, wrong):
    DAMAGE[wrong](whole / "checkpoint-14")
    capsys.readouterr()
    assert main(train(place, "whole", *FLAGS, "--resume")) == 0
    said = capsys.readouterr().out
    assert "resuming from checkpoint-12" in said
    assert f"checkpoint-14 is damaged ({wrong}" in said
    assert "it is kept as damaged-checkpoint-14." in said
    assert flaw(whole / "checkpoint-14") is None
    assert wrong in json.loads((whole / "run.json").read_text())["set_aside"][-1]  # and what was found before stays
    assert len(metrics_lines(whole)) == 14


def test_with_every_checkpoint_damaged_the_run_begins_again(place, capsys):
    assert main(train(place, "all-damaged", "--skip_eval")) == 0
    expected = metrics(place / "all-damaged")
    for folder in (place / "all-damaged").glob("checkpoint-*"):
        flip(folder / "optimizer.pt")
    capsys.readouterr()
    assert main(train(place, "all-damaged", "--skip_eval", "--resume")) == 0
    said = capsys.readouterr().out
    assert said.count("No other is left: the run begins again.") == 2
    assert metrics(place / "all-damaged") == expected


def test_a_script_does_not_resume_from_a_damaged_checkpoint(place, tmp_path):
    trainer = make_trainer(tmp_path / "script", max_steps=2, save_strategy="steps", save_steps=1)
    trainer.train()
    flip(tmp_path / "script" / "checkpoint-2" / "model.safetensors")
    again = make_trainer(tmp_path / "script", max_steps=4, save_strategy="steps", save_steps=1)
    with pytest.raises(
        ValueError, match=r"checkpoint-2 is damaged: model\.safetensors was changed.*earlier checkpoint"
    ):
        again.train(resume_from_checkpoint=True)


def test_sealing_covers_files_of_subfolders_and_not_itself(tmp_path):
    folder = tmp_path / "checkpoint-3"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").write_bytes(b"123456789")
    assert flaw(folder) == "it was interrupted while it was written"
    seal(folder)
    assert json.loads((folder / SEAL).read_text()) == {"step": 3, "files": {"deep/a": [9, 0xCBF43926]}}
    assert flaw(folder) is None
    seal(folder)
    assert flaw(folder) is None


def test_a_half_written_checkpoint_is_not_resumed_from(place):
    flags = ("--skip_eval", "--save_total_limit", "3")
    assert main(train(place, "half", *flags)) == 0
    expected = metrics(place / "half")
    (place / "half" / "checkpoint-4" / "credit_complete.json").unlink()
    with (place / "half" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')
    assert main(train(place, "half", *flags, "--resume")) == 0
    assert metrics(place / "half") == expected


# -- a full disk


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a file of Linux that is always full")
@pytest.mark.parametrize("name", ["optimizer.pt", "trainer_state.json"])
def test_a_full_disk_costs_no_earlier_checkpoint(place, whole, capsys, monkeypatch, name):
    def on_a_full_disk(folder: Path):
        if folder.name == "checkpoint-4":
            folder.mkdir()
            (folder / name).symlink_to("/dev/full")
        return saving(folder)

    out = place / f"full-{name}"
    monkeypatch.setattr("credit.trainer_checkpoints.saving", on_a_full_disk)
    assert main(train(place, out.name, *FLAGS)) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    monkeypatch.undo()
    assert f"the disk was full while {out / 'checkpoint-4'} was written" in error
    assert "go on with --resume" in error
    assert [p.name for p in out.glob("checkpoint-*")] == ["checkpoint-2"]
    assert json.loads((out / "run.json").read_text())["status"] == "failed"
    assert main(train(place, out.name, *FLAGS, "--resume")) == 0
    same(out, whole)


def test_only_a_full_disk_is_called_full(tmp_path):
    with pytest.raises(UserError, match="the disk was full"), explained_if_full(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(PermissionError), explained_if_full(tmp_path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    with pytest.raises(RuntimeError, match="other"), saving(folder):
        raise RuntimeError("other")
    assert not folder.exists()
