"""How prompts, rollouts, micro-batches and optimiser steps add up, from the options alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from credit.contrast import prompt_key


@dataclass(frozen=True)
class Batches:
    """The arithmetic of a run; steps are optimiser steps, lengths are tokens.

    Attributes:
        processes: each holds `per_device` rollouts of a micro-batch.
        prompts, rollouts: of one generation batch, over all processes.
        per_device: rollouts that one process holds at a time.
        micro_batches: forward and backward passes of each process on one generation batch.
        accumulation: micro-batches that make one optimiser step.
        steps_per_batch: optimiser steps on one generation batch; below 1 when several batches make one step.
        batches_per_epoch: generation batches; one that is not full is never made.
        left_out: prompts that an epoch does not reach.
        steps_per_epoch, steps: optimiser steps.
        rollouts_per_step: rollouts whose loss makes one step.
        longest: tokens of a response at most; None for no bound.
        teacher, contrast, without_feedback: forward passes of the teacher for each rollout, without gradient.
        most_others: unrelated inputs a rollout could be given in one generation batch, at most.
        needed: unrelated inputs it is given.
    """

    processes: int
    prompts: int
    rollouts: int
    per_device: int
    micro_batches: int
    accumulation: int
    steps_per_batch: float
    batches_per_epoch: int
    left_out: int
    steps_per_epoch: int
    steps: int
    rollouts_per_step: float
    longest: int | None
    teacher: int
    contrast: int
    without_feedback: int
    most_others: int
    needed: int


def batches(args: Any, prompts: Iterable[Any]) -> Batches:
    """Return the arithmetic of a run with a `CreditConfig` on these training prompts, as TRL's sampler does it."""
    keys = [prompt_key(prompt) for prompt in prompts]
    in_batch = args.generation_batch_size // args.num_generations
    per_epoch = len(keys) // in_batch
    micro = args.steps_per_generation * args.num_iterations
    steps_per_epoch = max(1, math.ceil(per_epoch * micro / args.gradient_accumulation_steps))
    without = args.drawn_negatives if args.form == "feedback_contrast" and args.effective_lam > 0 else 0
    return Batches(
        processes=args.world_size,
        prompts=in_batch,
        rollouts=args.generation_batch_size,
        per_device=args.per_device_train_batch_size,
        micro_batches=micro,
        accumulation=args.gradient_accumulation_steps,
        steps_per_batch=args.steps_per_buffer,
        batches_per_epoch=per_epoch,
        left_out=len(keys) - per_epoch * in_batch,
        steps_per_epoch=steps_per_epoch,
        steps=args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * steps_per_epoch),
        rollouts_per_step=args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps,
        longest=args.max_completion_length,
        teacher=int(args.uses_teacher),
        contrast=args.drawn_negatives,
        without_feedback=without,
        most_others=min(in_batch, len(set(keys))) - 1,
        needed=args.num_negatives if args.effective_lam > 0 else 0,
    )
