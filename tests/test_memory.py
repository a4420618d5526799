"""Out of memory, in every phase: the error names the phase and what to change, with the values now."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from credit.cli import main
from credit.errors import MemoryRunError
from credit.faults.memory import changes, is_out_of_memory
from credit.sampling import EvalOptions
from credit.trainer import CreditTrainer
from local_models import fit, make_config, make_trainer, save_model, write_rows
from test_cli import SHORT

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation")


def fail(*args, **kwargs):
    raise FULL


def reward(*args, **kwargs):
    raise MemoryError


def in_optimiser(trainer):
    trainer.create_optimizer_and_scheduler(2)
    trainer.optimizer.step = fail


# where it happens -> how, what the error says of it, and one of the options it names
PHASES = {
    "rollouts": (lambda t: setattr(t.model, "generate", fail), "while answers were sampled", "use_vllm"),
    "grading": (lambda t: None, "while answers were graded", "the reward functions"),
    "teachers": (lambda t: setattr(t.teacher, "hidden", fail), "while the teachers read", "prompt_length (now 10240)"),
    "forward": (
        lambda t: setattr(t, "_get_per_token_logps_and_entropies", fail), "in the student's", "chunk_tokens (now 0",
    ),
    "backward": (lambda t: t.model.model.norm.weight.register_hook(fail), "in the student's", "support_size (now 0"),
    "optimiser": (in_optimiser, "in the optimiser's step", "adafactor"),
}  # fmt: skip


@pytest.mark.parametrize("where", PHASES)
def test_every_phase_says_where_it_was_and_what_to_change(tmp_path, where):
    spoil, words, named = PHASES[where]
    graded = {"reward_funcs": reward} if where == "grading" else {}
    trainer = make_trainer(tmp_path, support_size=0, **graded)
    spoil(trainer)
    with pytest.raises(MemoryRunError) as error:
        fit(trainer)
    said = str(error.value)
    assert said.startswith(f"step 1: out of memory {words}")
    assert named in said
    assert "`credit plan` with the same options" in said
    assert said.endswith("(said: MemoryError)" if graded else "(said: CUDA out of memory. Tried to allocate 2.00 GiB.)")


def test_what_is_named_is_what_the_options_hold(tmp_path):
    def named(phase, **options):
        return [change.split(" ")[0].rstrip(":") for change in changes(phase, make_config(tmp_path, **options))]

    rows, answer = "per_device_train_batch_size", "max_completion_length"
    assert named("teachers") == [rows, "max_teacher_prompt_length", answer, "teacher"]
    assert named("teachers", num_negatives=3, teacher="live") == [
        rows, "num_negatives", "max_teacher_prompt_length", answer,
    ]  # fmt: skip
    assert named("loss", gradient_checkpointing=True) == [rows, "chunk_tokens", answer, "model_init_kwargs"]
    half = {"model_init_kwargs": {"dtype": "bfloat16"}}
    assert named("loss", method="grpo", **half) == ["gradient_checkpointing", rows, answer]
    assert named("loss", support_size=100, **half)[2:4] == ["chunk_tokens", "support_size"]
    assert named("rollouts") == [rows, answer, "use_vllm"]
    assert named("rollouts", gradient_accumulation_steps=2)[0] == "steps_per_generation"
    assert named("update", teacher="live") == ["optim", "model_init_kwargs", "more"]
    (told,) = [c for c in changes("loss", make_config(tmp_path, gradient_accumulation_steps=2)) if c.startswith(rows)]
    assert told.startswith(f"{rows} (now 16); with gradient_accumulation_steps (now 2) raised by the same factor")
    assert changes("evaluation", EvalOptions(samples=3))[0].startswith("eval_samples (now 3)")


def test_other_errors_are_left_alone(tmp_path, monkeypatch):
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator"))

    def wrong(*args, **kwargs):
        raise RuntimeError("shapes do not fit")

    trainer = make_trainer(tmp_path)
    monkeypatch.setattr(trainer, "_compute_loss", wrong)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        fit(trainer)


@pytest.mark.parametrize("when", ["training", "evaluation"])
def test_a_run_without_memory_ends_in_words(tmp_path, monkeypatch, capsys, when):
    save_model("qwen3", tmp_path / "qwen3")
    write_rows(tmp_path / "rows.jsonl")
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(SHORT))
    if when == "training":
        monkeypatch.setattr(CreditTrainer, "_add_teachers", fail)
    else:
        monkeypatch.setattr("credit.evaluate.generate", fail)
    argv = ["train", "--config", str(tmp_path / "short.yaml"), "--model", str(tmp_path / "qwen3")]
    assert main([*argv, "--dataset", str(tmp_path / "rows.jsonl"), "--output_dir", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    first = "step 1: out of memory while the teachers read" if when == "training" else "out of memory while the evaluat"
    assert f"credit train: error: {first}" in said
    assert "Traceback" not in said
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["error"].startswith(f"MemoryRunError: {first}")


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[2])
import torch
from credit.errors import MemoryRunError
from local_models import fit, make_model, make_trainer

torch.set_num_threads(1)
model = make_model("qwen3", vocab_size=20_000, max_position_embeddings=1024)
trainer = make_trainer(sys.argv[1], model=model, max_completion_length=150, support_size=0, chunk_tokens=2400)
size = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + 160 * 2**20, resource.RLIM_INFINITY))
try:
    fit(trainer)
except MemoryRunError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_the_allocator_of_the_cpu_is_understood(tmp_path):
    """2,400 tokens x 20,000 logits are 183 MiB; 160 MiB are left."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIMITED, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=200,
    )  # fmt: skip
    assert "step 1: out of memory in the student's forward or backward pass" in done.stdout, done.stderr[-2000:]
    assert "chunk_tokens (now 2400)" in done.stdout
    assert "DefaultCPUAllocator" in done.stdout
