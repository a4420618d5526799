"""What is refused before training: degenerate settings, models and rows that do not fit, each with reason and fix."""

import pytest
import torch

from credit import CreditConfig, CreditTrainer, _trl
from credit.presets import PRESETS
from credit.teacher import Teacher
from local_models import make_config, make_dataset, make_model, make_tokenizer, make_trainer, reward

REFUSED = {
    "negative lambda": ({"lam": -0.1}, "a negative one pays for generic tokens"),
    "too few prompts in a batch": (
        {"num_negatives": 4},
        "at least 5 different prompts in a generation batch",
    ),
    "save inside a buffer": (
        {"num_iterations": 2, "save_strategy": "steps", "save_steps": 3},
        "multiple of 2",
    ),
    "checkpoints inside a batch": (
        {"save_strategy": "steps", "save_steps": 2, "enable_jit_checkpoint": True},
        "credit train stops in order at SIGTERM by itself",
    ),
    "one checkpoint": (
        {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 1},
        "save_total_limit=2",
    ),
    "unused reward scaling": ({"scale_rewards": "none"}, "scale_rewards"),
    "cispo clamp": ({"loss_type": "cispo"}, "epsilon_high"),
    "entropy mask": ({"top_entropy_quantile": 0.5}, "top_entropy_quantile"),
    "sequence ratios": ({"level": "token", "importance_sampling_level": "sequence"}, "Use 'token'"),
    "unknown form": ({"form": "papr"}, "Use one of paper, guided"),
    "inverted rate": ({"ema_rate": 0.0}, "share of the \\*student\\*"),
    "centred sum": ({"level": "token", "token_credit": "to_go"}, "collapses to the immediate"),
    "blend without teacher": ({"method": "grpo", "blend": "loss"}, "no teacher"),
    "mean of one": ({"generic_mean": "probabilities"}, "changes nothing with one unrelated input"),
    "unknown source of negatives": ({"negatives_from": "all"}, "Use one of any, same_family"),
    "support of one": ({"support_size": 1}, "at least 2 tokens"),
}


@pytest.mark.parametrize(("options", "reason"), REFUSED.values(), ids=REFUSED)
def test_degenerate_settings_are_refused_with_the_reason(tmp_path, options, reason):
    with pytest.raises(ValueError, match=reason):
        make_config(tmp_path, **options)


def test_several_gpus_in_one_process_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(CreditConfig, "n_gpu", 2)
    with pytest.raises(ValueError, match="sees 2 GPUs"):
        make_config(tmp_path)


def test_settings_that_need_the_model_are_refused_too(tmp_path):
    with pytest.raises(ValueError, match="support_size=5000 is larger than the vocabulary"):
        make_trainer(tmp_path, support_size=5000)
    with pytest.raises(ValueError, match="attention_dropout"):
        make_trainer(tmp_path, model=make_model("qwen3", attention_dropout=0.1))
    with pytest.raises(ValueError, match="needs a column `family`"):
        make_trainer(tmp_path, negatives_from="same_family")
    one_prompt = make_dataset(1).select([0] * 8)
    with pytest.raises(ValueError, match="training set holds 1"):
        CreditTrainer(
            make_model("qwen3"),
            reward,
            make_trainer(tmp_path).args,
            train_dataset=one_prompt,
            processing_class=make_tokenizer(),
        )


def test_an_adapter_on_the_output_layer_is_refused(tmp_path):
    model = make_model("qwen3")
    model.lm_head.base_layer = torch.nn.Identity()  # what marks the layers of adapters
    with pytest.raises(ValueError, match="adapter on the output layer"):
        make_trainer(tmp_path, model=model)


def test_plain_grpo_options_are_not_accepted_as_credit_options(tmp_path):
    with pytest.raises(TypeError, match="needs a CreditConfig"):
        CreditTrainer(make_model("qwen3"), reward, _trl.GRPOConfig(str(tmp_path), bf16=False, use_cpu=True))


def test_presets_set_the_methods_own_fields_only(tmp_path):
    inherited = set(_trl.GRPOConfig.__dataclass_fields__)
    for name, fields in PRESETS.items():
        assert inherited & set(fields) == ({"loss_type", "scale_rewards"} if name == "dr-grpo" else set())
        if not name.startswith("paper-"):
            continue
        config = CreditConfig.from_preset(
            name, output_dir=str(tmp_path), bf16=False, use_cpu=True, lam=0.25, num_generations=4
        )
        assert (config.form, config.lam, config.num_negatives) == ("paper", 0.25, 1)


def test_defaults_hold_enough_prompts_to_contrast(tmp_path):
    config = CreditConfig(str(tmp_path))
    assert config.generation_batch_size // config.num_generations > config.num_negatives


def test_a_quantised_output_layer_is_refused(tmp_path):
    model = make_model("qwen3", tie_word_embeddings=False)
    quantised = model.lm_head.weight.detach().to(torch.int8)
    model.lm_head.weight = torch.nn.Parameter(quantised, requires_grad=False)
    with pytest.raises(ValueError, match=r"output layer is quantised \(torch\.int8\).*llm_int8_skip_modules"):
        make_trainer(tmp_path, model=model)


def test_a_checkpoint_without_the_teacher_is_refused(tmp_path):
    teacher = Teacher(make_model("qwen3"), "ema", 0.1)
    with pytest.raises(ValueError, match="no saved teacher"):
        teacher.load(tmp_path)
    teacher.save(tmp_path)
    with pytest.raises(ValueError, match=r"ema_rate=0\.1"):
        Teacher(make_model("qwen3"), "ema", 0.2).load(tmp_path)
