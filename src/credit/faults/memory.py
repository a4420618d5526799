"""Out of memory: what counts as that, and which options hold memory in which part of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from credit.errors import MemoryRunError

# torch has an error of its own for accelerators; the CPU's allocator and cuBLAS raise RuntimeError.
_MARKS = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "MPS backend out of memory")
_DURING = {
    "rollouts": "while answers were sampled",
    "grading": "while answers were graded",
    "teachers": "while the teachers read the answers",
    "loss": "in the student's forward or backward pass",
    "update": "in the optimiser's step, or while its state was saved",
    "evaluation": "while the evaluation sampled answers",
}


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory is out, on an accelerator or on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _MARKS)


@contextmanager
def advised(options: Any, phase: Callable[[], str], when: Callable[[], str] = str) -> Iterator[None]:
    """Re-raise running out of memory as `MemoryRunError`, which names the part of the run and the options to lower.

    Args:
        options: with the values now: a `CreditConfig`; for "evaluation" the run's `EvalOptions`.
        phase: -> "rollouts", "grading", "teachers", "loss", "update" or "evaluation"; asked when it has happened.
        when: -> words that come first, such as the step.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        name = phase()
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        lines = [f"{when()}out of memory {_DURING[name]}. Change, in this order:"]
        lines += [f"  - {change}" for change in changes(name, options)]
        lines.append("`credit plan` with the same options estimates memory by component.")
        raise MemoryRunError("\n".join([*lines, f"(said: {said})"])) from error


def changes(phase: str, options: Any) -> list[str]:
    """Return what to change when a phase runs out of memory: what costs least first, with the values now."""
    found = _CHANGES[phase](options)
    return [change for change in found if change]


def _rollouts(args: Any) -> list[str | None]:
    if args.use_vllm:
        here = args.vllm_mode == "colocate"
        return [
            f"vllm_gpu_memory_utilization (now {args.vllm_gpu_memory_utilization:g}): lower it" if here else None,
            "vllm_enable_sleep_mode: true, so that vLLM gives memory back while the model trains"
            if here and not args.vllm_enable_sleep_mode
            else None,
            _completion(args),
            _rows(args),
        ]
    size, steps = args.per_device_train_batch_size, args.steps_per_generation
    return [
        f"steps_per_generation (now {steps}): {steps} x {size} (per_device_train_batch_size) answers are sampled at "
        "once; gradient_accumulation_steps may stay"
        if steps > 1
        else f"per_device_train_batch_size (now {size}): so many answers are sampled at once",
        _completion(args),
        "use_vllm: true, whose keys and values are paged",
    ]


def _grading(args: Any) -> list[str | None]:
    return [
        "the reward functions: what they keep, and how many of them run at once; the trainer holds nothing more here"
    ]


def _teachers(args: Any) -> list[str | None]:
    drawn = args.drawn_negatives
    others = {
        "ema": "a copy of the weights, in float32; live keeps none",
        "frozen": "a copy of the weights; live keeps none",
        "trust_region": "a copy of the weights, and reads every view twice; live keeps none, and reads it once",
    }
    return [
        _rows(args),
        f"num_negatives (now {drawn}): of each, the hidden states of the whole generation batch are kept"
        if drawn > 1
        else None,
        f"max_teacher_prompt_length (now {args.max_teacher_prompt_length})",
        _completion(args),
        f"teacher (now {args.teacher}): it keeps {others[args.teacher]}" if args.teacher in others else None,
    ]


def _loss(args: Any) -> list[str | None]:
    vocabulary = args.uses_teacher and args.level == "vocabulary"
    chunk = args.chunk_tokens or "0, as many as hold 2^24 logits"
    support = args.support_size or "0, the whole vocabulary"
    return [
        None if args.gradient_checkpointing else "gradient_checkpointing (now false): true",
        _rows(args),
        f"chunk_tokens (now {chunk}): a smaller number, at least 1" if vocabulary else None,
        f"support_size (now {support}): top-K, such as 20" if vocabulary and not 0 < args.support_size <= 20 else None,
        _completion(args),
        _precision(args),
    ]


def _update(args: Any) -> list[str | None]:
    return [
        f"optim (now {getattr(args.optim, 'value', args.optim)}): adafactor keeps less",
        f"teacher (now {args.teacher}): live keeps no copy" if args.uses_teacher and args.teacher != "live" else None,
        _precision(args),
        "more accelerators that share weights and optimiser: --launch fsdp2",
    ]


def _evaluation(options: Any) -> list[str | None]:
    return [
        f"eval_samples (now {options.samples}): of {options.batch_size} prompts, so many answers each at once",
        f"max_completion_length (now {options.max_new_tokens})",
    ]


def _rows(args: Any) -> str | None:
    size, steps = args.per_device_train_batch_size, args.gradient_accumulation_steps
    if size == 1:
        return None
    both = "" if args.steps_per_generation == steps else f" and steps_per_generation (now {args.steps_per_generation})"
    return (
        f"per_device_train_batch_size (now {size}); with gradient_accumulation_steps (now {steps}){both} raised by the "
        "same factor, the generation batch stays as it is"
    )


def _completion(args: Any) -> str:
    return f"max_completion_length (now {args.max_completion_length})"


def _precision(args: Any) -> str | None:
    half = str((args.model_init_kwargs or {}).get("dtype", "float32")) in ("bfloat16", "float16")
    return (
        None
        if half
        else 'model_init_kwargs (weights now in float32): {"dtype": "bfloat16"} halves weights and gradients'
    )


_CHANGES: dict[str, Callable[[Any], list[str | None]]] = {
    "rollouts": _rollouts,
    "grading": _grading,
    "teachers": _teachers,
    "loss": _loss,
    "update": _update,
    "evaluation": _evaluation,
}
