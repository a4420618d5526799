"""Sampling answers to prompts, batch by batch; what was sampled survives a kill, and goes on to the same answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import GenerationConfig

from credit.tasks import Row

T = TypeVar("T")


@dataclass(frozen=True)
class EvalOptions:
    """How to sample. Defaults of temperature and top-p: paper (second-hand).

    Attributes:
        samples: k answers per prompt.
        temperature, top_p: of the sampled answers; a greedy answer is always drawn too.
        max_new_tokens: longest answer.
        batch_size: prompts per generation call.
        seed: of the sampler.
        max_tool_calling_iterations: turns of a conversation that may call tools; None for no bound but the length.
    """

    samples: int = 4
    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 256
    batch_size: int = 64
    seed: int = 0
    max_tool_calling_iterations: int | None = None

    def __post_init__(self):
        if self.samples < 1 or self.max_new_tokens < 1 or self.batch_size < 1:
            raise ValueError("eval samples, max_new_tokens and batch_size must be at least 1.")
        if self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"eval temperature={self.temperature} must be > 0 and top_p={self.top_p} in (0, 1].")
        if self.max_tool_calling_iterations is not None and self.max_tool_calling_iterations < 1:
            raise ValueError(
                f"max_tool_calling_iterations={self.max_tool_calling_iterations} runs no tool. Use at least 1, or "
                "leave it out for no bound but the length."
            )

    def count(self, greedy: bool) -> int:
        """Return how many answers a prompt gets."""
        return 1 if greedy else self.samples


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
    count = options.count(greedy)
    config = generation_config(model, tokenizer, options, greedy, num_return_sequences=count)
    prompts = [prompt_ids(tokenizer, row["prompt"], template_options) for row in rows]

    def answer(picked: list[int]) -> list[list[str]]:
        new = new_tokens(model, tokenizer, [prompts[i] for i in picked], config)
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        return [texts[place * count : (place + 1) * count] for place in range(len(picked))]

    return in_batches(model, prompts, answer, options, greedy, progress, partial)


def in_batches(
    model: Any, prompts: list[list[int]], answer: Callable[[list[int]], list[list[T]]], options: EvalOptions,
    greedy: bool, progress: Callable[[int], None], partial: Path | None, about: str = "",
) -> list[list[T]]:  # fmt: skip
    """Return what `answer(rows)` makes of every row, short prompts first, under the promises of `generate`.

    `about` tells evaluations apart whose model, prompts and options are the same.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: list[list[T]] = [[] for _ in prompts]
    was_training, own_config = model.training, model.generation_config
    model.eval()
    model.generation_config = GenerationConfig()  # the model's own settings must not change the benchmark
    saved = None if partial is None else _Partial(partial, _identity(model, prompts, options, greedy, about))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(options.seed)
        done = 0 if saved is None else saved.load(answers)
        progress(done)
        for start in range(done, len(order), options.batch_size):
            picked = order[start : start + options.batch_size]
            for i, found in zip(picked, answer(picked), strict=True):
                answers[i] = found
            if saved is not None:
                saved.save(answers, start + len(picked))
            progress(len(picked))
    model.train(was_training)
    model.generation_config = own_config
    return answers


def generation_config(
    model: Any, tokenizer: Any, options: EvalOptions, greedy: bool, **more: Any
) -> GenerationConfig:  # fmt: skip
    """Return how to generate; to be asked for before `in_batches` puts the model's own settings aside."""
    return GenerationConfig(
        max_new_tokens=options.max_new_tokens,
        do_sample=not greedy,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
        **({} if greedy else {"temperature": options.temperature, "top_p": options.top_p, "top_k": 0}),
        **more,
    )


@torch.no_grad()
def new_tokens(model: Any, tokenizer: Any, prompts: list[list[int]], config: GenerationConfig) -> torch.Tensor:
    """Return what the model writes after prompts in token ids, padded at the end: (prompts x answers, tokens)."""
    batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt").to(model.device)
    out = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], generation_config=config)
    return out[:, batch["input_ids"].shape[1] :]


def prompt_ids(tokenizer: Any, prompt: Any, template_options: dict[str, Any]) -> list[int]:
    """Tokenize a prompt as training does: chat template for messages, plain text otherwise."""
    if isinstance(prompt, str):
        return tokenizer(prompt)["input_ids"]
    out = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=True, return_dict=True, **template_options
    )
    return out["input_ids"]


def _identity(model: Any, prompts: list[list[int]], options: EvalOptions, greedy: bool, about: str) -> str:
    """Tell one evaluation from another: weights (by a checksum of the first tensor), prompts and options."""
    weights = next(iter(model.parameters())).detach()
    facts = [type(model).__name__, weights.double().sum().item(), prompts, asdict(options), greedy, about]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class _Partial:
    """What is sampled so far, and the random state to go on with."""

    def __init__(self, path: Path, identity: str):
        self.path, self.identity = path, identity

    def load(self, answers: list[list[Any]]) -> int:
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

    def save(self, answers: list[list[Any]], done: int) -> None:
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
