"""`credit diagnose RUN|FILE`."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any

from credit.cli.configs import source_of, split_flags, take
from credit.errors import UserError, explained
from credit.sources import SourceOptions, go_offline_if_embedded, load_model, load_task, option


@dataclass
class DiagnoseArguments:
    """`credit diagnose`."""

    model: str | None = option(
        None, "Score the rollouts again with this causal LM. Default: recorded credit; a run's own model for choices."
    )
    teacher_model: str | None = option(None, "Weights of the teacher. Default: a run's teacher, else the student's.")
    task: str | None = option(None, "Registered task that knows answer tokens and options. Default: the run's.")
    dataset: str | None = option(None, "Rows of your own that the rollouts answer. Default: the run's.")
    grader: str = option("exact", "Grader of --dataset rows.")
    task_options: str | None = option(
        None, "Options of the task as JSON, as in `credit train`. Default: the run's, for the run's own task."
    )
    skip_bad_rows: bool = option(False, "Leave bad rows of the task out instead of stopping at the first.")
    limit: int | None = option(None, "Take the first n rollouts of every file only.")
    recorded: bool = option(False, "Read files only; load no model.")
    out: str | None = option(None, "Folder for diagnostics.json, diagnostics.html and tokens.parquet.")
    json: bool = option(False, "Print the content of diagnostics.json instead of tables.")


def main(argv: list[str]) -> int:
    """Measure what the reward pays for: pMI, S, G and R of responses, where credit goes, and what the analysis assumes.

    TARGET is the folder of a run (its token credit is read), or a .parquet or .jsonl file of rollouts with `prompt`,
    `completion` and, where known, `token_ids`, `score`, `feedback`, `solution`, `options`.
    """
    argv = split_flags(argv)
    asked = not argv or "--help" in argv or "-h" in argv
    if not asked and argv[0].startswith("-"):
        raise UserError("name a run or a file of rollouts first: credit diagnose RUN|FILE [--OPTION VALUE ...]")
    target = Path("" if asked else argv[0])
    if take(argv, "--model")[0] == "tiny":  # any other model, and the rows of a run, may come from the hub
        go_offline_if_embedded(source_of(argv))
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl)\.")
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()  # one display of progress is enough
    with explained():
        settings, options, method = _options(target, ["--help"] if asked else argv[1:])
        result = _diagnose(target, settings, options, method)
    page = None
    if options.out:
        from credit.diagnostics.choices import MEANING as CHOICES
        from credit.diagnostics.summary import MEANING
        from credit.report.diagnosis_page import write_diagnosis

        with explained():
            page = write_diagnosis(Path(options.out), result, {**MEANING, **CHOICES})
    if options.json:
        print(json.dumps(result, indent=2))
        return 0
    from credit.cli.diagnosis import show_diagnosis

    show_diagnosis(result)
    if page:
        print(f"page: {page}")
    return 0


def _options(target: Path, argv: list[str]) -> tuple[dict[str, Any], DiagnoseArguments, Any]:
    from credit.cli.parsing import Parser, parse
    from credit.config import CreditConfig
    from credit.diagnostics.run import is_run, settings_of
    from credit.diagnostics.scoring import ScoreOptions

    own = {f.name: f for f in fields(CreditConfig)}
    scored = [
        (f.name, own[f.name].type, field(default=own[f.name].default, metadata=dict(own[f.name].metadata)))
        for f in fields(ScoreOptions)
    ]
    parser = Parser([DiagnoseArguments, make_dataclass("MethodOptions", scored)], prog="credit diagnose")
    parser.usage = "credit diagnose RUN|FILE [--model M] [--OPTION VALUE ...]"
    parser.description = (
        f"{' '.join((main.__doc__ or '').split())} Options of the method are used when rollouts are scored "
        "again; those of a run come from its config.yaml unless given."
    )
    settings = settings_of(target) if is_run(target) else {}
    parser.set_defaults(**{name: settings[name] for name, *_ in scored if name in settings})
    options, method = parse(parser, argv)
    idle = [name for name, *_ in scored if f"--{name}" in argv and name != "success_threshold"]
    if idle and options.model is None:
        raise ValueError(f"--{idle[0]} changes nothing about recorded credit. Add --model M to score it again.")
    return settings, options, ScoreOptions.of(vars(method))


def _diagnose(target: Path, settings: dict[str, Any], options: DiagnoseArguments, method: Any) -> dict[str, Any]:
    from credit.diagnostics import Rollouts, diagnose, read_credit_of_run, read_rollouts

    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit {options.limit} leaves nothing. Use at least 1.")
    if options.teacher_model and not (options.model or settings):
        raise ValueError("--teacher_model needs --model: recorded credit has its teacher in it.")
    files = read_credit_of_run(target) if settings else [read_rollouts(target)]
    for file in files:
        file.rows = file.rows[: options.limit]
        file.places = None if file.places is None else file.places[: options.limit]
    task = _task(settings, options)
    notes: list[str] = []
    if options.model is None and not files[0].scored:
        raise ValueError(
            f"{files[0].name} holds no token credit (columns r and R). Name a model to score its rollouts: --model M."
        )
    models = _models(target, settings, options, notes)
    template_options = _template_options(settings, task, models)
    if options.model is not None:
        _grade(files[-1], task, notes)
        files = [_scored(files[-1], models, template_options, method, options.json)]
        notes.append(f"{files[0].name} was scored again with {options.model}.")
    parts = [diagnose(file, task, method.success_threshold) for file in files]
    everything = Rollouts.joined(target.name, files)
    whole = diagnose(everything, task, method.success_threshold)
    result = {
        "target": str(target),
        "files": [{"file": f.name, **p} for f, p in zip(files, parts, strict=True)],
        "all": {name: whole[name] for name in ("counts", "summary")},
        "compatibility": _compatibility(everything, models, template_options, method, task),
        "notes": notes,
    }
    if options.out and options.model is not None:
        from credit.credit_log import write_token_credit

        write_token_credit(Path(options.out) / "tokens.parquet", files[-1].rows)
    return _finite(result)


def _task(settings: dict[str, Any], options: DiagnoseArguments) -> Any:
    given = {name: value for name in ("task_options", "skip_bad_rows") if (value := getattr(options, name))}
    if options.task or options.dataset:
        source = SourceOptions(dataset=options.dataset, grader=options.grader, **given)
        source.task = options.task or source.task
    elif settings:
        names = {f.name for f in fields(SourceOptions)}
        source = SourceOptions(**{name: value for name, value in {**settings, **given}.items() if name in names})
    elif given:
        raise ValueError(f"--{next(iter(given))} is idle: no task reads it. Add --task or --dataset.")
    else:
        return None
    return load_task(source)


def _template_options(settings: dict[str, Any], task: Any, models: Any) -> dict[str, Any]:
    """Return options of the chat template: a run's own, and the tools of a task that holds conversations."""
    from credit.tasks.environments import has_environment

    own = dict(settings.get("chat_template_kwargs") or {})
    if models is None or not has_environment(task):
        return own
    from credit.conversations import described_tools

    return {**own, **described_tools(task, models[1])}


