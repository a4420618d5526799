"""A step that is not finite: it stops before the weights change, and its folder replays to the same place."""

import json
import math
import re
import shutil

import pytest
import torch
import yaml
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from credit import CreditTrainer
from credit.cli import main
from credit.errors import NonFiniteError, SamplingError
from credit.faults.nonfinite import places, save_batches, save_weights
from credit.replay import recorded, replay
from local_models import (
    fit,
    make_config,
    make_dataset,
    make_model,
    make_tokenizer,
    make_trainer,
    reward,
    save_model,
    write_rows,
)
from test_cli import SHORT
from test_trainer import first_batch

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class At(TrainerCallback):
    """Does something to the trainer once, before a micro-batch of the step that `metrics.jsonl` calls `step`."""

    def __init__(self, trainer, step, spoil, micro=1):
        self.trainer, self.at, self.spoil = trainer, (step, micro), spoil
        self.now, self.weights = (0, 0), None

    def on_step_begin(self, args, state, control, **kwargs):
        self._reach((state.global_step + 1, 1))

    def on_substep_end(self, args, state, control, **kwargs):
        self._reach((self.now[0], self.now[1] + 1))

    def _reach(self, now):
        self.now = now
        if now == self.at:
            self.spoil(self.trainer)
            self.weights = [p.detach().clone() for p in self.trainer.model.parameters()]


def teacher_hidden(trainer):
    for batch in trainer._buffered_inputs:
        batch["teacher_hidden"][2, 1, 5] = torch.inf


def weight(trainer):
    with torch.no_grad():
        trainer.model.model.layers[1].mlp.down_proj.weight[3, 4] = torch.inf


def advantage(trainer):
    for batch in trainer._buffered_inputs:
        batch["advantages"][1] = torch.nan


def gradient(trainer):
    """A loss that is finite with a gradient that is not."""
    trainer.model.model.norm.weight.register_hook(lambda g: torch.full_like(g, torch.nan))


TEACHER, STUDENT = "teacher's hidden states, row 3, token 2", "log-probabilities, row 1, token 1"
# what is spoiled, options, the part that is named, the first place that is named
CASES = {
    "teacher": (teacher_hidden, {}, "credit loss", TEACHER),
    "blend": (teacher_hidden, {"blend": "loss"}, "credit loss", TEACHER),
    "trust region": (teacher_hidden, {"teacher": "trust_region", "ema_rate": 0.2}, "credit loss", TEACHER),
    "weight": (weight, {}, "policy loss and the credit loss", STUDENT),
    "grpo, weight": (weight, {"method": "grpo"}, "loss", STUDENT),
    "grpo": (advantage, {"method": "grpo"}, "loss", "advantages, row 2"),
    "tokens": (advantage, {"level": "token"}, "loss", "advantages, row 2"),
}


def stopped(trainer, step, spoil, micro=1):
    """Train until it stops; return the callback and what was said."""
    at = At(trainer, step, spoil, micro)
    trainer.add_callback(at)
    with pytest.raises(NonFiniteError) as error:
        fit(trainer)
    return at, str(error.value)


def first_bad(found):
    return next(stage for stage in found.stages[-1] if stage.bad)


@pytest.mark.parametrize(("spoil", "options", "part", "place"), CASES.values(), ids=CASES)
def test_training_stops_at_the_step_and_its_folder_replays_to_the_same_place(tmp_path, spoil, options, part, place):
    trainer = make_trainer(tmp_path, num_iterations=4, max_steps=4, **options)
    at, said = stopped(trainer, 3, spoil)
    assert said.startswith(f"step 3: the {part} ")
    assert f"the first to be so: {place}" in said
    assert [log["step"] for log in trainer.state.log_history] == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(at.weights, trainer.model.parameters(), strict=True))
    folder = tmp_path / "nonfinite-step-3"
    assert f"credit replay {folder}" in said
    assert not list(folder.rglob("*.bin"))  # nothing there runs code when it is read
    found = replay(folder / "rank-0.json", "cpu")
    assert found.reproduced
    first = first_bad(found)
    if spoil is weight:
        assert (first.name, first.first) == ("weights", "model.layers.1.mlp.down_proj.weight")
    else:
        assert f"{first.name}, {first.first}." in said


