"""One, two and three processes, DDP and FSDP2, on the same stored completions: one loss, one gradient, one model."""

import json
import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from credit.replay import recorded, replay
from ranks import checksum

SCRIPT = Path(__file__).with_name("ranks.py")
FSDP = {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}  # fmt: skip
CASES = {
    "blend": {"blend": "loss", "form": "guided", "lam": 1.0, "support_size": 0},
    "ema, K rows of the head": {"support_size": 8, "ema_rate": 0.3},
    "tokens, two negatives": {"level": "token", "num_negatives": 2},
    "live teacher": {"teacher": "live", "num_iterations": 2},
    "trust region": {"teacher": "trust_region", "ema_rate": 0.2},
    "frozen": {"teacher": "frozen"},
    "feedback contrast": {"form": "feedback_contrast", "feedback_when": "always"},
}


SAVED = {"save_strategy": "steps", "save_steps": 1}


def run(folder: Path, ranks: int, options: dict, sharded: bool = False, name: str = "") -> dict:
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    out = folder / f"{name or uuid.uuid4().hex}.json"
    launch = ["torch.distributed.run", "--nproc_per_node", str(ranks), "--master_port", str(port)]
    done = subprocess.run(
        [sys.executable, "-m", *launch, str(SCRIPT), str(out), json.dumps(options)],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **(FSDP if sharded else {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    if "spoiled" in options:
        heard = [json.loads(Path(f"{out}.{rank}").read_text()) for rank in range(ranks)]
        assert [one["sharded"] for one in heard] == [sharded] * ranks
        return {rank: one["said"] for rank, one in enumerate(heard)}
    found = json.loads(out.read_text())
    assert found["sharded"] == sharded
    return found


def same(one: dict, two: dict, names: tuple[str, ...] = ()) -> None:
    # Sums in another order: 1e-5 of the loss, and of what it is made of.
    for a, b in zip(one["logs"], two["logs"], strict=True):
        found = {k: b[k] for k in names or a}
        assert {k: a[k] for k in found} == pytest.approx(found, rel=1e-5, abs=1e-5, nan_ok=True)
    assert one["weights"] == pytest.approx(two["weights"], abs=2e-4)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_ranks_and_shards_change_nothing(tmp_path, options):
    alone = run(tmp_path, 1, options)
    assert alone["logs"][0]["loss"] != 0
    same(alone, run(tmp_path, 2, options, sharded=True))
    same(alone, run(tmp_path, 3, options))


def test_three_shards_accumulation_and_padding_change_nothing(tmp_path):
    options = CASES["blend"]
    alone = run(tmp_path, 1, options)
    same(alone, run(tmp_path, 3, options, sharded=True))
    same(alone, run(tmp_path, 2, {**options, "pad": "right"}))
    # Logged means are TRL's, of micro-batches; what is trained on is one number.
    trained = ("loss", "grad_norm", "reward", "credit/success")
    same(alone, run(tmp_path, 1, {**options, "accumulation": 4}), trained)
    same(alone, run(tmp_path, 2, {**options, "accumulation": 3}, sharded=True), trained)


@pytest.mark.parametrize("kind", ["ema", "frozen"])
def test_a_sharded_run_resumes_to_the_same_numbers_teacher_included(tmp_path, kind):
    options = {"teacher": kind, "support_size": 8, **SAVED, **({"ema_rate": 0.3} if kind == "ema" else {})}
    whole = run(tmp_path, 2, options, sharded=True, name="whole")
    kept = tmp_path / "whole" / "checkpoint-1"
    again = run(tmp_path, 2, {**options, "resume": str(kept)}, sharded=True, name="again")
    assert again["teacher"] == checksum(kept)
    same({**whole, "logs": whole["logs"][1:]}, {**again, "logs": again["logs"][1:]})
    ends = [checksum(tmp_path / name / "checkpoint-2") for name in ("whole", "again")]
    assert ends[0] == ends[1]
    assert (ends[0] == checksum(kept)) == (kind == "frozen")


def test_the_teacher_of_an_adapter_survives_another_number_of_ranks(tmp_path):
    options = {"lora": True, "teacher": "ema", "ema_rate": 0.3, "support_size": 8, **SAVED}
    whole = run(tmp_path, 2, options, name="whole")
    kept = tmp_path / "whole" / "checkpoint-1"
    assert whole["teacher"] != checksum(kept)
    for ranks in (1, 3):
        again = run(tmp_path, ranks, {**options, "resume": str(kept)}, name=f"on{ranks}")
        assert again["teacher"] == checksum(kept)
        same({**whole, "logs": whole["logs"][1:]}, {**again, "logs": again["logs"][1:]}, ("loss", "credit/loss"))


def test_two_ranks_with_a_server_that_scores_are_one_that_scores_itself(tmp_path):
    tokens = {"level": "token", "teacher": "live", "baseline": "batch_mean"}
    by_server = {
        "served": True, "use_vllm": True, "vllm_mode": "server", "vllm_importance_sampling_correction": False,
        "teacher_scored_by": "server", "credit_log_alternatives": 0,
    }  # fmt: skip
    alone, served = run(tmp_path, 1, tokens), run(tmp_path, 2, tokens | by_server)
    same(alone, served)
    assert served["scored"] > alone["scored"] == 0
    assert served["clients"] == 2  # each rank asks for its own rows


@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp2"])
def test_one_rank_that_is_not_finite_stops_all_of_them(tmp_path, sharded):
    options = {"num_iterations": 2, "support_size": 8, "teacher": "ema", "spoiled": 1}
    said = run(tmp_path, 2, options, sharded=sharded, name="stops")
    assert said[0] == said[1]
    assert said[0].startswith("step 2, rank 1: the credit loss is not finite; the first to be so: teacher's hidden")
    folder = tmp_path / "stops" / "nonfinite-step-2"
    assert {path.name for path in folder.iterdir()} == {
        "rank-1.json", "rank-1.safetensors", "model", "teacher_head.safetensors",
    }  # fmt: skip
    (kept,) = recorded(folder)
    found = replay(kept, "cpu")
    assert found.reproduced
    first = next(stage for stage in found.stages[0] if stage.bad)
    assert (first.name, first.bad, first.first.split(" (")[0]) == ("teacher's hidden states", 1, "row 4, token 2")
