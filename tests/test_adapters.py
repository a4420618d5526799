"""Teachers of a student that trains an adapter only: switched off, averaged, interpolated; saved and resumed."""

import pytest
import torch
from peft import LoraConfig

from credit import CreditTrainer
from local_models import fit, history, make_config, make_dataset, make_model, make_tokenizer, reward

KINDS = {"live": {}, "frozen": {}, "ema": {"ema_rate": 0.25}, "trust_region": {"ema_rate": 0.25}}


def adapted(folder, kind: str, **options) -> CreditTrainer:
    torch.manual_seed(0)
    lora = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False, lora_dropout=0.0
    )
    return CreditTrainer(
        make_model("qwen3"),
        reward,
        make_config(folder, teacher=kind, **KINDS[kind], **options),
        train_dataset=make_dataset(),
        processing_class=make_tokenizer(),
        peft_config=lora,
    )


def adapter_of(trainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trainer._student.named_parameters() if p.requires_grad}


def hidden_of(trainer) -> torch.Tensor:
    """What the teacher's head reads on responses that stay, whatever the weights."""
    ids = torch.arange(12, 20).reshape(2, 4)
    output = {"completion_ids": ids, "completion_mask": torch.ones_like(ids)}
    trainer.model.train()
    return trainer._taught([[[5, 6, 7], [5, 8]]], output, torch.ones(1, 2, dtype=torch.bool))


def test_only_the_adapter_is_trained_and_averaged(tmp_path):
    trainer = adapted(tmp_path, "ema")
    assert trainer.teacher.model is trainer._student  # no copy of the base weights
    assert set(trainer.teacher.weights) == set(adapter_of(trainer))
    assert all("lora_" in name for name in trainer.teacher.weights)


def test_a_frozen_teacher_is_the_base_model(tmp_path):
    trainer = adapted(tmp_path, "frozen")
    found = hidden_of(trainer)
    with torch.no_grad():
        for name, parameter in trainer._student.named_parameters():
            if "lora_" in name:
                parameter.zero_()
    assert torch.equal(hidden_of(trainer), found)
    live = hidden_of(adapted(tmp_path, "live"))
    assert (live - found).abs().max() > 1e-3


def test_an_average_is_worn_for_scoring_and_taken_off_bit_for_bit(tmp_path):
    trainer = adapted(tmp_path, "ema")
    start = hidden_of(trainer)
    before = adapter_of(trainer)
    with torch.no_grad():
        for name, parameter in trainer._student.named_parameters():
            if name in before:
                parameter.mul_(3.0)
    moved = adapter_of(trainer)
    torch.testing.assert_close(hidden_of(trainer), start)
    after = adapter_of(trainer)
    assert all(torch.equal(moved[n], after[n]) for n in moved)
    trainer.teacher.follow()
    for name, average in trainer.teacher.weights.items():
        torch.testing.assert_close(average, 0.75 * before[name] + 0.25 * moved[name])
    assert (hidden_of(trainer) - start).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_the_same_run(tmp_path, kind):
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = adapted(tmp_path / "whole", kind, **options)
    fit(whole)
    assert all(p["credit/no_teacher"] < 1 for p in history(whole))
    resumed = adapted(tmp_path / "again", kind, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert resumed.state.global_step == 4
    for one, two in zip(history(whole)[2:], history(resumed)[2:], strict=True):
        assert {k: v for k, v in one.items() if k != "num_tokens"} == pytest.approx(
            {k: v for k, v in two.items() if k != "num_tokens"}, abs=1e-6, nan_ok=True
        )
    for name, average in whole.teacher.weights.items():
        assert torch.equal(average, resumed.teacher.weights[name])
    one, two = adapter_of(whole), adapter_of(resumed)
    assert all(torch.equal(one[n], two[n]) for n in one)
