"""`credit train`."""

from __future__ import annotations

import os
import sys
import warnings

from credit.cli import interrupted
from credit.cli.configs import asks_for_push, builtin_configs, recall, source_of, split_flags
from credit.errors import UserError, explained
from credit.experiment import Experiment, RunOptions
from credit.sources import go_offline_if_embedded

# What --help shows; all other options are listed by --help-all.
_SECTIONS = {
    "the run": ("output_dir", "preset", "dry_run", "resume", "overwrite", "seed", "note", "launch", "nproc"),
    "model and rows": (
        "model", "model_init_kwargs", "chat_template_kwargs", "task", "task_options", "dataset", "eval_dataset",
        "grader", "skip_bad_rows", "train_limit",
    ),
    "what a token is compared with, and what it earns": (
        "method", "form", "lam", "num_negatives", "level", "divergence", "support_size", "blend", "blend_weight",
    ),
    "the teacher, and what it is shown": (
        "teacher", "ema_rate", "success_threshold", "feedback_when", "demonstration_column",
        "max_teacher_prompt_length",
    ),
    "rollouts and updates (of TRL)": (
        "max_steps", "num_train_epochs", "learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps",
        "num_generations", "max_completion_length", "max_tool_calling_iterations", "temperature", "beta", "use_vllm",
        "bf16", "gradient_checkpointing", "share_prefixes", "torch_threads",
    ),
    "evaluation": (
        "skip_eval", "eval_split", "eval_limit", "eval_samples", "eval_temperature", "eval_top_p",
    ),
    "what is kept": (
        "save_steps", "logging_steps", "credit_log_steps", "report_to", "push_to_hub", "hub_model_id",
        "hub_private_repo",
    ),
}  # fmt: skip


def main(argv: list[str]) -> int:
    """Train, and evaluate before and after."""
    try:
        return _main(argv)
    except UserError as error:
        if not {"--dry_run", "--dry-run"} & set(argv):
            raise
        print(f"credit train: error: {error}", file=sys.stderr)
        return 1


def _main(argv: list[str]) -> int:
    if not argv:
        raise UserError("nothing says what to train. First run: credit train --config quickstart. Options: --help.")
    argv = recall(split_flags(argv))
    source = source_of(argv)
    if not asks_for_push(argv):
        go_offline_if_embedded(source)  # before anything imports the hub client, which reads it once
    from transformers.utils import logging as hf_logging

    from credit.cli.display import announce, progress, results_table, scores_table

    options, args = parse_options(argv)
    from credit.cli.parsing import origins
    from credit.presets import PRESETS

    if options.nproc and not options.launch:
        raise UserError(f"--nproc {options.nproc} does nothing without --launch. Add --launch ddp, or drop it.")
    if "LOCAL_RANK" not in os.environ:
        if args.deepspeed and options.launch != "deepspeed":
            raise UserError("--deepspeed needs processes of its own. Add --launch deepspeed, or use torchrun.")
        if options.launch:
            from credit.cli.launch import launch

            launch(options.launch, options.nproc, argv, bool(args.deepspeed))
    hf_logging.disable_progress_bar()  # one display of progress is enough
    command = ["train", *(a for a in argv if a != "--resume")]
    experiment = Experiment(options, args, command, progress, origins(argv, PRESETS))
    if options.dry_run:
        from credit.cli.dry_run import dry_run

        return dry_run(experiment)
    experiment.prepare()
    if experiment.leads:
        announce(experiment)
    else:
        experiment.progress = None
    try:
        result = experiment.execute()
    except KeyboardInterrupt as stop:
        goes_on = f" Nothing is lost: credit train --resume --output_dir {experiment.run.path} goes on."
        return interrupted(
            "train", stop, goes_on if args.saves != "no" else " Nothing was saved: save_strategy is 'no'."
        )
    if not experiment.leads:
        return 0
    if result and "before" in result:
        results_table(result)
    elif result:
        scores_table(result["after"], f"accuracy after training, {options.eval_split} split")
    print(f"\nreport: {experiment.run / 'report.html'}")
    if (experiment.run / "inspect.html").exists():
        print(f"tokens: {experiment.run / 'inspect.html'}")
    print(f"model:  {experiment.run / 'model'}")
    if args.push_to_hub:
        print(f"sent:   {experiment.push()}")
    return 0


def parse_options(argv: list[str]):
    """Return (RunOptions, CreditConfig) from flags, config and preset."""
    from credit.cli.parsing import Parser, parse

    # Deprecation notices between TRL and transformers are not the user's to mend.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl)\.")
    with explained():
        from credit.config import CreditConfig
        from credit.presets import PRESETS
    parser = Parser([RunOptions, CreditConfig], prog="credit train")
    parser.description = (
        "Train on the embedded world or on rows of your own. Options come from --config "
        f"({', '.join(sorted(builtin_configs()))}, or a YAML file), then --preset, then flags."
    )
    parser.usage = "credit train [--config NAME|FILE] [--preset NAME] [--OPTION VALUE ...]"
    if "--help_all" in argv:
        argv = ["--help"]
    elif {"-h", "--help"} & set(argv):
        parser.arrange(_SECTIONS)
        parser.epilog = "All options: --help-all, and docs/options.md. What a file of options looks like: recipes/."
    parser.set_defaults(output_dir="runs/credit", logging_steps=1)
    with explained():
        options, args = parse(parser, argv, PRESETS)
    return options, args
