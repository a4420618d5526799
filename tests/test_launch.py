"""`credit train --launch`: several processes, one folder; killed at any rank, it resumes to the same numbers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from credit.cli import main
from credit.cli.launch import SHARDED, launch
from credit.faults.checkpoints import flaw
from local_models import save_model, write_rows

OPTIONS = {
    "max_steps": 12, "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 8,
    "use_cpu": True, "bf16": False, "logging_steps": 1, "save_steps": 2, "report_to": "none", "learning_rate": 1e-3,
    "eval_samples": 1, "eval_limit": 2, "gradient_checkpointing": False, "gradient_accumulation_steps": 1,
    "torch_threads": 1, "support_size": 8, "ema_rate": 0.3, "save_total_limit": 3, "credit_log_steps": 4,
}  # fmt: skip
EXACT = {"abs": 1e-6, "rel": 1e-6, "nan_ok": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    save_model("qwen3", folder / "qwen3")
    write_rows(folder / "rows.jsonl")
    (folder / "short.yaml").write_text(yaml.safe_dump(OPTIONS))
    return folder


def command(place: Path, out: str, *flags: str) -> list[str]:
    return [
        "train", "--config", str(place / "short.yaml"), "--model", str(place / "qwen3"),
        "--dataset", str(place / "rows.jsonl"), "--output_dir", str(place / out), *flags,
    ]  # fmt: skip


def start(place: Path, out: str, *flags: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "credit", *command(place, out, "--launch", "ddp", "--nproc", "2", *flags)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said[-3000:]
    return said


def metrics(run: Path) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("step_time")} for line in lines]


def ranks(run: Path) -> list[int]:
    """Process ids of the ranks of a run, in order."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().decode().split("\0")
            given = dict(p.split("=", 1) for p in (entry / "environ").read_bytes().decode().split("\0") if "=" in p)
        except (OSError, UnicodeDecodeError):
            continue
        if str(run) in line and "LOCAL_RANK" in given:
            found[int(given["LOCAL_RANK"])] = int(entry.name)
    return [found[rank] for rank in sorted(found)]


@pytest.fixture(scope="module")
def whole(place):
    said = finish(start(place, "whole"))
    assert "launch: " in said
    assert "torch.distributed.run" in said
    assert said.count("report: ") == 1  # one process speaks
    return place / "whole"


