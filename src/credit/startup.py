"""What the trainer refuses before it starts, because it would fail late, or change meaning in silence."""

from __future__ import annotations

from typing import Any

import torch

from credit.contrast import prompt_key
from credit.shards import shape

_SECOND_COPIES = {
    "zero_hpz_partition_size": 1,
    "mics_shard_size": -1,
    "zero_quantized_weights": False,
    "zero_quantized_nontrainable_weights": False,
}
"""Options of ZeRO-3 that gather parameters from elsewhere than their partitions, and their defaults."""


def refuse_unsupported(trainer: Any, student: Any) -> None:
    """Raise ValueError with reason and fix when model and options of a `CreditTrainer` do not fit together."""
    args = trainer.args
    zero = trainer.accelerator.state.deepspeed_plugin.deepspeed_config["zero_optimization"] if is_zero3(trainer) else {}
    unseen = [name for name, off in _SECOND_COPIES.items() if zero.get(name, off) != off]
    adapters = getattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config", None) or {}
    rules = [
        (trainer._is_vlm, "vision-language models are not supported yet. Use a text-only causal LM."),
        (
            any(a.is_prompt_learning and a.peft_type != "PREFIX_TUNING" for a in adapters.values()),
            "an adapter that puts tokens of its own before each row (prompt tuning, p-tuning) is not supported: what "
            "the teacher says would be read at the wrong tokens. Use LoRA.",
        ),
        (
            len(trainer.environment_factories or {}) > 1,
            "several environments in one run are not supported yet: a view would be rendered with the tools of another "
            "rollout's environment. Use one environment class that looks at the row in `reset`.",
        ),
        (
            bool(unseen) or zero.get("offload_param", {}).get("device") == "nvme",
            f"{', '.join(unseen) or 'offload_param to nvme'} in the DeepSpeed config gathers weights from elsewhere "
            "than their partitions: a teacher's values would not be seen. Drop it, or use zero_optimization.stage: 2.",
        ),
        (
            bool(zero) and not zero.get("stage3_gather_16bit_weights_on_model_save"),
            "ZeRO-3 would save no model. Set zero_optimization.stage3_gather_16bit_weights_on_model_save: true in the "
            "DeepSpeed config.",
        ),
        (
            trainer.is_fsdp_enabled and getattr(trainer.accelerator.state.fsdp_plugin, "fsdp_version", 2) == 1,
            "FSDP 1 flattens parameters, which a teacher cannot follow by name. Use fsdp_version: 2.",
        ),
        (
            args.level == "vocabulary" and trainer.aux_loss_enabled,
            "the load-balancing loss of mixture-of-experts models is not carried at level='vocabulary' yet. Set "
            "router_aux_loss_coef=0, or level='token'.",
        ),
    ]
    _raise_first(rules)
    refuse_model(args, student)


def is_zero3(trainer: Any) -> bool:
    """Say whether DeepSpeed will partition the parameters."""
    return trainer.is_deepspeed_enabled and trainer.accelerator.state.deepspeed_plugin.zero_stage == 3


def refuse_model(args: Any, student: Any) -> None:
    """Raise ValueError when a model's shape does not fit the options of a method with a teacher; reads no weights."""
    head = student.get_output_embeddings()
    vocabulary = shape(head.weight)[0]
    dropout = not args.disable_dropout and any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in student.modules())
    dropout = dropout or getattr(student.config.get_text_config(), "attention_dropout", 0.0) > 0
    rules = [
        (
            hasattr(head, "base_layer") or hasattr(head, "modules_to_save"),
            "an adapter on the output layer is not supported: credit would be scored without it. Leave the output "
            "layer out of target_modules and modules_to_save.",
        ),
        (
            not head.weight.is_floating_point() or head.weight.itemsize < 2,
            f"the output layer is quantised ({head.weight.dtype}): its rows are not numbers that credit can be "
            "computed from. Leave it out of the quantisation (llm_int8_skip_modules: [lm_head]).",
        ),
        (
            args.support_size > vocabulary,
            f"support_size={args.support_size} is larger than the vocabulary ({vocabulary}). Lower it, or use 0 for "
            "the full vocabulary.",
        ),
        (
            dropout,
            "the model has dropout, and teachers score while it trains. Set disable_dropout=True, and "
            "attention_dropout=0 in model_init_kwargs.",
        ),
    ]
    _raise_first(rules)


def refuse_data(args: Any, dataset: Any, has_environment: bool) -> None:
    """Raise ValueError when training rows and options do not fit together; needs no model.

    Args:
        args: a `CreditConfig`.
        dataset: the training set.
        has_environment: whether prompts may change when a conversation starts.
    """
    wrong = _bad_demonstrations(dataset, args.demonstration_column)
    few = None if has_environment else _too_few_prompts(args, dataset)
    in_batch = args.generation_batch_size // args.num_generations
    rows = len(dataset) if hasattr(dataset, "__len__") else None
    named = getattr(dataset, "column_names", None)
    homeless = args.negatives_from == "same_family" and named is not None and "family" not in named
    rules = [
        (
            homeless,
            "negatives_from='same_family' needs a column `family`, which the training set does not have "
            f"({', '.join(named or ())}). Add it, or use negatives_from='any'.",
        ),
        (wrong is not None, f"demonstration_column={args.demonstration_column!r} {wrong}"),
        (
            few is not None,
            f"num_negatives={args.num_negatives} needs at least {args.num_negatives + 1} different prompts, but the "
            f"training set holds {few}. Add prompts, lower num_negatives, or set lam=0.",
        ),
        (
            rows is not None and rows < in_batch,
            f"a generation batch takes {in_batch} prompts, but the training set holds {rows} rows, so no batch is ever "
            "full and nothing would be trained. Add rows, or lower generation_batch_size (or "
            "gradient_accumulation_steps, or per_device_train_batch_size).",
        ),
    ]
    _raise_first(rules)


def _raise_first(rules: list[tuple[bool, str]]) -> None:
    for broken, reason in rules:
        if broken:
            raise ValueError(reason)


def _bad_demonstrations(dataset: Any, name: str | None) -> str | None:
    """Say what is wrong with the column of right solutions; None when nothing is, or nothing can be known."""
    known = getattr(dataset, "column_names", None)
    if name is None or known is None:
        return None
    if name not in known:
        return (
            f"is no column of the training set. Use one of {', '.join(known)}, or write `demonstration` in your rows."
        )
    if not hasattr(dataset, "__len__"):
        return None
    for number, shown in enumerate(dataset[name], start=1):
        if shown is not None and not isinstance(shown, str):
            return f"holds a {type(shown).__name__} in row {number}. Write right solutions as text."
    return None if any(dataset[name]) else "holds no text in any row, so no answer would have a teacher."


def _too_few_prompts(args: Any, dataset: Any) -> int | None:
    """Number of different training prompts when it is too small for C, else None."""
    if args.effective_lam == 0 or not hasattr(dataset, "__len__"):
        return None
    seen: set[str] = set()
    for prompt in dataset["prompt"]:
        seen.add(prompt_key(prompt))
        if len(seen) > args.num_negatives:
            return None
    return len(seen)
