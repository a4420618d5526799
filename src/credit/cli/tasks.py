"""`credit tasks list|show NAME|validate [NAME]`."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from credit.cli.configs import split_flags, take
from credit.errors import UserError, explained
from credit.sources import SourceOptions, bad_rows, load_task, option


@dataclass
class ValidateArguments:
    """`credit tasks validate`."""

    dataset: str | None = option(None, "Rows of your own instead of a named task.")
    eval_dataset: str | None = option(None, "Test rows that go with --dataset.")
    grader: str = option("exact", "Grader of --dataset rows: `exact`, `choice` or `code`.")
    task_options: str | None = option(None, "Options of the task as JSON, as in `credit train`.")
    skip_bad_rows: bool = option(False, "Leave bad rows out, counted and listed, instead of stopping at the first.")
    split: str | None = option(None, "Rows of this split only. Default: train and test.")
    limit: int | None = option(None, "The first n rows of a split only.")


def main(argv: list[str]) -> int:
    """List tasks, show one, or validate one: each row's own right answer must get the full score."""
    action, name, flags = _words(argv)
    if action == "list":
        return _list()
    if action == "show" and name:
        return _show(name)
    if action == "validate" or "--help" in flags:
        return _validate(name, flags)
    raise UserError("write: credit tasks list | show NAME | validate NAME [--OPTION VALUE ...]")


def _words(argv: list[str]) -> tuple[str | None, str | None, list[str]]:
    argv = split_flags(["--help" if arg == "-h" else arg for arg in argv])
    action = argv[0] if argv and not argv[0].startswith("-") else None
    rest = argv[1:] if action else argv
    if "--task" in rest:  # as the other commands name it
        name, rest = take(rest, "--task")
        return action, name, rest
    name = rest[0] if rest and not rest[0].startswith("-") else None
    return action, name, rest[1:] if name else rest


def _list() -> int:
    from credit.tasks import TASKS, find_task

    for name in TASKS:
        print(f"{name:14} {_summary(find_task(name))}")
    print("yours          --task package.module:Name, or --dataset rows.jsonl --grader exact|choice|code")
    return 0


def _show(name: str) -> int:
    from credit.tasks import find_task
    from credit.tasks.environments import tools_of

    with explained():
        task = find_task(name)
        environment = getattr(task, "environment", None)
        tools = None if environment is None else ", ".join(tools_of(environment()))
    print(f"{name}: {inspect.getdoc(task) or 'not described'}\n\noptions (--task_options, as JSON):")
    for parameter in inspect.signature(task).parameters.values():
        print(f"  {parameter.name} = {'required' if parameter.default is parameter.empty else repr(parameter.default)}")
    known = hasattr(task, "gold") or hasattr(task, "gold_calls")
    print(f"knows right answers: {'yes' if known else 'no'}")
    if tools is not None:
        print(f"holds conversations; tools: {tools}")
    return 0


def _summary(task: object) -> str:
    return (inspect.getdoc(task) or "").partition("\n")[0]


def _validate(name: str | None, flags: list[str]) -> int:
    from credit.cli.display import LISTED, show_bad_rows
    from credit.cli.parsing import Parser, parse
    from credit.tasks import rows_of, validate

    parser = Parser([ValidateArguments], prog="credit tasks")
    parser.usage = "credit tasks list | show NAME | validate NAME [--OPTION VALUE ...]"
    parser.description = main.__doc__
    with explained():
        (options,) = parse(parser, flags)
        if (name or "rows") not in ("rows", "code") if options.dataset else name is None:
            raise ValueError("name a task, or pass rows with --dataset: one of the two.")
        shared = ("dataset", "eval_dataset", "grader", "task_options", "skip_bad_rows")
        source = SourceOptions(task=name or "", **{name: getattr(options, name) for name in shared})
        source.grader = "code" if name == "code" else source.grader
        task = load_task(source)
        show_bad_rows(bad_rows(task))
        splits = [options.split] if options.split else ["train", "test"]
        rows = {split: rows_of(task, split, options.limit) for split in splits}
    results = {split: validate(task, found) for split, found in rows.items()}
    for split, result in results.items():
        graded = result.rows - result.without_gold
        absent = f"; {result.without_gold} rows have none" if result.without_gold else ""
        print(f"{task.name} {split}: {result.passed} of {graded} right answers get the full score{absent}")
        for row, why in result.failures[:LISTED]:
            print(f"  {row}: {' '.join(why.split())}")
        if len(result.failures) > LISTED:
            print(f"  and {len(result.failures) - LISTED} more")
    if all(result.rows == result.without_gold for result in results.values()):
        print("nothing was validated: no row has a right answer to grade")
        return 1
    return 1 if any(result.failures for result in results.values()) else 0
