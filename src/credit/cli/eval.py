"""`credit eval`."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from credit.cli.configs import source_of, split_flags
from credit.errors import explained
from credit.sources import (
    SourceOptions,
    bad_rows,
    fit_prompts,
    go_offline_if_embedded,
    json_option,
    load_model,
    load_task,
)


@dataclass
class EvalArguments(SourceOptions):
    """`credit eval`."""

    split: str = field(default="test", metadata={"help": "Rows to evaluate on."})
    max_new_tokens: int = field(
        default=256, metadata={"help": "Longest answer in tokens; of a conversation, all turns and tool outputs."}
    )
    max_tool_calling_iterations: int | None = field(
        default=None,
        metadata={"help": "Turns that may call tools, for tasks with an environment. Default: until max_new_tokens."},
    )
    chat_template_kwargs: str | None = field(
        default=None,
        metadata={"help": "Options of the chat template as JSON, for example '{\"enable_thinking\": false}'."},
    )
    seed: int = field(default=0, metadata={"help": "Seed of the sampler."})
    out: str | None = field(
        default=None, metadata={"help": "Folder for scores.json and answers.jsonl; a killed evaluation goes on."}
    )


def main(argv: list[str]) -> int:
    """Evaluate a model on a task and print avg@k, pass@k and greedy accuracy."""
    argv = split_flags(argv)
    go_offline_if_embedded(source_of(argv))  # before anything imports the hub client, which reads it once
    import torch
    from transformers.utils import logging as hf_logging

    from credit.cli.display import progress, scores_table, show_bad_rows, show_unknown_words
    from credit.cli.parsing import Parser, parse

    parser = Parser([EvalArguments], prog="credit eval")
    parser.usage = "credit eval [--config FILE] [--OPTION VALUE ...]"
    parser.description = main.__doc__
    with explained():
        (options,) = parse(parser, argv)
        from credit.evaluate import equip, evaluate, summarise, write_records
        from credit.sampling import EvalOptions
        from credit.tasks import rows_of

        task = load_task(options)
        show_bad_rows(bad_rows(task))
        rows = rows_of(task, options.split, options.eval_limit)
        if options.dataset and not options.eval_dataset and options.split == "test":
            print(
                f"{len(rows)} rows: the tenth of {options.dataset} that training would hold out. "
                f"For all of them add --eval_dataset {options.dataset}."
            )
        how = EvalOptions(
            samples=options.eval_samples,
            temperature=options.eval_temperature,
            top_p=options.eval_top_p,
            max_new_tokens=options.max_new_tokens,
            seed=options.seed,
            max_tool_calling_iterations=options.max_tool_calling_iterations,
        )
        template_options = json_option("chat_template_kwargs", options.chat_template_kwargs)
        hf_logging.disable_progress_bar()
        model, tokenizer = load_model(options.model)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        equip(task, tokenizer, rows, options.max_tool_calling_iterations)
        fit_prompts(rows, tokenizer)
        device = torch.accelerator.current_accelerator()
        model.to(device if device is not None and torch.accelerator.is_available() else "cpu")
    show_unknown_words(rows, tokenizer)
    partial = Path(options.out) / "partial" if options.out else None
    with progress("evaluate", 2 * len(rows)) as advance:
        records = evaluate(model, tokenizer, task, rows, how, template_options, advance, partial)
    summary = summarise(records)
    scores_table(summary, f"{options.model} on {options.dataset or options.task} ({options.split})")
    if options.out:
        folder = Path(options.out)
        write_records(folder / "answers.jsonl", records)
        content = {"options": asdict(options), **summary}
        (folder / "scores.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder / "partial", ignore_errors=True)
        print(f"written: {folder / 'scores.json'}, {folder / 'answers.jsonl'}")
    return 0