@pytest.mark.parametrize("micro", [1, 3])
def test_accumulated_micro_batches_each_count_and_the_bad_one_is_saved(tmp_path, micro):
    trainer = make_trainer(
        tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=4, num_iterations=2, max_steps=4
    )

    def spoil(trainer):
        trainer._buffered_inputs[micro - 1]["teacher_hidden"][2, 0] = torch.nan

    at, _ = stopped(trainer, 2, spoil, micro)
    assert at.now == (2, micro)
    record = json.loads((tmp_path / "nonfinite-step-2" / "rank-0.json").read_text())
    assert [len(texts) for texts in record["texts"]] == [4]
    assert replay(tmp_path / "nonfinite-step-2" / "rank-0.json").reproduced


def test_a_gradient_that_is_not_finite_stops_before_the_optimiser(tmp_path):
    trainer = make_trainer(
        tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=4, num_iterations=2, max_steps=4
    )
    at, said = stopped(trainer, 2, gradient, 4)
    assert said.startswith("step 2: the gradient norm is not finite (nan)")
    assert all(torch.equal(a, b) for a, b in zip(at.weights, trainer.model.parameters(), strict=True))
    found = replay(tmp_path / "nonfinite-step-2" / "rank-0.json")
    assert len(found.losses) == 4  # any of them may have been the one
    assert all(math.isfinite(loss) for loss in found.losses)
    assert not found.reproduced  # the hook that spoiled it is not part of the model


@pytest.mark.parametrize(
    "options",
    [
        {"support_size": 8},
        {"blend": "loss", "beta": 0.1, "form": "guided"},
        {"method": "grpo", "num_iterations": 2},
        {"method": "srpo"},
        {"level": "token"},
        {"teacher": "trust_region", "ema_rate": 0.3, "divergence": "jsd"},
        {"entropy_coef": 0.01, "blend": "loss", "importance_cap": 2.0, "num_iterations": 2},
    ],
    ids=str,
)
def test_a_healthy_batch_replays_to_the_same_loss(tmp_path, options):
    model = str(save_model("qwen3", tmp_path / "model")) if "beta" in options else None
    trainer = make_trainer(tmp_path / "run", model=model, **options)
    inputs = first_batch(trainer)
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]).norm().item()
    (tmp_path / "kept").mkdir()
    save_batches(trainer, tmp_path / "kept", "loss", loss.item(), [inputs])
    save_weights(trainer, tmp_path / "kept")
    found = replay(tmp_path / "kept" / "rank-0.json", "cpu")
    assert not found.reproduced
    assert found.losses == pytest.approx([loss.item()], abs=1e-6)
    assert loss.item() != 0
    assert found.grad_norm == pytest.approx(norm, rel=1e-4)
    assert [stage.name for stage in found.stages[0] if stage.bad] == []
    other = replay(tmp_path / "kept" / "rank-0.json", "cpu", "float64")
    assert other.losses == pytest.approx([loss.item()], rel=1e-4, abs=1e-6)
    assert other.grad_norm == pytest.approx(norm, rel=1e-3)


def test_an_adapter_replays_on_the_model_that_is_named(tmp_path):
    base = make_model("qwen3")
    base.save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    lora = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    trainer = CreditTrainer(
        base, reward, make_config(tmp_path / "run", num_iterations=2), train_dataset=make_dataset(),
        processing_class=make_tokenizer(), peft_config=lora,
    )  # fmt: skip
    stopped(trainer, 2, teacher_hidden)
    path = tmp_path / "run" / "nonfinite-step-2" / "rank-0.json"
    with pytest.raises(ValueError, match="an adapter that does not name its model"):
        replay(path)
    found = replay(path, base=str(tmp_path / "base"))
    assert found.reproduced
    assert first_bad(found).name == "teacher's hidden states"


