"""Recompute a step that was stopped because its loss or gradient was not finite, from the folder it left.

The loss is computed by the trainer's own code: a trainer without its constructor, holding the plain values it held.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from credit import _trl
from credit.config import CreditConfig
from credit.faults.nonfinite import HEAD, Places, bad_inputs, bad_parameters, place, places, read_head
from credit.kernel import token_credit
from credit.methods import get_method
from credit.passes import read_rollouts
from credit.scoring import head_of, with_response_head
from credit.sources import load_model
from credit.trainer import CreditTrainer
from credit.tree_attention import with_tree_attention

_LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Stage:
    """Something that was computed on the way to the loss, in a micro-batch.

    Attributes:
        name: what it is.
        bad: how many of `of` are not finite.
        of: how many there are.
        unit: rows, parameters or numbers.
        first: the first of them, in words.
    """

    name: str
    bad: int
    of: int
    unit: str
    first: str = ""


@dataclass(frozen=True)
class Replay:
    """One rank's part of a stopped step, computed again.

    Attributes:
        record: what was saved in `rank-R.json`.
        stages: for each micro-batch, in the order of computation.
        losses: of the micro-batches.
        grad_norm: of their sum, on this rank alone.
        device: where it was computed.
    """

    record: dict[str, Any]
    stages: list[list[Stage]]
    losses: list[float]
    grad_norm: float
    device: str

    @property
    def value(self) -> float:
        """What was not finite, as it is here."""
        return self.losses[-1] if self.record["part"] == "loss" else self.grad_norm

    @property
    def reproduced(self) -> bool:
        """Whether it is not finite here either."""
        return not math.isfinite(self.value)


def recorded(target: Path) -> list[Path]:
    """Return the `rank-R.json` that a folder holds, or the one that is named; raise ValueError when there is none."""
    found = [target.with_suffix(".json")] if target.is_file() else sorted(target.glob("rank-*.json"))
    found = [path for path in found if path.is_file() and path.with_suffix(".safetensors").is_file()]
    if not found:
        kept = sorted(str(path) for path in target.glob("nonfinite-step-*"))
        hint = f" Did you mean {kept[0]}?" if kept else ""
        raise ValueError(
            f"{target} holds no stopped step (rank-R.json with rank-R.safetensors). Name a folder "
            f"nonfinite-step-N of a run.{hint}"
        )
    return found


def replay(path: Path, device: str | None = None, dtype: str | None = None, base: str | None = None) -> Replay:
    """Compute a saved rank's losses and gradients again.

    Args:
        path: of a `rank-R.json`.
        device: where; default: an accelerator if there is one.
        dtype: of weights and computation, without mixed precision; default: as in the run.
        base: model under a saved adapter; default: the one the adapter names.

    Raises:
        ValueError: something is missing, or cannot be computed here; one line with the fix.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    where = torch.device(device) if device else torch.accelerator.current_accelerator() or torch.device("cpu")
    model, tokenizer = _model(path.parent, record, dtype, base)
    trainer = _trainer(path.parent, record, model.to(where), tokenizer, None if dtype else record["precision"])
    kept = load_file(path.with_suffix(".safetensors"))
    stages, losses = [], []
    for number in range(len(record["texts"])):
        inputs = {n.partition(".")[2]: t.to(where) for n, t in kept.items() if n.startswith(f"{number}.")}
        loss, found = _computed(trainer, inputs)
        loss.backward()
        losses.append(loss.item())
        stages.append(found)
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    norm = torch.stack([g.double().norm() for g in gradients.values()]).norm().item() if gradients else 0.0
    bad = [n for n, g in reversed(gradients.items()) if not g.isfinite().all()]  # backward meets the last one first
    stages[-1].append(_of_names("gradients", bad, gradients))
    return Replay(record, stages, losses, norm, str(where))


def _model(folder: Path, record: dict[str, Any], dtype: str | None, base: str | None) -> tuple[Any, Any]:
    own = folder / "model"
    if not own.is_dir():
        raise ValueError(f"{own} is missing: the weights were not saved, and nothing can be computed without them.")
    options: dict[str, Any] = {"dtype": dtype or "auto"}
    if record["attention"] in ("eager", "sdpa"):  # others need an accelerator of their own
        options["attn_implementation"] = record["attention"]
    adapter = own / "adapter_config.json"
    if not adapter.is_file():
        return load_model(str(own), **options)
    from peft import PeftModel

    name = base or json.loads(adapter.read_text())["base_model_name_or_path"]
    if not name:
        raise ValueError(f"{own} is an adapter that does not name its model. Name it: --model NAME|FOLDER.")
    model, _ = load_model(name, **options)
    _, tokenizer = load_model(name) if not (own / "tokenizer_config.json").is_file() else (None, _tokenizer(own))
    return PeftModel.from_pretrained(model, str(own), is_trainable=True), tokenizer


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def _trainer(folder: Path, record: dict[str, Any], model: Any, tokenizer: Any, precision: str | None) -> Any:
    args = CreditConfig.__new__(CreditConfig)
    vars(args).update(record["options"])
    trainer: Any = CreditTrainer.__new__(CreditTrainer)
    vars(trainer).update(record["trainer"])
    device = next(model.parameters()).device
    low = _LOW.get(precision or "no")

    def alone(value: Any, **how: Any) -> Any:
        return value

    trainer.accelerator = SimpleNamespace(
        num_processes=record["processes"], process_index=record["rank"], is_main_process=True, sync_gradients=True,
        device=device, gather=alone, gather_for_metrics=alone, reduce=alone, unwrap_model=alone,
        autocast=lambda: torch.autocast(device.type, low) if low else nullcontext(),
    )  # fmt: skip
    trainer.args, trainer.model, trainer._tokenizer = args, model.train(), tokenizer
    trainer.method = get_method(args.method)
    trainer.parts = {}
    trainer._scored, trainer._scoring_inputs, trainer._entropy_window_stats = {}, None, None
    trainer._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    student = trainer._student
    _trl.add_fused_lm_head(
        student, temperature=trainer.temperature, cast_lm_head_to_fp32=args.cast_lm_head_to_fp32,
        outputs=("log_probs", "entropy"),
    )  # fmt: skip
    with_response_head(student)
    with_tree_attention(student)
    like = head_of(student, trainer.temperature, args.cast_lm_head_to_fp32)
    trainer._teacher_head = read_head(folder / HEAD, like.frozen(copy=False), args.ema_rate)
    return trainer


def _computed(trainer: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, list[Stage]]:
    """Return the loss of a micro-batch, with its graph, and what was computed on the way."""
    loss = trainer._compute_loss(trainer.model, inputs)
    hidden_BTD = _hidden(trainer, inputs)
    scores = _scores(trainer, inputs, hidden_BTD) if "teacher_hidden" in inputs else {}
    rows = {
        **bad_inputs(inputs),
        "student's hidden states": places(hidden_BTD),
        "student's log-probabilities": places(trainer.parts.pop("log-probabilities")),
        **{name: places(values_BT) for name, values_BT in scores.items()},
        **{name: places(values) for name, values in trainer.parts.items() if values.dim()},
    }
    weights = dict(trainer.model.named_parameters())
    stages = [_of_names("weights", bad_parameters(trainer.model), weights)]
    head = trainer._teacher_head
    if head is not None:
        bad = [] if head.weight.isfinite().all() else ["weight"]
        stages.append(_of_names("teacher's head", bad, ["weight"]))
    stages += [_of_rows(name, found, inputs, trainer._text) for name, found in rows.items()]
    whole = {name: value for name, value in trainer.parts.items() if not value.dim()} | {"loss": loss.detach()}
    stages += [
        Stage(name, int(not value.isfinite()), 1, "numbers", f"{value.item():.6g}") for name, value in whole.items()
    ]
    return loss, stages


@torch.no_grad()
def _hidden(trainer: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the states that predict the student's own tokens, (B, T, D), read as its loss reads them; else zero."""
    ids_BL, mask_BL = (torch.cat([inputs[f"prompt_{n}"], inputs[f"completion_{n}"]], dim=1) for n in ("ids", "mask"))
    own_BT = trainer._response_mask(inputs)
    with trainer.accelerator.autocast():
        own_ND = read_rollouts(
            trainer.model, ids_BL, mask_BL, own_BT.shape[1], trainer._as_trees, lambda at: at(own_BT)
        )
    return own_ND.new_zeros(*own_BT.shape, own_ND.shape[-1]).masked_scatter(own_BT.unsqueeze(-1), own_ND)


def _scores(trainer: Any, inputs: dict[str, Tensor], hidden_BTD: Tensor) -> dict[str, Tensor]:
    """Return what teacher and target say of the sampled tokens, (B, T); zero where there is no teacher."""
    taught = trainer._response_mask(inputs) & inputs["distilled"].unsqueeze(1)
    found = token_credit(
        hidden_BTD[taught], inputs["completion_ids"][taught], trainer._student_head(), trainer._views(inputs, taught),
        trainer._teacher_head, trainer._target, trainer.args.loss_options(),
    )  # fmt: skip
    named = {
        "teacher's log-probabilities": found["logp_teacher"],
        "target minus student": found["R"] + found["baseline"],  # of the sampled token, and the mean over all tokens
    }
    return {name: values.new_zeros(taught.shape).masked_scatter(taught, values) for name, values in named.items()}


def _of_names(name: str, bad: list[str], everything: Any) -> Stage:
    return Stage(name, len(bad), len(everything), "parameters", bad[0] if bad else "")


def _of_rows(name: str, bad: Places, inputs: dict[str, Tensor], tokenizer: Any) -> Stage:
    first = place(bad[0], inputs, tokenizer) if bad else ""
    return Stage(name, len(bad), len(inputs["completion_ids"]), "rows", first)
