"""Sampling answers to prompts, batch by batch; what was sampled survives a kill, and goes on to the same answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from credit.tasks import Row


@dataclass(frozen=True)
class EvalOptions:
    """How to sample. Defaults of temperature and top-p: paper (second-hand).

    Attributes:
        samples: k answers per prompt.
        temperature, top_p: of the sampled answers; a greedy answer is always drawn too.
        max_new_tokens: longest answer.
        batch_size: prompts per generation call.
        seed: of the sampler.
    """

    samples: int = 4
    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 256
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self):
        if self.samples < 1 or self.max_new_tokens < 1 or self.batch_size < 1:
            raise ValueError("eval samples, max_new_tokens and batch_size must be at least 1.")
        if self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"eval temperature={self.temperature} must be > 0 and top_p={self.top_p} in (0, 1].")


@torch.no_grad()
def generate(
    model: Any, tokenizer: Any, rows: list[Row], options: EvalOptions, greedy: bool, template_options: dict[str, Any],
    progress: Callable[[int], None] = lambda done: None, partial: Path | None = None,
) -> list[list[str]]:  # fmt: skip
    """Answer every row: `samples` answers each, or one when `greedy`. Leaves the global random state as it was.

    Args:
        model, tokenizer: a causal language model.
        rows: rows with a prompt.
        options: how to sample.
        greedy: the most likely answer instead of samples.
        template_options: of the chat template.
        progress: called with the number of rows done.
        partial: file that keeps what is done after every batch; with the same model, rows and options the next call
            goes on from it. Removed at the end of an evaluation by the caller.
    """
    count = 1 if greedy else options.samples
    config = GenerationConfig(
        max_new_tokens=options.max_new_tokens,
        do_sample=not greedy,
        num_return_sequences=count,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
        **({} if greedy else {"temperature": options.temperature, "top_p": options.top_p, "top_k": 0}),
    )
    prompts = [prompt_ids(tokenizer, row["prompt"], template_options) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: len(prompts[i]))
    answers: list[list[str]] = [[] for _ in rows]
    was_training, own_config = model.training, model.generation_config
    model.eval()
    model.generation_config = GenerationConfig()  # the model's own settings must not change the benchmark
    saved = None if partial is None else _Partial(partial, _identity(model, prompts, options, greedy))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(options.seed)
        done = 0 if saved is None else saved.load(answers)
        progress(done)
        for start in range(done, len(order), options.batch_size):
            picked = order[start : start + options.batch_size]
            batch = tokenizer.pad(
                {"input_ids": [prompts[i] for i in picked]}, padding_side="left", return_tensors="pt"
            ).to(model.device)
            width = batch["input_ids"].shape[1]
            out = model.generate(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], generation_config=config
            )
            texts = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
            for place, i in enumerate(picked):
                answers[i] = texts[place * count : (place + 1) * count]
            if saved is not None:
                saved.save(answers, start + len(picked))
            progress(len(picked))
    model.train(was_training)
    model.generation_config = own_config
    return answers


def prompt_ids(tokenizer: Any, prompt: Any, template_options: dict[str, Any]) -> list[int]:
    """Tokenize a prompt as training does: chat template for messages, plain text otherwise."""
    if isinstance(prompt, str):
        return tokenizer(prompt)["input_ids"]
    out = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=True, return_dict=True, **template_options
    )
    return out["input_ids"]


def _identity(model: Any, prompts: list[list[int]], options: EvalOptions, greedy: bool) -> str:
    """Tell one evaluation from another: weights (by a checksum of the first tensor), prompts and options."""
    weights = next(iter(model.parameters())).detach()
    facts = [type(model).__name__, weights.double().sum().item(), prompts, asdict(options), greedy]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class _Partial:
    """What is sampled so far, and the random state to go on with."""

    def __init__(self, path: Path, identity: str):
        self.path, self.identity = path, identity

    def load(self, answers: list[list[str]]) -> int:
        """Fill in what was answered, restore the random state and return how many rows are done; 0 if none are."""
        if not self.path.exists():
            return 0
        try:
            state = torch.load(self.path, weights_only=True)
        except Exception:  # torch raises many kinds for a damaged file; sampling again costs time only
            return 0
        if state["identity"] != self.identity:
            return 0
        answers[:] = state["answers"]
        torch.set_rng_state(state["rng"])
        torch.cuda.set_rng_state_all(state["cuda"])
        return state["done"]

    def save(self, answers: list[list[str]], done: int) -> None:
        """Write the file whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        state = {
            "identity": self.identity,
            "answers": answers,
            "done": done,
            "rng": torch.get_rng_state(),
            "cuda": cuda,
        }
        new = self.path.with_suffix(".new")
        torch.save(state, new)
        new.replace(self.path)
