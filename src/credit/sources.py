"""Where a command takes its model and its rows from: options shared by commands, and what they stand for."""

from __future__ import annotations

import inspect
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def option(default: Any, help_text: str, choices: list[str] | None = None) -> Any:
    """Return a field whose help text the command line shows."""
    return field(default=default, metadata={"help": help_text, **({"choices": choices} if choices else {})})


@dataclass
class SourceOptions:
    """Which model, and which rows with which grader."""

    model: str = option("tiny", "Folder or hub id of a causal LM; `tiny` is the embedded base model.")
    task: str = option(
        "tiny", "Registered task, or your own as `package.module:Name` (docs/tasks.md); ignored with --dataset."
    )
    dataset: str | None = option(None, "Your rows: .jsonl or .parquet file, or hub id, with `prompt` and `answer`.")
    eval_dataset: str | None = option(None, "Test rows; without it a tenth of the prompts of --dataset is held out.")
    grader: str = option(
        "exact", "How --dataset rows are graded: `exact` match, multiple-`choice`, or `code` that must pass tests."
    )
    task_options: str | None = option(
        None, 'Options of the task as JSON, for example \'{"path": "lcb/", "reward": "fraction"}\'.'
    )
    skip_bad_rows: bool = option(False, "Leave bad rows out, counted and listed, instead of stopping at the first.")
    eval_samples: int = option(4, "k sampled answers per test prompt (avg@k). Default: paper for code; 16 elsewhere.")
    eval_temperature: float = option(0.6, "Sampling temperature of the evaluation. Default: paper.")
    eval_top_p: float = option(0.95, "Nucleus of the evaluation. Default: paper.")
    eval_limit: int | None = option(None, "Evaluate on the first n test rows only.")


def load_task(options: SourceOptions) -> Any:
    """Return the registered task, or one made of the user's rows."""
    from credit.tasks import find_task, get_task
    from credit.tasks.problems import ProblemsTask
    from credit.tasks.rows import RowsTask

    extra = json_option("task_options", options.task_options)
    skip: dict[str, Any] = {"skip_bad_rows": True} if options.skip_bad_rows else {}
    if not options.dataset:
        if options.eval_dataset:
            raise ValueError(
                f"eval_dataset is idle without dataset: task {options.task!r} has its own rows. To evaluate on "
                f"{options.eval_dataset} alone, name it in both --dataset and --eval_dataset."
            )
        if skip and "skip_bad_rows" not in inspect.signature(find_task(options.task)).parameters:
            raise ValueError(f"skip_bad_rows is idle: task {options.task!r} reads no rows that can be bad. Drop it.")
        return get_task(options.task, **extra, **skip)
    if options.grader == "code":
        return ProblemsTask(options.dataset, options.eval_dataset, **extra, **skip)
    if extra:
        raise ValueError(f"task_options are idle with grader={options.grader!r}. Drop them.")
    return RowsTask(options.dataset, options.grader, options.eval_dataset, **skip)


def json_option(name: str, text: str | None) -> dict[str, Any]:
    """Read an option that is a JSON object; nothing given is an empty one."""
    try:
        found = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is not JSON ({error.msg}). Write for example '{{\"seed\": 1}}'.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{name} is a {type(found).__name__}, not an object. Write '{{\"name\": value}}'.")
    return found


def bad_rows(task: Any) -> list[str]:
    """Return what was wrong with the rows a task left out."""
    return getattr(task, "bad_rows", [])


def load_model(name: str, **kwargs: Any) -> tuple[Any, Any]:
    """Load a causal LM and its tokenizer; raise ValueError with the fix when there is none."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = model_path(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path, **{"dtype": "float32", **kwargs})
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"model {name!r} is neither a folder with a causal LM nor a reachable hub id. Check --model. ({first_line})"
        ) from error
    if not tokenizer("a word")["input_ids"]:  # what transformers makes up when there are no files
        raise ValueError(f"model {name!r} has no tokenizer files. Save the tokenizer into the same folder.")
    return model, tokenizer


def fit_prompts(rows: list[dict[str, Any]], tokenizer: Any) -> None:
    """Turn conversations into plain text, in place, for a tokenizer without chat template."""
    if tokenizer.chat_template is None:
        for row in rows:
            if not isinstance(row["prompt"], str):
                row["prompt"] = "\n\n".join(m["content"] for m in row["prompt"])


def unknown_words(rows: list[dict[str, Any]], tokenizer: Any, most: int = 100) -> str | None:
    """Say that a tokenizer knows less than 99% of the words in the prompts of the first rows; None if it does."""
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None:  # it spells what it does not know
        return None
    turns = [turn for row in rows[:most] for turn in _turns(row["prompt"])]
    words = Counter(word for turn in turns for word in turn.split())
    strange = [word for word in words if unknown in tokenizer(word, add_special_tokens=False)["input_ids"]]
    share = sum(words[word] for word in strange) / max(1, words.total())
    if share <= 0.01:
        return None
    examples = ", ".join(repr(word) for word in strange[:3])
    return (
        f"{share:.0%} of the words in the prompts are unknown to the tokenizer (for example {examples}): the model "
        "reads one and the same mark for each of them. Name another --model; `tiny` knows its own world only."
    )


def _turns(prompt: Any) -> list[str]:
    texts = [prompt] if isinstance(prompt, str) else [message.get("content") for message in prompt]
    return [text for text in texts if isinstance(text, str)]


def model_path(name: str) -> str:
    """Resolve `tiny`, and refuse paths that do not exist before the hub is asked for them."""
    if name == "tiny":
        from credit.tiny import BASE_PATH

        return str(BASE_PATH)
    folder = Path(name).expanduser()
    if (folder / "config.yaml").is_file() and not (folder / "config.json").is_file():
        raise ValueError(f"{name} is the folder of a run. Its trained model is {folder / 'model'}.")
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_path and not Path(name).expanduser().is_dir():
        raise ValueError(f"model folder {name} does not exist. Check --model.")
    return str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name


def go_offline_if_embedded(options: SourceOptions) -> None:
    """The embedded world needs no network: say so to the hub client before it is imported."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if options.model == "tiny" and options.task in ("tiny", "tiny-walk") and not options.dataset:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
