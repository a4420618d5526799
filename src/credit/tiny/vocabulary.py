"""The tokenizer: one word, one token; decoding joins words with single spaces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from credit.context import DEFAULT_TEMPLATE, Messages
from credit.tiny.families import FAMILIES, split_words
from credit.tiny.families.base import LARGEST, WORD
from credit.tiny.task import LEAK_PHRASES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, END = "<|pad|>", "<|unk|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = (PAD, UNKNOWN, END, *ROLES)
PAD_ID, END_ID = SPECIAL.index(PAD), SPECIAL.index(END)

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "<|{{ message['role'] }}|> {{ message['content'] }}<|end|>"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|> {% endif -%}"
)


def vocabulary() -> list[str]:
    """Return all words in a fixed order: special tokens, numbers, then the rest sorted."""
    template = DEFAULT_TEMPLATE.render("", "", "") + DEFAULT_TEMPLATE.render("", "{}", "{}")
    texts = [re.sub(r"[{}]", "", template), "...", *LEAK_PHRASES, "{ }"]
    found = {word for text in texts for word in split_words(text)}
    for family in FAMILIES.values():
        found |= family.words()
    numbers = [str(n) for n in range(LARGEST + 1)]
    return [*SPECIAL, *numbers, *sorted(found - set(numbers) - set(SPECIAL))]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer with its chat template; a turn ends with the end-of-sequence token."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {word: i for i, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD.pattern), behavior="removed", invert=True)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        clean_up_tokenization_spaces=False,
        model_max_length=512,
        padding_side="left",
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def render(tokenizer: PreTrainedTokenizerFast, messages: Messages) -> str:
    """Return a prompt as the text the model reads, ready for its answer."""
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
