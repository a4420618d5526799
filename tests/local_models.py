"""Tiny Qwen3 and Olmo-3 models, a word tokenizer with a chat template, and rows: all built here, nothing fetched."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, Olmo3Config, PreTrainedTokenizerFast, Qwen3Config

from credit import CreditConfig, CreditTrainer
from credit.context import DEFAULT_TEMPLATE

SPECIALS = ["<pad>", "<end>", "<unk>", "<system>", "<user>", "<assistant>", "<tool>", "<think>"]
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% if enable_thinking is defined and not enable_thinking %}<think> "
    "{% endif %}{% endif %}"
)


def words() -> list[str]:
    template = " ".join([DEFAULT_TEMPLATE.reprompt, DEFAULT_TEMPLATE.solution, DEFAULT_TEMPLATE.feedback])
    template = template.replace("{", " ").replace("}", " ").replace(":", " : ").replace(".", " . ")
    return list(dict.fromkeys([*SPECIALS, *(f"w{i}" for i in range(60)), "missing", *template.split()]))


def make_tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words())}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(".", "isolated")]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unk>",
        extra_special_tokens=SPECIALS[3:],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(family: str, **options):
    shape = {
        "vocab_size": len(words()),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
        "initializer_range": 0.3,  # far from uniform, so that every term of a loss counts
        **options,
    }
    torch.manual_seed(0)
    config = Qwen3Config(head_dim=8, **shape) if family == "qwen3" else Olmo3Config(**shape)
    return AutoModelForCausalLM.from_config(config)


def save_model(family: str, folder: Path) -> Path:
    make_model(family).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def make_rows(count: int = 40) -> list[dict]:
    return [{"prompt": f"w{i} w{i + 1}" + " w3" * (i % 5), "answer": f"w{i}"} for i in range(count)]


def write_rows(path: Path, rows: list[dict] | None = None) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows or make_rows()))
    return path


def make_dataset(count: int = 40) -> Dataset:
    return Dataset.from_list([{**r, "prompt": [{"role": "user", "content": r["prompt"]}]} for r in make_rows(count)])


def reward(completions, answer, **columns):
    """1 when the completion has an even number of words: half succeed, whatever the model."""
    texts = [c[0]["content"].split() for c in completions]
    return [(1.0, None) if len(t) % 2 == 0 else (0.0, f"missing {a}") for t, a in zip(texts, answer, strict=True)]


def make_config(folder: Path, **options) -> CreditConfig:
    return CreditConfig(
        **{
            "output_dir": str(folder),
            "per_device_train_batch_size": 16,
            "gradient_accumulation_steps": 1,
            "num_generations": 4,
            "max_completion_length": 10,
            "max_steps": 2,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "report_to": "none",
            "save_strategy": "no",
            "bf16": False,
            "use_cpu": True,
            "disable_tqdm": True,
            "gradient_checkpointing": False,
            "credit_log_steps": 0,
            **options,
        }
    )


def make_trainer(folder: Path, family: str = "qwen3", reward_funcs=reward, model=None, **options) -> CreditTrainer:
    return CreditTrainer(
        model or make_model(family),
        reward_funcs,
        make_config(folder, **options),
        train_dataset=make_dataset(),
        processing_class=make_tokenizer(),
    )


def fit(*trainers: CreditTrainer) -> None:
    """Train each from the same random state."""
    for trainer in trainers:
        torch.manual_seed(1)
        trainer.train()


def history(trainer: CreditTrainer, *without: str) -> list[dict]:
    skipped = {"epoch", *without}
    return [
        {k: v for k, v in log.items() if k not in skipped and not k.startswith("step_time")}
        for log in trainer.state.log_history
        if "loss" in log
    ]
