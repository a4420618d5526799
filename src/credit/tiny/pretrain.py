"""Pretrain the base model of the tiny world from scratch: documents in, a Hugging Face directory out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from credit.tiny.documents import Document, Recipe, documents
from credit.tiny.vocabulary import END_ID, PAD_ID, build_tokenizer, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

STEPS = 1800
BATCH, POOL = 32, 16  # documents per step; batches sorted by length together
PEAK_RATE, WARMUP = 3e-3, 50


def build_model(tokenizer: PreTrainedTokenizerFast, width: int = 128, layers: int = 3) -> Qwen3ForCausalLM:
    """Return an untrained Qwen3 for the tokenizer, in float32."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=width // 4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=PAD_ID,
        eos_token_id=END_ID,
        bos_token_id=None,
        dtype="float32",
    )
    return Qwen3ForCausalLM(config)


def encode(document: Document, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], int]:
    """Return the token ids of a whole document and the length of its prompt."""
    prompt_ids = tokenizer.encode(render(tokenizer, document.messages), add_special_tokens=False)
    answer_ids = tokenizer.encode(document.completion, add_special_tokens=False)
    return [*prompt_ids, *answer_ids, END_ID], len(prompt_ids)


def batches(
    source: Iterator[Document], tokenizer: PreTrainedTokenizerFast, size: int, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (ids_BT, labels_BT) of documents of like length; labels are -100 on prompt and padding."""
    while True:
        encoded = [encode(document, tokenizer) for document in islice(source, size * POOL)]
        pool = sorted(encoded, key=lambda pair: len(pair[0]))
        for i in torch.randperm(POOL, generator=generator).tolist():
            chunk = pool[i * size : (i + 1) * size]
            longest = len(chunk[-1][0])
            ids_BT = torch.full((size, longest), PAD_ID)
            labels_BT = torch.full((size, longest), -100)
            for row, (ids, prompt_length) in enumerate(chunk):
                ids_BT[row, : len(ids)] = torch.tensor(ids)
                labels_BT[row, prompt_length : len(ids)] = torch.tensor(ids[prompt_length:])
            yield ids_BT, labels_BT


class Optimizers:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms, at one common rate.

    Muon needs several times fewer documents than AdamW alone to learn to copy from the prompt.
    """

    def __init__(self, model: torch.nn.Module, rate: float = PEAK_RATE):
        if not hasattr(torch.optim, "Muon"):
            raise ImportError(f"pretraining uses torch.optim.Muon; torch {torch.__version__} is too old. Use 2.9.")
        inner = {n: p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n}
        outer = [p for n, p in model.named_parameters() if n not in inner]
        self.both = (
            torch.optim.Muon(inner.values(), lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(outer, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
        )

    def step(self, rate: float) -> None:
        """Take one step of both at this rate, and clear the gradients."""
        for optimizer in self.both:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()


def learning_rate(progress: float, step: int) -> float:
    """Return the rate: linear warm-up times a cosine over the run (`progress` 0 to 1) down to a hundredth."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return PEAK_RATE * min(1.0, (step + 1) / WARMUP) * (0.01 + 0.99 * cosine)


def pretrain(
    out: str | Path,
    steps: int = STEPS,
    seed: int = 0,
    minutes: float | None = None,
    threads: int = 1,
    recipe: Recipe | None = None,
    log_every: int = 100,
    width: int = 128,
    layers: int = 3,
) -> float:
    """Train a base model and save it with its tokenizer; return its running loss in nats per answer token.

    Args:
        out: directory to write.
        steps: optimiser steps of BATCH documents.
        seed: fixes the weights and the documents; the same seed gives the same weights on the same machine.
        minutes: stop early after this long (the run is then not reproducible).
        threads: CPU threads of the run; another number rounds differently.
        recipe: the mixture of documents.
        log_every: steps between progress lines; 0 for silence.
        width: hidden size.
        layers: number of layers.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    tokenizer = build_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(tokenizer, width, layers).train()
    optimizers = Optimizers(model)
    source = batches(documents(seed, recipe), tokenizer, BATCH, torch.Generator().manual_seed(seed))
    begun, begun_cpu, average, done = time.monotonic(), time.process_time(), float("nan"), 0
    for step, (ids_BT, labels_BT) in enumerate(islice(source, steps)):
        if minutes is not None and time.monotonic() - begun > 60 * minutes:
            break
        # Padding is on the right and causal attention never looks ahead, so no attention mask is needed.
        loss = model(input_ids=ids_BT, labels=labels_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(learning_rate(step / steps, step))
        average = loss.item() if math.isnan(average) else 0.97 * average + 0.03 * loss.item()
        done = step + 1
        if log_every and done % log_every == 0:
            print(f"step {done:5d}  loss {average:.4f}  {time.monotonic() - begun:6.1f} s", flush=True)
    torch.set_num_threads(before)
    save(model, tokenizer, out)
    record = {
        "seed": seed,
        "steps": done,
        "batch": BATCH,
        "loss": round(average, 4),
        "vocabulary": len(tokenizer),
        "parameters": model.num_parameters(),
        "threads": threads,
        "cpu_seconds": round(time.process_time() - begun_cpu, 1),
    }
    (Path(out) / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    return average


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: str | Path) -> None:
    """Write the model, its sampling defaults and the tokenizer."""
    from transformers import GenerationConfig

    model.eval()
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=64,
        pad_token_id=PAD_ID,
        eos_token_id=END_ID,
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
