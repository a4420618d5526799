"""Every private name of TRL this project relies on, and a contract that fails loudly when an upgrade moves one."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from packaging.version import Version
from trl import chat_template_utils
from trl.chat_template_utils import (
    add_response_schema,
    get_training_chat_template,
    is_chat_template_prefix_preserving,
    parse_response,
    supports_tool_calling,
)
from trl.generation.vllm_client import VLLMClient
from trl.import_utils import is_vllm_available
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import RepeatSampler, add_fused_lm_head, get_callable_name, is_async_callable

SUPPORTED = ("1.16", "1.17")

# method -> leading parameters we pass or receive
METHODS = {
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_generate_and_score_completions": ["self", "inputs"],
    "compute_loss": ["self", "model", "inputs"],
    "_get_grad_norm": ["self", "model", "grad_norm"],
    "_compute_loss": ["self", "model", "inputs"],
    "_get_per_token_logps_and_entropies": ["self", "model", "input_ids", "attention_mask", "logits_to_keep"],
    "_tokenize_prompts": ["self", "prompts"],
    "_prepare_inputs": ["self", "generation_batch"],
    "_get_train_sampler": ["self", "dataset"],
    "_save_checkpoint": ["self", "model", "trial"],
    "_load_optimizer_and_scheduler": ["self", "checkpoint"],
    "_load_from_checkpoint": ["self", "resume_from_checkpoint", "model"],
    "_issue_warnings_after_load": ["self", "load_result"],
    "_get_tool_suffix_ids": ["self", "tool_messages"],
    "_tool_call_loop": [
        "self",
        "prompts",
        "prompt_ids",
        "completion_ids",
        "completions",
        "logprobs",
        "images",
        "multimodal_fields",
    ],
}
# function of trl.chat_template_utils -> leading parameters we pass
FUNCTIONS = {
    "add_response_schema": ["processing_class"],
    "get_training_chat_template": ["processing_class"],
    "is_chat_template_prefix_preserving": ["processing_class"],
    "parse_response": ["tokenizer", "ids", "prefix", "tools"],
    "supports_tool_calling": ["processing_class"],
}
# method of VLLMClient -> leading parameters we pass
CLIENT = {"get_sequence_logprobs": ["self", "sequences", "prompt_lengths", "top_logprobs"]}
# attributes read on a live trainer
ATTRIBUTES = (
    "_metrics",
    "_tokenizer",
    "_is_vlm",
    "_step",
    "reward_weights",
    "environments",
    "aux_loss_enabled",
    "num_generations",
    "current_gradient_accumulation_steps",
)


class ResumableSampler(RepeatSampler):
    """TRL's sampler, with an order that depends on the epoch alone.

    TRL's own draws each epoch's order from a generator that a resumed run finds at its start: after a resume in the
    second epoch or later, prompts come in another order. Epoch 0 is the same as TRL's.

    Args:
        original: the sampler TRL built.
        epoch: the epoch now starting.
    """

    def __init__(self, original: RepeatSampler, epoch: Callable[[], int]):
        self.__dict__.update(original.__dict__)
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + self._epoch())
        return super().__iter__()


class ToolLoop:
    """TRL's turns and tools without its trainer, so that an evaluation holds the conversations that training holds.

    An object with what `GRPOTrainer._tool_call_loop` reads on a trainer, and nothing else.

    Args:
        config: of the model.
        tokenizer: with a chat template that can write tool calls, and a response template.
        tools: as they are described to the model.
        generate: prompts in token ids -> the model's turns in token ids, end token included.
        max_completion_length: tokens of all turns and tool outputs of one response together.
        max_tool_calling_iterations: turns that may call tools; None for no bound but the length.
        template_options: of the chat template.
    """

    _tool_call_loop = GRPOTrainer._tool_call_loop
    _get_tool_suffix_ids = GRPOTrainer._get_tool_suffix_ids
    use_vllm, _is_vlm, environment_factories = False, False, None

    def __init__(
        self, config: Any, tokenizer: Any, tools: list[Any], generate: Callable[[list[list[int]]], list[list[int]]],
        max_completion_length: int, max_tool_calling_iterations: int | None, template_options: Mapping[str, Any],
    ):  # fmt: skip
        self.model = SimpleNamespace(config=config)
        self.processing_class = self._tokenizer = tokenizer
        self.tools, self._turns = tools, generate
        self.max_completion_length = max_completion_length
        self.max_tool_calling_iterations = max_tool_calling_iterations or sys.maxsize
        self.chat_template_kwargs = dict(template_options)
        keeps_prefixes = is_chat_template_prefix_preserving(tokenizer)
        self.chat_template = None if keeps_prefixes else get_training_chat_template(tokenizer)

    def tokenize(self, prompts: list[Any]) -> list[list[int]]:
        """Return prompts as the model reads them, tools described."""
        return self.processing_class.apply_chat_template(
            prompts, tools=self.tools, chat_template=self.chat_template, add_generation_prompt=True, tokenize=True,
            return_dict=True, **self.chat_template_kwargs,
        )["input_ids"]  # fmt: skip

    def run(self, prompts: list[Any], tools: list[dict[str, Callable[..., Any]]]) -> list[list[dict[str, Any]]]:
        """Return one response per prompt, turns and tool outputs as messages; each calls its own functions."""
        self._sync_tool_dicts, self._async_tool_dicts = tools, [{} for _ in tools]
        prompts = [list(prompt) for prompt in prompts]  # the loop appends to them
        prompt_ids = self.tokenize(prompts)
        turns = self._turns(prompt_ids)
        first = [
            [parse_response(self._tokenizer, ids, prefix=prefix, tools=self.tools)]
            for ids, prefix in zip(turns, prompt_ids, strict=True)
        ]
        loop: Any = self._tool_call_loop
        return loop(prompts, prompt_ids, turns, first, None, None, {})[1]

    def _generate_single_turn(self, prompt_ids: list[list[int]], *unused: Any, **more: Any) -> tuple[Any, None]:
        return self._turns(prompt_ids), None


def check_version() -> None:
    """Raise unless the installed TRL is the one this code was measured on."""
    installed = Version(version("trl"))
    if not Version(SUPPORTED[0]) <= installed < Version(SUPPORTED[1]):
        raise ImportError(
            f"CREDIT is built on private parts of TRL {SUPPORTED[0]}, but trl {installed} is installed. "
            f"Run: pip install 'trl>={SUPPORTED[0]},<{SUPPORTED[1]}'"
        )


def broken_contract() -> list[str]:
    """Name every method and function whose signature is not the one we rely on; empty when all is well."""
    problems = []
    owners = ((GRPOTrainer, METHODS), (chat_template_utils, FUNCTIONS), (VLLMClient, CLIENT))
    for owner, wanted in owners:
        for name, expected in wanted.items():
            function = getattr(owner, name, None)
            found = list(inspect.signature(function).parameters)[: len(expected)] if function else None
            if found != expected:
                problems.append(f"{owner.__name__}.{name}: expected {expected}, found {found}")
    return problems


__all__ = [
    "GRPOConfig",
    "GRPOTrainer",
    "RepeatSampler",
    "ResumableSampler",
    "ToolLoop",
    "VLLMClient",
    "add_fused_lm_head",
    "add_response_schema",
    "broken_contract",
    "check_version",
    "get_callable_name",
    "is_async_callable",
    "is_vllm_available",
    "supports_tool_calling",
]
