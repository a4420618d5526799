"""`credit plan`."""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from credit.cli.configs import source_of, split_flags
from credit.errors import UserError, explained
from credit.sources import go_offline_if_embedded, model_path


def main(argv: list[str]) -> int:
    """Estimate memory and time of a training step by component, from counted bytes and operations; loads no weights."""
    parser = argparse.ArgumentParser(
        prog="credit plan",
        description=main.__doc__,
        epilog="All options of credit train are taken, for example --config, --model, --num_negatives. How far it is "
        "from measured steps: docs/scale.md.",
    )
    parser.add_argument("--taught", type=float, default=1.0, help="share of rollouts with a teacher (default: 1)")
    parser.add_argument("--gpus", type=int, default=1, help="devices, each with rollouts of its own (default: 1)")
    parser.add_argument("--sharded", action="store_true", help="FSDP2: they share weights, optimiser, teacher")
    parser.add_argument("--memory_gb", type=float, default=80.0, help="memory of a device (default: 80)")
    parser.add_argument(
        "--tflops", type=float, default=400.0, help="10^12 operations a second it reaches (default: 400)"
    )
    parser.add_argument(
        "--bandwidth_gb", type=float, default=2000.0, help="10^9 bytes it reads a second (default: 2000)"
    )
    parser.add_argument("--prompt_tokens", type=int, default=512, help="of a prompt (default: 512)")
    parser.add_argument(
        "--shown_tokens", type=int, help="what the teacher is shown besides (default: as long as an answer)"
    )
    own, rest = parser.parse_known_args(argv)
    if own.gpus < 1:
        raise UserError(f"--gpus {own.gpus} is no number of devices. Use 1 or more.")
    if own.tflops <= 0 or own.bandwidth_gb <= 0 or not 0 <= own.taught <= 1:
        raise UserError("--tflops and --bandwidth_gb must be above 0, and --taught a share in [0, 1].")
    if own.tflops > 1e6 or own.bandwidth_gb > 1e6:
        raise UserError("--tflops counts in 10^12 operations a second, --bandwidth_gb in 10^9 bytes. Give fewer.")
    rest = split_flags(rest)
    go_offline_if_embedded(source_of(rest))
    from credit.cli.train import parse_options

    options, args = parse_options(rest)
    with explained():
        from transformers import AutoConfig

        from credit.plan import Rates, estimate, shape_of

        try:
            shape = shape_of(AutoConfig.from_pretrained(model_path(options.model)))
        except OSError as error:
            raise UserError(
                f"the configuration of {options.model} is not at hand: the hub was not reached, or does not know it. "
                "Name a folder that holds its config.json: --model FOLDER."
            ) from error
        job = _job(args, own)
        rates = Rates(own.tflops * 1e12, own.bandwidth_gb * 1e9)
        _show(shape, job, estimate(shape, job, rates), own)
    return 0


def _job(args: Any, own: argparse.Namespace) -> Any:
    from credit.batches import batches
    from credit.passes import PASS
    from credit.plan import Job

    if args.max_completion_length is None:
        raise UserError("max_completion_length is not set, and the length of an answer decides most of a step. Set it.")
    b, rule = batches(args, ()), args.rule
    pure = args.level == "vocabulary" and not args.policy_gradient and not rule.needs_entropy
    answer = args.max_completion_length
    shown = answer if own.shown_tokens is None else own.shown_tokens
    views = 0 if args.teacher_scored_by == "server" else b.teacher + b.contrast + b.without_feedback
    rollouts = args.per_device_train_batch_size * args.steps_per_generation
    prompts, micro = max(1.0, rollouts / args.num_generations), args.per_device_train_batch_size
    # Micro-batches are drawn from all rollouts of the batch: so many different prompts are expected in one.
    different = prompts * (1 - (1 - 1 / prompts) ** micro)
    alike, at_once = args.num_generations * own.taught * views, max(micro, PASS / (own.prompt_tokens + shown + answer))
    half = str((args.model_init_kwargs or {}).get("dtype", "float32")) in ("bfloat16", "float16")
    colocated = args.use_vllm and args.vllm_mode == "colocate"
    return Job(
        rollouts=rollouts,
        micro=micro,
        prompt=own.prompt_tokens,
        answer=answer,
        shown=shown,
        views=views,
        teacher=args.teacher,
        support=bool(args.support_size) and args.tail == "renormalise" and pure,
        checkpointing=args.gradient_checkpointing,
        # As credit train loads them: float32 unless told otherwise, and what is sharded in mixed precision is float32.
        weight=2 if half and not (own.sharded and args.bf16) else 4,
        activation=2 if args.bf16 or half else 4,
        shards=own.gpus if own.sharded else 1,
        chunk=args.chunk_tokens,
        taught=own.taught,
        generates=not args.use_vllm,
        reserved=args.vllm_gpu_memory_utilization * own.memory_gb * 2**30 if colocated else 0.0,
        compared=args.use_vllm and args.vllm_importance_sampling_correction,
        share=micro / different if args.share_prefixes else 1.0,
        view_share=max(1.0, min(alike, at_once)) if args.share_prefixes else 1.0,
    )


def _show(shape: Any, job: Any, found: Any, own: argparse.Namespace) -> None:
    from credit.cli.display import console

    gib = 2**30
    unit, size_name = (gib, "GiB") if found.peak >= gib else (2**20, "MiB")
    total = sum(found.seconds.values())
    second, time_name = (1.0, "seconds") if total >= 1 else (1e-3, "milliseconds")
    many, number = (1e9, "billion") if shape.parameters >= 1e9 else (1e6, "million")
    console.print(
        f"{shape.parameters / many:.3g} {number} parameters, {own.gpus} device(s), {job.rollouts} rollouts of "
        f"{job.prompt} + {job.answer} tokens each on one of them",
        highlight=False,
    )
    table = Table("on one device", size_name, title="memory")
    for part in (found.held, found.training, found.generating):
        for name, size in part.items():
            if size:
                table.add_row(name, f"{size / unit:.3g}")
    table.add_section()
    table.add_row("peak (training or generating)", f"{found.peak / unit:.3g}")
    console.print(table)
    table = Table("one step", time_name, "share", title="time")
    for name, seconds in found.seconds.items():
        if not seconds:
            continue
        table.add_row(name, f"{seconds / second:.3g}", f"{seconds / total:.0%}")
    table.add_section()
    table.add_row("all", f"{total / second:.3g}", "")
    console.print(table)
    if not job.generates:
        console.print("rollouts come from vLLM: what they take is not estimated", highlight=False)
    console.print(
        f"assumed: {own.tflops:g} TFlop and {own.bandwidth_gb:g} GB a second (--tflops, --bandwidth_gb), prompts of "
        f"{own.prompt_tokens} tokens (--prompt_tokens)",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    fits = found.peak / gib <= own.memory_gb
    console.print(
        f"{'fits' if fits else 'does not fit'} {own.memory_gb:g} GB, by this estimate"
        + ("" if fits else ": lower per_device_train_batch_size or max_completion_length, or add --gpus and --sharded"),
        highlight=False,
    )