def test_a_student_that_cannot_be_sampled_from_is_named(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.add_callback(At(trainer, 1, weight))
    with pytest.raises(
        SamplingError, match=r"step 1: .* while answers were sampled: model.layers.1.mlp.down_proj.weight"
    ):
        fit(trainer)


def test_the_scaling_of_float16_looks_for_its_own_overflow(tmp_path):
    class Scaler:
        scale = 2.0

        def get_scale(self):
            return self.scale

    trainer = make_trainer(tmp_path)
    first_batch(trainer)
    trainer.accelerator.scaler = Scaler()
    bad = torch.tensor(torch.inf)
    assert trainer._get_grad_norm(trainer.model, bad) == bad
    trainer.accelerator.scaler.scale = 0.5  # nothing left to lower
    with pytest.raises(NonFiniteError):
        trainer._get_grad_norm(trainer.model, bad)


@pytest.mark.parametrize("kind", [OSError, SafetensorError])
def test_a_full_disk_does_not_hide_why_training_stopped(tmp_path, monkeypatch, kind):
    trainer = make_trainer(tmp_path, num_iterations=4, max_steps=4)

    def full(*args, **kwargs):
        raise kind("No space left on device")

    monkeypatch.setattr(trainer, "save_model", full)
    _, said = stopped(trainer, 3, teacher_hidden)
    assert "credit loss is not finite" in said
    assert "NOT ALL OF IT: No space left on device" in said
    with pytest.raises(ValueError, match="the weights were not saved"):
        replay(tmp_path / "nonfinite-step-3" / "rank-0.json")


def test_places_are_rows_and_their_first_tokens():
    values = torch.zeros(4, 3, 5, 2)
    values[1, 2, 4, 0] = torch.inf
    values[1, 0, 3, 1] = torch.nan
    assert places(values) == [(1, 3)]
    assert places(values[:, 0]) == [(1, 3)]
    assert places(values[:, 2, :, 0]) == [(1, 4)]
    assert places(torch.tensor([0.0, -torch.inf])) == [(1, None)]


def test_replay_from_the_command_line(tmp_path, capsys):
    trainer = make_trainer(tmp_path / "run", num_iterations=4, max_steps=4)
    stopped(trainer, 3, teacher_hidden)
    folder = tmp_path / "run" / "nonfinite-step-3"
    assert main(["replay", str(folder), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"teacher's hidden states +1 of 16 rows +row 3, token 2 \('.+'\)", said)
    assert re.search(r"student's hidden states +- ", said)
    assert "reproduced: the loss was nan, and is nan here (cpu, dtype as in the run)" in said
    assert "The teacher's pass was not finite" in said
    inputs = folder / "rank-0.safetensors"
    save_file({n: t.nan_to_num(posinf=0) if t.is_floating_point() else t for n, t in load_file(inputs).items()}, inputs)
    assert main(["replay", str(inputs), "--dtype", "float32"]) == 1
    said = capsys.readouterr().out
    assert "NOT reproduced: the loss was nan, and is " in said
    assert "Finite in float32: it was a matter of precision." in said
    assert main(["replay", str(tmp_path / "run")]) == 2
    assert f"Did you mean {folder}?" in capsys.readouterr().err
    shutil.rmtree(folder / "model")
    assert main(["replay", str(folder)]) == 2
    assert recorded(folder) == [folder / "rank-0.json"]


def test_a_run_of_the_command_line_stops_in_words(tmp_path, capsys):
    save_model("qwen3", tmp_path / "qwen3")
    write_rows(tmp_path / "rows.jsonl")
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(SHORT))
    argv = ["train", "--config", str(tmp_path / "short.yaml"), "--model", str(tmp_path / "qwen3"), "--skip_eval"]
    argv += ["--dataset", str(tmp_path / "rows.jsonl"), "--output_dir", str(tmp_path / "run")]
    assert (
        main([*argv, "--learning_rate", "1e30", "--num_iterations", "2"]) == 1
    )  # finite, and too large to compute with
    said = capsys.readouterr().err
    assert "credit train: error: step 2: " in said
    assert "Traceback" not in said
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["error"].split(":")[0]) == ("failed", "NonFiniteError")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]
    assert main(["replay", str(tmp_path / "run" / "nonfinite-step-2")]) == 0
    assert main([*argv, "--overwrite", "--max_steps", "1"]) == 0
    assert not (tmp_path / "run" / "nonfinite-step-2").exists()
