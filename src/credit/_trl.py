"""Every private name of TRL this project relies on, and a contract that fails loudly when an upgrade moves one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib.metadata import version

from packaging.version import Version
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import RepeatSampler, get_callable_name, is_async_callable

SUPPORTED = ("1.16", "1.17")

# method -> leading parameters we pass or receive
METHODS = {
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_generate_and_score_completions": ["self", "inputs"],
    "_compute_loss": ["self", "model", "inputs"],
    "_get_per_token_logps_and_entropies": ["self", "model", "input_ids", "attention_mask", "logits_to_keep"],
    "_tokenize_prompts": ["self", "prompts"],
    "_prepare_inputs": ["self", "generation_batch"],
    "_get_train_sampler": ["self", "dataset"],
    "_save_checkpoint": ["self", "model", "trial"],
    "_load_optimizer_and_scheduler": ["self", "checkpoint"],
}
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


def check_version() -> None:
    """Raise unless the installed TRL is the one this code was measured on."""
    installed = Version(version("trl"))
    if not Version(SUPPORTED[0]) <= installed < Version(SUPPORTED[1]):
        raise ImportError(
            f"CREDIT is built on private parts of TRL {SUPPORTED[0]}, but trl {installed} is installed. "
            f"Run: pip install 'trl>={SUPPORTED[0]},<{SUPPORTED[1]}'"
        )


def broken_contract() -> list[str]:
    """Name every private method whose signature is not the one we rely on; empty when all is well."""
    problems = []
    for name, expected in METHODS.items():
        method = getattr(GRPOTrainer, name, None)
        found = list(inspect.signature(method).parameters)[: len(expected)] if method else None
        if found != expected:
            problems.append(f"GRPOTrainer.{name}: expected {expected}, found {found}")
    return problems


__all__ = [
    "GRPOConfig",
    "GRPOTrainer",
    "RepeatSampler",
    "ResumableSampler",
    "broken_contract",
    "check_version",
    "get_callable_name",
    "is_async_callable",
]
