"""What a person sees in the terminal: progress, announcements, result tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from credit.sources import bad_rows, unknown_words

console = Console()
LISTED = 5
"""Bad rows, or right answers that failed, shown at most."""
QUIET_SECONDS = 15.0
"""Without a terminal, one progress line at most this often."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[..., None]]:
    """Show progress: a bar in a terminal, a line now and then in a log file."""
    if console.is_terminal:
        columns = (
            TextColumn("{task.description:18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, TextColumn("{task.fields[text]}"), console=console) as bar:
            task = bar.add_task(title, total=total, text="")

            def show(n: int, text: str = "") -> None:
                bar.update(task, advance=n, text=text or bar.tasks[task].fields["text"])

            yield show
        return
    done, shown, start = 0, 0.0, time.perf_counter()

    def advance(n: int, text: str = "") -> None:
        nonlocal done, shown
        done += n
        now = time.perf_counter()
        if text and now - shown > QUIET_SECONDS:
            shown = now
            print(f"{title}: {done}/{total}  {text}", flush=True)

    yield advance
    print(f"{title}: {done}/{total} in {time.perf_counter() - start:.0f} s", flush=True)


def announce(experiment: Any) -> None:
    """Say what will run, in a few lines, before it does."""
    args, options = experiment.args, experiment.options
    if options.note:
        console.print(f"[bold]note:[/] {options.note}", highlight=False, soft_wrap=True)
    details = []
    if args.effective_lam > 0:
        details += [f"form {args.form}", f"lambda {args.lam:g}", f"C {args.num_negatives}"]
    if args.uses_teacher:
        details += [f"{args.teacher} teacher", args.divergence if args.level == "vocabulary" else "token level"]
    if args.uses_teacher and args.level == "vocabulary":
        details.append(f"head at {args.support_size} tokens" if args.sparse_head else "head over the vocabulary")
    if args.blend != "none":
        details.append(f"blended with GRPO at the {args.blend}, weight {args.blend_weight:g}")
    method = args.method + (f" ({', '.join(details)})" if details else "")
    precision = "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32"
    where = f"{args.device.type}, {precision}"
    console.print(
        f"model {options.model} | data {options.dataset or options.task} | {method} | {where}", highlight=False
    )
    if experiment.tokenizer.chat_template is None:
        console.print("the tokenizer has no chat template: prompts are used as plain text", highlight=False)
    show_unknown_words(experiment.train_rows, experiment.tokenizer)
    show_bad_rows(bad_rows(experiment.task))
    for damage in experiment.run.set_aside:
        rest = "" if experiment.checkpoint else " No other is left: the run begins again."
        console.print(f"[yellow]{damage}{rest}[/]", highlight=False, soft_wrap=True)
    if experiment.checkpoint:
        console.print(f"resuming from {experiment.checkpoint.name}", highlight=False)
    sys.stdout.flush()


def show_unknown_words(rows: list[dict[str, Any]], tokenizer: Any) -> None:
    """Warn where the tokenizer does not know the words of the prompts."""
    if strange := unknown_words(rows, tokenizer):
        console.print(f"[yellow]{escape(strange)}[/]", highlight=False, soft_wrap=True)


def show_bad_rows(problems: list[str]) -> None:
    """Say how many rows were left out, and why the first were."""
    if problems:
        lines = [f"{len(problems)} bad {'row' if len(problems) == 1 else 'rows'} left out:", *problems[:LISTED]]
        more = [f"and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
        console.print("\n  ".join([*lines, *more]), highlight=False, markup=False, soft_wrap=True)


def results_table(result: dict[str, Any]) -> None:
    """Before and after per family, with the paired difference and its 95% interval."""
    settings = result["settings"]
    table = Table(
        title=f"held-out accuracy, {settings['prompts']} prompts, "
        f"avg@{settings['samples']} at T={settings['temperature']:g}",
        caption="differences are paired, with 95% bootstrap intervals over prompts",
    )
    for column in ("family", "prompts", "before", "after", "difference", "greedy"):
        table.add_column(column, justify="left" if column == "family" else "right", no_wrap=True)
    for name in [*result["before"]["sampled"]["families"], None]:
        before, after = (_at(result[when]["sampled"], name) for when in ("before", "after"))
        greedy = [_at(result[when]["greedy"], name)["mean"] for when in ("before", "after")]
        table.add_row(
            name or "overall",
            str(before["n"]),
            f"{before['mean']:.3f}",
            f"{after['mean']:.3f}",
            _interval(_at(result["difference"]["sampled"], name), sign=True),
            f"{greedy[0]:.2f} -> {greedy[1]:.2f}",
            style="bold" if name is None else None,
        )
    console.print(table)
    before, after = (result[when].get("extras", {}) for when in ("before", "after"))
    changes = {
        key: f"{old:.2f} -> {after[key]:.2f}"
        for key, old in before.items()
        if old is not None and after.get(key) is not None
    }
    for kind in ("answer", "generic"):
        credit, tokens = (changes.pop(f"{part}{kind}_tokens", None) for part in ("credit_on_", ""))
        if credit and tokens:
            share = f"{credit} of the credit, {tokens} of the tokens"
            console.print(f"{kind} tokens, first and last credit log: {share}", highlight=False)
    if changes:
        shown = (f"{key.replace('_', ' ')}: {change}" for key, change in changes.items())
        console.print(" | ".join(shown), highlight=False)


def scores_table(summary: dict[str, Any], title: str) -> None:
    """Print the accuracy of one evaluation per family, avg@k and greedy, with intervals."""
    table = Table(title=title, caption="95% bootstrap intervals over prompts")
    for column in ("family", "prompts", "sampled (avg@k)", "greedy"):
        table.add_column(column, justify="left" if column == "family" else "right")
    for name in [*summary["sampled"]["families"], None]:
        sampled, greedy = _at(summary["sampled"], name), _at(summary["greedy"], name)
        table.add_row(
            name or "overall", str(sampled["n"]), _interval(sampled), _interval(greedy),
            style="bold" if name is None else None,
        )  # fmt: skip
    console.print(table)
    for k, value in summary["pass_at"].items():
        console.print(f"pass@{k}: {_interval(value)}", highlight=False)
    if summary["mean_score"]["mean"] != summary["sampled"]["overall"]["mean"]:
        console.print(f"mean score (fractions count): {_interval(summary['mean_score'])}", highlight=False)


def _at(scores: dict[str, Any], family: str | None) -> dict[str, float]:
    return scores["overall"] if family is None else scores["families"][family]


def _interval(value: dict[str, float], sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{value['mean']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"
