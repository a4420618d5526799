"""Tiny Qwen3 and Olmo-3 models that read bytes: any text, and Qwen3's own chat template with tools. Nothing fetched."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from trl.chat_template_utils import qwen3_chat_template

from local_models import make_model

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({token: i for i, token in enumerate([*SPECIALS, *alphabet])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<|endoftext|>", eos_token="<|im_end|>", extra_special_tokens=["<|im_start|>"]
    )
    tokenizer.chat_template = qwen3_chat_template
    return tokenizer


def save_byte_model(family: str, folder: Path) -> Path:
    options = {"vocab_size": 256 + len(SPECIALS), "eos_token_id": 2, "max_position_embeddings": 8192}
    make_model(family, **options).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder
