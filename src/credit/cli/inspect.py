"""`credit inspect RUN|FILE`."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from credit.cli.configs import split_flags
from credit.errors import UserError, explained
from credit.sources import SourceOptions, load_task, option
from credit.viewer import LIMIT, inspect


@dataclass
class InspectArguments:
    """`credit inspect`."""

    out: str | None = option(None, "The page to write. Default: inspect.html in the run, or FILE.html beside a file.")
    limit: int = option(LIMIT, "Responses on the page: of every file the first ones, in equal shares.")
    task: str | None = option(None, "Registered task that knows answer tokens. Default: the run's.")
    task_options: str | None = option(None, "Options of the task as JSON. Default: the run's.")
    open: bool = option(False, "Open the page in a browser.")


def main(argv: list[str]) -> int:
    """Write the token-credit viewer: what each token of a response earned, what its teacher saw, what it was contrasted
    with. One HTML file, which needs no network.

    TARGET is the folder of a run (its token credit is read), or a .parquet or .jsonl file with token credit, as
    `credit diagnose FILE --model M --out DIR` writes it.
    """
    from credit.cli.display import console, progress
    from credit.cli.parsing import Parser, parse
    from credit.diagnostics.run import is_run, settings_of

    argv = split_flags(argv)
    asked = not argv or "--help" in argv or "-h" in argv
    if not asked and argv[0].startswith("-"):
        raise UserError("name a run or a file first: credit inspect RUN|FILE [--OPTION VALUE ...]")
    parser = Parser([InspectArguments], prog="credit inspect")
    parser.usage = "credit inspect RUN|FILE [--OPTION VALUE ...]"
    parser.description = " ".join((main.__doc__ or "").split())
    with explained():
        (options,) = parse(parser, ["--help"] if asked else argv[1:])
        if options.limit < 1:
            raise ValueError(f"--limit {options.limit} leaves nothing. Use at least 1.")
        target = Path(argv[0])
        settings = settings_of(target) if is_run(target) else {}
        task, unknown = _task(settings, options)
        out = None if options.out is None else Path(options.out)
        path, found, problems = inspect(target, out, options.limit, settings, task, progress)
    counts = found["counts"]
    console.print(f"{counts['responses']} responses, {counts.get('measured', 0)} with credit", highlight=False)
    for name in ("auroc_boilerplate_S", "auroc_answer_S"):
        if found["summary"][name] is not None:
            console.print(f"{name.replace('_', ' ')}: {found['summary'][name]['mean']:.3f}", highlight=False)
    for sentence in [*unknown, *problems[:5], *([f"{len(problems) - 5} more like these."] if problems[5:] else [])]:
        console.print(f"- {sentence}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"page: {path} ({path.stat().st_size / 2**20:.1f} MiB)", highlight=False, soft_wrap=True)
    if options.open:
        webbrowser.open(path.resolve().as_uri())
    return 0


def _task(settings: dict[str, Any], options: InspectArguments) -> tuple[Any, list[str]]:
    """Return what knows the answer tokens, and why nobody does if the run's own task is out of reach."""
    names = {f.name for f in fields(SourceOptions)}
    source = SourceOptions(**{name: value for name, value in settings.items() if name in names})
    if options.task is not None:
        source.task, source.dataset, source.task_options = options.task, None, options.task_options
        return load_task(source), []
    if not settings:
        return None, []
    if options.task_options is not None:
        source.task_options = options.task_options
    try:
        return load_task(source), []
    except (ValueError, OSError, ImportError) as error:
        return None, [f"Answer tokens are not marked, since the run's task cannot be loaded: {error}"]