def _grade(file: Any, task: Any, notes: list[str]) -> None:
    """Let the task say what the file does not: a score and feedback for every rollout of one of its rows."""
    from credit.contrast import prompt_key
    from credit.diagnostics.marks import rows_by_prompt
    from credit.tasks.environments import has_environment

    if task is None or has_environment(task) or any(row.get("feedback") or row.get("solution") for row in file.rows):
        return
    rows, graded = rows_by_prompt(task), 0
    for rollout in file.rows:
        row = rows.get(prompt_key(rollout["prompt"]))
        if row is not None:
            grade = task.grade(row, rollout["completion"])
            rollout["score"], rollout["feedback"] = grade.score, grade.feedback
            graded += 1
    notes.append(f"{graded} of {len(file.rows)} rollouts were graded by the task, for scores and feedback.")


def _models(target: Path, settings: dict[str, Any], options: DiagnoseArguments, notes: list[str]) -> Any:
    """Return (student, tokenizer, teacher or None), or None when no model is to be loaded."""
    from credit.diagnostics.run import teacher_of

    if options.recorded:
        if options.model:
            raise ValueError("--recorded loads no model, --model asks for one. Drop one of them.")
        return None
    own = target / "model"
    name = options.model or (str(own) if settings and own.is_dir() else None)
    if name is None:
        if settings:
            notes.append("The run holds no trained model yet: the posterior-compatibility gap is not measured.")
        return None
    student, tokenizer = load_model(name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    teacher, said = None, "the student's own weights teach"
    if options.teacher_model:
        teacher, said = load_model(options.teacher_model)[0], f"teacher weights: {options.teacher_model}"
    elif settings and options.model is None:
        teacher, said = teacher_of(target, student)
    notes.append(f"Student: {name}; {said}.")
    return student, tokenizer, teacher


def _scored(file: Any, models: Any, template_options: dict[str, Any], method: Any, quiet: bool) -> Any:
    from credit.cli.display import progress
    from credit.diagnostics.scoring import score_rollouts

    student, tokenizer, teacher = models
    if quiet:
        return score_rollouts(student, tokenizer, file, method, teacher, template_options=template_options)
    with progress("score", len(file.rows)) as advance:
        return score_rollouts(
            student, tokenizer, file, method, teacher, template_options=template_options, progress=advance
        )


def _compatibility(
    file: Any, models: Any, template_options: dict[str, Any], method: Any, task: Any
) -> dict[str, Any] | None:
    from credit.contrast import prompt_key
    from credit.diagnostics.choices import compatibility
    from credit.diagnostics.marks import rows_by_prompt

    if models is None:
        return None
    rows = rows_by_prompt(task) if hasattr(task, "choices") else {}

    def choices_of(rollout: Any) -> Any:
        if rollout.get("options"):
            return rollout["options"], None
        row = rows.get(prompt_key(rollout["prompt"]))
        return None if row is None else task.choices(row, rollout["completion"])

    student, tokenizer, teacher = models
    return compatibility(
        student, tokenizer, file, choices_of, teacher,
        template_options=template_options, temperature=method.temperature,
    )  # fmt: skip


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is no number becomes null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value != value else value
