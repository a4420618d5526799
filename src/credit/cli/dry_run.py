"""`credit train --dry-run`: everything a start would complain about that needs no weights, and the arithmetic."""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

from credit.batches import Batches, batches
from credit.cli.display import LISTED, show_bad_rows, show_unknown_words
from credit.errors import explained
from credit.experiment import Experiment
from credit.report.options import tables
from credit.server import rollouts_by
from credit.sources import bad_rows, fit_prompts, model_path
from credit.tasks import validate

VALIDATED = 8
"""Rows of each split whose own right answer is graded."""
SHOWN = 400
"""Characters of the first prompt."""


def dry_run(experiment: Experiment) -> int:
    """Check and print; return 0 when a start would get as far as loading the weights, else 1.

    Raises:
        UserError: what a start would raise.
    """
    with explained():
        experiment.check()
        if not experiment.leads:
            return 0
        with experiment.alone():
            model_lines = _model(experiment)
    print("options that are set")
    for _, options in tables(experiment.resolved, experiment.origins or {}):
        for option in options:
            if option.set_by != "default" and option.name != "output_dir":
                print(f"  {option.name} = {option.value}  ({option.set_by})")
    print("\nrows")
    show_bad_rows(bad_rows(experiment.task))
    show_unknown_words(experiment.train_rows, _tokenizer(experiment.options.model))
    failures = _rows(experiment)
    print("\nbatches")
    for line in words(batches(experiment.args, (row["prompt"] for row in experiment.train_rows))):
        print(f"  {line}")
    if (source := rollouts_by(experiment.args, experiment.options.model)) is not None:
        print(f"  rollouts come from {source}")
    print("\nmodel")
    for line in model_lines:
        print(f"  {line}")
    for failure in failures:
        print(f"credit train: error: {failure}", file=sys.stderr)
    print(f"\ndry run: {'not fine' if failures else 'fine'}; no weights were loaded, nothing was written")
    return 1 if failures else 0


def words(b: Batches) -> list[str]:
    """Say the arithmetic in lines."""
    if b.steps_per_batch >= 1:
        moved = f"{b.steps_per_batch:g} optimiser {'step' if b.steps_per_batch == 1 else 'steps'} a generation batch"
    else:
        moved = f"{1 / b.steps_per_batch:g} generation batches an optimiser step"
    scored = [
        f"{n} {name}"
        for n, name in ((b.teacher, "teacher"), (b.contrast, "contrast"), (b.without_feedback, "without feedback"))
        if n
    ]
    passes = sum((b.teacher, b.contrast, b.without_feedback))
    tokens = "no bound" if b.longest is None else f"{b.rollouts_per_step * b.longest:,}"
    return [
        f"{b.processes} process: {b.prompts} prompts x {b.rollouts // b.prompts} rollouts = {b.rollouts} rollouts a "
        "generation batch",
        f"{b.micro_batches} micro-batches of {b.per_device} rollouts on each process, accumulation {b.accumulation}: "
        f"{moved}",
        f"{b.rollouts_per_step:g} rollouts an optimiser step, response tokens of a step at most: {tokens}",
        f"{b.batches_per_epoch} generation batches an epoch ({b.left_out} prompts of each epoch left out, since a "
        f"batch must be full): {b.steps_per_epoch} optimiser steps an epoch, {b.steps} in all",
        f"forward passes of the teacher: {' + '.join(scored)} for each rollout, {passes * b.rollouts} a generation "
        f"batch, {passes * b.rollouts / b.steps_per_batch:g} an optimiser step"
        if scored
        else "forward passes of the teacher: none",
        f"unrelated inputs: {b.needed} for each rollout, of at most {b.most_others} in its generation batch"
        if b.needed
        else "unrelated inputs: none are drawn",
    ]


def _rows(experiment: Experiment) -> list[str]:
    """Print columns, counts and a row of each split; return why right answers failed."""
    failures = []
    for split, rows in (("train", experiment.train_rows), (experiment.options.eval_split, experiment.test_rows)):
        if not rows:
            print(f"  {split}: no rows are read (skip_eval)")
            continue
        found = validate(experiment.task, rows[:VALIDATED])
        graded = found.rows - found.without_gold
        checked = f"{found.passed} of {graded} right answers get the full score" if graded else "no right answers known"
        print(f"  {split}: {len(rows)} rows; of the first {found.rows}: {checked}; columns: {', '.join(rows[0])}")
        failures += [f"{split}, {name}: {' '.join(why.split())}" for name, why in found.failures[:LISTED]]
    prompt = experiment.train_rows[0]["prompt"]
    text = prompt if isinstance(prompt, str) else " | ".join(f"{m['role']}: {m['content']}" for m in prompt)
    text = " ".join(text.split())
    print(f"  first row: {text[:SHOWN]}{'...' if len(text) > SHOWN else ''}")
    return failures


def _model(experiment: Experiment) -> list[str]:
    """Look at what of the model is on this machine: configuration, tokenizer; never its weights, never the hub."""
    from credit.evaluate import equip
    from credit.tasks.environments import has_environment

    name, args = experiment.options.model, experiment.args
    tokenizer, shape = _tokenizer(name), _shape(name, args)
    rows = experiment.train_rows + experiment.test_rows
    if tokenizer is not None or not has_environment(experiment.task):
        equip(experiment.task, tokenizer, rows, args.max_tool_calling_iterations)
    lines = [f"{name}: {shape or 'not checked: configuration not at hand'}"]
    if tokenizer is None:
        return [*lines, "prompt lengths: not checked: tokenizer not at hand"]
    from credit.sampling import prompt_ids

    options = dict(args.chat_template_kwargs or {})
    prompts = [{"prompt": row["prompt"]} for row in rows]
    fit_prompts(prompts, tokenizer)
    lengths = [len(prompt_ids(tokenizer, row["prompt"], options)) for row in prompts]
    tools = ", tools not counted" if has_environment(experiment.task) else ""
    return [*lines, f"prompt lengths: median {median(lengths):g}, longest {max(lengths)} tokens{tools}"]


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model_path(name), local_files_only=True)
        return tokenizer if tokenizer("a word")["input_ids"] else None
    except (OSError, ValueError):
        return None


def _shape(name: str, args: Any) -> str | None:
    """Build the model without weights and refuse what a start would refuse of its shape; None when it is not here."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from credit.startup import refuse_model

    try:
        config = AutoConfig.from_pretrained(model_path(name), local_files_only=True, **(args.model_init_kwargs or {}))
    except (OSError, ValueError):
        return None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    if args.uses_teacher:
        refuse_model(args, model)
    return f"{sum(p.numel() for p in model.parameters()) / 1e9:.3g} billion parameters, weights not loaded"
