"""DeepSpeed's ZeRO-2 and ZeRO-3 on stored completions: the loss, gradient and model of one process without it.

Needs deepspeed, which is in no extra that `make test` installs (docs/engines.md).
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

pytest.importorskip("deepspeed")

from local_models import make_model, save_model, write_rows
from ranks import checksum
from test_launch import OPTIONS, command, metrics
from test_ranks import CASES, SAVED, run, same

MORE = {
    "adapter": {"lora": True, "teacher": "ema", "ema_rate": 0.3, "support_size": 8},
    "adapter off": {"lora": True, "teacher": "frozen", "gradient_checkpointing": True},
    "tied, K rows, longer": {
        "model": {"tie_word_embeddings": True},
        "support_size": 8,
        "ema_rate": 0.3,
        "max_steps": 4,
    },
    "chunks": {"gradient_checkpointing": True, "support_size": 0, "chunk_tokens": 16, "cast_lm_head_to_fp32": True},
}


@pytest.mark.parametrize("options", [*CASES.values(), *MORE.values()], ids=[*CASES, *MORE])
def test_partitions_change_nothing(tmp_path, options):
    alone = run(tmp_path, 1, options)
    assert alone["logs"][0]["loss"] != 0
    same(alone, run(tmp_path, 3, {**options, "zero": 3}, sharded=True))
    same(alone, run(tmp_path, 2, {**options, "zero": 2}))


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_model_loaded_in_parts_is_the_same_model(tmp_path, ranks):
    options = CASES["ema, K rows of the head"]
    make_model("qwen3").save_pretrained(tmp_path / "qwen3")
    found = run(tmp_path, ranks, {**options, "zero": 3, "born": str(tmp_path / "qwen3")}, sharded=True)
    same(run(tmp_path, 1, options), found)


@pytest.mark.parametrize("stage", [2, 3])
def test_a_run_resumes_to_the_same_numbers_and_its_teacher_on_any_number_of_ranks(tmp_path, stage):
    options = {"ema_rate": 0.3, "support_size": 8, "zero": stage, **SAVED}
    whole = run(tmp_path, 2, options, sharded=stage == 3, name="whole")
    kept = tmp_path / "whole" / "checkpoint-1"
    assert whole["teacher"] != checksum(kept)
    again = run(tmp_path, 2, {**options, "resume": str(kept)}, sharded=stage == 3, name="again")
    assert again["teacher"] == checksum(kept)
    same({**whole, "logs": whole["logs"][1:]}, {**again, "logs": again["logs"][1:]})
    ends = [checksum(tmp_path / name / "checkpoint-2") for name in ("whole", "again")]
    assert ends[0] == ends[1] != checksum(kept)
    elsewhere = run(tmp_path, 3, {**options, "teacher_from": str(kept)}, sharded=stage == 3)
    plain = run(tmp_path, 1, {**options, "zero": 0, "teacher_from": str(kept)})
    assert elsewhere["teacher"] == plain["teacher"] == checksum(kept)


def test_the_command_evaluates_trains_and_resumes(tmp_path):
    save_model("qwen3", tmp_path / "qwen3")
    write_rows(tmp_path / "rows.jsonl")
    (tmp_path / "short.yaml").write_text(yaml.safe_dump({**OPTIONS, "max_steps": 3, "save_steps": 1}))

    launch = ("--launch", "deepspeed", "--nproc", "2")

    def start(*flags: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "credit", *command(tmp_path, "run", *launch, *flags)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    assert start("--dry-run").count("dry run: fine") == 1
    said, out = start(), tmp_path / "run"
    assert "zero3.json" in said
    assert "after" in json.loads((out / "eval.json").read_text())
    once, teacher = metrics(out), checksum(out / "checkpoint-3")
    (out / "checkpoint-3" / "credit_complete.json").unlink()
    start("--resume")
    assert json.loads((out / "run.json").read_text())["resumed_from"] == "checkpoint-2"
    for one, two in zip(once, metrics(out), strict=True):
        assert one == pytest.approx(two, abs=1e-6, rel=1e-6, nan_ok=True)
    assert checksum(out / "checkpoint-3") == teacher
    model = (out / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(out / "model")
    start("--resume")  # stopped after its last step
    assert (out / "model" / "model.safetensors").read_bytes() == model


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (
            {"zero_hpz_partition_size": 2},
            "zero_hpz_partition_size in the DeepSpeed config gathers weights from elsewhere",
        ),
        ({"stage3_gather_16bit_weights_on_model_save": False}, "ZeRO-3 would save no model"),
    ],
)
def test_what_a_teacher_could_not_follow_is_refused(tmp_path, option, reason):
    with pytest.raises(AssertionError, match=reason):
        run(tmp_path, 1, {"zero": 3, "zero_options": option})