def test_two_processes_leave_one_complete_run(whole):
    assert json.loads((whole / "run.json").read_text())["status"] == "complete"
    assert [m["step"] for m in metrics(whole)] == list(range(1, 13))
    assert yaml.safe_load((whole / "config.yaml").read_text())["generation_batch_size"] == 16
    assert (whole / "report.html").exists()
    assert "after" in json.loads((whole / "eval.json").read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the ranks in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_killed_in_the_middle_costs_nothing(place, whole, rank):
    out = place / f"killed-{rank}"
    process = start(place, out.name)
    log, end = out / "metrics.jsonl", time.time() + 120
    while time.time() < end and (not log.exists() or log.read_text().count("\n") < 4 + 3 * rank):
        time.sleep(0.01)
    os.kill(ranks(out)[rank], signal.SIGKILL)
    process.communicate(timeout=100)
    assert process.returncode != 0
    assert len(metrics(out)) < 12, "the run ended before the kill; the test proves nothing"
    finish(start(place, out.name, "--resume"))
    for one, two in zip(metrics(whole), metrics(out), strict=True):
        assert one == pytest.approx(two, **EXACT)
    teachers = [(run / "checkpoint-12" / "credit_teacher.safetensors").read_bytes() for run in (whole, out)]
    assert teachers[0] == teachers[1]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the ranks in /proc")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_launch_leaves_no_rank_behind(place, sent):
    out = place / f"stopped-{sent.name}"
    process = start(place, out.name, "--max_steps", "500")
    log, end = out / "metrics.jsonl", time.time() + 120
    while time.time() < end and (not log.exists() or log.read_text().count("\n") < 2):
        time.sleep(0.01)
    assert len(ranks(out)) == 2
    process.send_signal(sent)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert ranks(out) == []
    if sent == signal.SIGTERM:  # both finish the same step
        steps = metrics(out)[-1]["step"]
        assert f"SIGTERM after step {steps}. Nothing is lost" in said
        assert flaw(out / f"checkpoint-{steps}") is None


def start_sharded(place: Path, out: str, *flags: str) -> subprocess.Popen:
    """What `--launch fsdp2` starts, which is refused without accelerators."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = str(Path(__file__).with_name("sharded.py"))
    return subprocess.Popen(
        [sys.executable, *torchrun, script, *command(place, out, *flags)], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env={**os.environ, **SHARDED, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the ranks in /proc")
def test_a_sharded_run_is_evaluated_stopped_and_resumed_also_after_its_last_step(place):
    finish(start_sharded(place, "sharded"))
    whole, out = place / "sharded", place / "sharded-stopped"
    assert (whole / "checkpoint-12" / "pytorch_model_fsdp.bin").exists(), "it was not sharded"
    process = start_sharded(place, out.name, "--save_steps", "50")
    log, end = out / "metrics.jsonl", time.time() + 120
    while time.time() < end and (not log.exists() or log.read_text().count("\n") < 4):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    steps = metrics(out)[-1]["step"]
    assert steps < 12, "the run ended before the signal; the test proves nothing"
    assert f"SIGTERM after step {steps}. Nothing is lost" in said
    finish(start_sharded(place, out.name, "--save_steps", "50", "--resume"))
    for one, two in zip(metrics(whole), metrics(out), strict=True):
        assert one == pytest.approx(two, **EXACT)
    model = (whole / "model" / "model.safetensors").read_bytes()
    assert (out / "model" / "model.safetensors").read_bytes() == model
    shutil.rmtree(whole / "model")
    finish(start_sharded(place, "sharded", "--resume"))
    assert (whole / "model" / "model.safetensors").read_bytes() == model


def test_a_dry_run_of_two_processes_counts_two(place):
    said = finish(start(place, "dry", "--dry-run"))
    assert said.count("dry run: fine") == 1
    assert "16 rollouts" in said
    assert not (place / "dry").exists()


def test_another_number_of_processes_is_named(place, whole, capsys):
    assert main(command(place, "whole", "--resume", "--ddp_timeout", "36000")) == 2
    error = capsys.readouterr().err
    assert "generation_batch_size: 16 -> 8" in error
    assert "and as many processes (--launch, --nproc)" in error
    assert main(command(place, "x", "--nproc", "2")) == 2
    assert "does nothing without --launch. Add --launch ddp" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("ddp", "--nproc", "1"), "would start 1 process(es). Set --nproc to 2 or more"),
        (("fsdp2", "--nproc", "2"), "goes on with DDP, in silence. Use --launch ddp"),
    ],
)
def test_launches_that_would_not_do_what_they_say_are_refused(place, capsys, monkeypatch, flags, reason):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert main(command(place, "never", "--launch", *flags)) == 2
    assert reason in capsys.readouterr().err
    assert not (place / "never").exists()


def test_deepspeed_is_launched_with_a_config_or_refused(place, capsys, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr("credit.cli.launch.find_spec", lambda name: None)
    assert main(command(place, "never", "--launch", "deepspeed", "--nproc", "2")) == 2
    assert "pip install 'credit-distill[deepspeed]'" in capsys.readouterr().err
    started: list[list[str]] = []
    monkeypatch.setattr("credit.cli.launch.find_spec", lambda name: name)
    monkeypatch.setattr(os, "execve", lambda file, line, environment: started.append(line))
    launch("deepspeed", 2, ["--model", "tiny"])
    launch("deepspeed", 2, ["--deepspeed", "own.json"], configured=True)
    assert "--nproc_per_node 2 -m -- credit train --model tiny --deepspeed" in capsys.readouterr().out
    given = [line[line.index("--deepspeed") + 1] for line in started]
    assert given[1] == "own.json"
    zero = json.loads(Path(given[0]).read_text())["zero_optimization"]
    assert (zero["stage"], zero["stage3_gather_16bit_weights_on_model_save"]) == (3, True)
