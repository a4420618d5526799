"""The model card of a run, from its files alone: what was done, what was measured, what it is not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.utils import HFValidationError, validate_repo_id

from credit.methods import METHODS
from credit.report.options import as_config
from credit.report.ran import what_was_run
from credit.report.text import lookup, number, show, visible
from credit.report.verdict import KINDS, Estimate, interval_label, rows
from credit.sharing.citations import bibtex
from credit.sharing.redact import redacted
from credit.versions import PACKAGE, project_url

NOT_MEASURED = "Not measured: this run holds no evaluation, so this card makes no claim about accuracy."


def model_card(
    options: Mapping[str, Any],
    record: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    name: str,
    library: str = "transformers",
    tags: Iterable[str] = (),
) -> ModelCard:
    """Return the card: YAML front matter for the hub, then Markdown.

    Nothing in it comes from anywhere but the arguments and the texts of this package. Credentials and paths of the
    machine are left out.

    Args:
        options: `config.yaml`, or the options of a `CreditConfig`.
        record: `run.json`, or what is known of it: `model`, `dataset`, `local`, `seed`, `steps`, `versions`.
        evaluation: `eval.json`; empty when nothing was measured.
        name: of the model.
        library: which one loads it, `transformers` or `peft`.
        tags: besides those of the method.
    """
    config, run = redacted(dict(options)), redacted(dict(record))
    parts = [
        f"# {visible(name)}",
        _first_sentences(config, run),
        "## What was run\n\n" + "\n".join(f"- **{label}**: {_line(text)}" for label, text in _facts(config, run)),
        "## Accuracy\n\n" + _accuracy(evaluation),
        "## Reproduce\n\n" + _reproduce(config, run),
        "## What it is not\n\n" + _limits(config),
        "## Evidence\n\n" + _evidence(),
        "## Citations\n\n```bibtex\n" + bibtex(config) + "\n```",
    ]
    data = _front_matter(config, run, evaluation, visible(name), library, tags)
    return ModelCard(f"---\n{data}\n---\n\n" + "\n\n".join(parts) + "\n")


def _front_matter(
    config: dict[str, Any], run: dict[str, Any], evaluation: Any, name: str, library: str, tags: Iterable[str]
) -> ModelCardData:
    dataset, method = hub_id(run, "dataset"), str(config.get("method", "credit")).rpartition(":")[2]
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset or visible(run.get("dataset") or "not recorded"),
            dataset_name=visible(run.get("dataset") or "not recorded"),
            dataset_split=lookup(evaluation, "settings", "split"),
            metric_type="accuracy",
            metric_name=_drawn(evaluation, kind),
            metric_value=round(mean, 4),
        )
        for kind in KINDS
        if (mean := number(lookup(evaluation, "after", kind, "overall", "mean"))) is not None
    ]
    return ModelCardData(
        library_name=library,
        pipeline_tag="text-generation",
        base_model=hub_id(run, "model"),
        datasets=[dataset] if dataset else None,
        tags=[*dict.fromkeys(["trl", "credit", method, *tags])],
        **({"model_name": name, "eval_results": results} if results else {}),
    )


def hub_id(run: Mapping[str, Any], name: str) -> str | None:
    """Return `model` or `dataset` of a run where it is known to lie on the hub, else None."""
    value, local = run.get(name), run.get("local")
    if not isinstance(value, str) or not isinstance(local, list) or name in local:
        return None
    try:
        validate_repo_id(value)
    except HFValidationError:
        return None
    return value


def _first_sentences(config: dict[str, Any], run: dict[str, Any]) -> str:
    method, steps = config.get("method"), number(run.get("steps"))
    rule = METHODS.get(str(method))
    what = f"`{method}`, {rule.summary}" if rule else f"`{visible(method)}`, a method of its author's own"
    what = "a method that was not recorded" if method is None else what
    blend = ", blended with GRPO" if config.get("blend") not in (None, "none") else ""
    length = "" if steps is None else f"{steps:g} steps of "
    sentences = [
        f"A causal language model after {length}post-training with {what}{blend}.",
        f"Source of the method: {rule.source}." if rule else "",
        f"Trained with {_project()}.",
    ]
    if run.get("status") not in (None, "complete"):
        sentences.append(f"**The run did not finish** (status: {visible(run['status'])}).")
    return " ".join(sentence for sentence in sentences if sentence)


def _project() -> str:
    url = project_url()
    return f"[{PACKAGE}]({url})" if url else PACKAGE


def _facts(config: dict[str, Any], run: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (label, text) pairs: those of the report, and what a stranger needs besides."""
    facts = [(label, text) for label, text in what_was_run(config, run) if label not in ("model", "data", "seed")]
    rule, where = METHODS.get(str(config.get("method"))), config.get("negatives_from")
    count = number(config.get("num_negatives"))
    each = "their number not recorded" if count is None else f"{count:g} for each rollout"
    if rule and rule.contrast == "answers":
        facts.append(("negatives", f"wrong answers to the same prompt, {each}"))
    elif rule and rule.contrast == "inputs" and number(config.get("lam")):
        origin = "the same family of tasks" if where == "same_family" else "the whole batch"
        facts.append(("negatives", f"prompts of {origin}, {each}"))
    seed, steps = run.get("seed"), number(run.get("steps"))
    return [
        *facts,
        ("base model", _base(run)),
        ("data", _data(config, run)),
        ("seed", "not recorded" if seed is None else visible(seed)),
        ("steps taken", "not recorded" if steps is None else f"{steps:g}"),
    ]


def _base(run: dict[str, Any]) -> str:
    name = run.get("model")
    if name is None:
        return "not recorded"
    return f"the embedded one of {PACKAGE}" if name == "tiny" else f"`{visible(name)}`{_here(run, 'model')}"


def _data(config: dict[str, Any], run: dict[str, Any]) -> str:
    name, limit = run.get("dataset"), number(config.get("train_limit"))
    if name is None:
        return "not recorded"
    by_task = "task" in config and not config.get("dataset")
    said = f"task `{visible(name)}`" if by_task else f"`{visible(name)}`{_here(run, 'dataset')}"
    return said + ", training split" + (f", its first {limit:g} rows" if limit else "")


def _here(run: dict[str, Any], name: str) -> str:
    return " (of the author's machine)" if name in (run.get("local") or []) else ""


def _accuracy(evaluation: Any) -> str:
    table = [(kind, row) for kind in KINDS for row in rows(evaluation, kind)]
    if not any(row.before.mean is not None or row.after.mean is not None for _, row in table):
        return NOT_MEASURED
    lines = ["| answers | prompts | before | after | difference |", "|---|---|---|---|---|"]
    for kind, row in table:
        cells = [_estimate(row.before), _estimate(row.after), _estimate(row.difference, sign=True)]
        said = f"{_drawn(evaluation, kind)}, {row.name}".replace("|", "\\|")
        lines.append(f"| {said} | {row.n} | {' | '.join(cells)} |")
    split = lookup(evaluation, "settings", "split")
    shown = f"split `{visible(split)}`" if split is not None else "split not recorded"
    return (
        f"Share of right answers, {shown}; in brackets the {interval_label(evaluation)} over prompts, of a difference "
        "paired by prompt.\n\n" + "\n".join(lines)
    )


def _drawn(evaluation: Any, kind: str) -> str:
    settings = lookup(evaluation, "settings")
    samples, temperature = number(lookup(settings, "samples")), number(lookup(settings, "temperature"))
    if kind != "sampled" or samples is None:
        return kind
    return f"avg@{samples:g}" + (f" at temperature {temperature:g}" if temperature is not None else "")


def _estimate(value: Estimate, sign: bool = False) -> str:
    if value.mean is None:
        return "not measured"
    ends = value.interval
    return show(value.mean, sign=sign) + (
        f" [{show(ends[0], sign=sign)}, {show(ends[1], sign=sign)}]" if ends else ""
    )  # fmt: skip


def _reproduce(config: dict[str, Any], run: dict[str, Any]) -> str:
    origins, used = run.get("origins"), run.get("versions")
    if isinstance(origins, dict):
        origins = {name: by for name, by in origins.items() if not _AUTHORS.match(name)}
    chosen = as_config(config, origins)
    listed = ", ".join(f"{name} {number_}" for name, number_ in used.items()) if isinstance(used, dict) else ""
    parts = [f"Versions: {_line(visible(listed)) or 'not recorded'}."]
    if run.get("command"):
        parts.append(f"```bash\n{_for_others(run['command'])}\n```")
    else:
        parts.append("No command was recorded: `CreditTrainer` was used in a script, which this card does not hold.")
    if chosen:
        parts.append(f"Options that were set, as a file for `--config`:\n\n```yaml\n{chosen.strip()}\n```")
    return "\n\n".join(parts)


_AUTHORS = re.compile(r"(--)?(overwrite|push_to_hub|hub_\w+)$")
"""Options that concern the author's folder and account; whoever repeats the run wants none of them."""


def _for_others(command: str) -> str:
    kept, dropped = [], False
    for part in shlex.split(command):
        dropped = bool(_AUTHORS.match(part)) or (dropped and not part.startswith("--"))
        if not dropped:
            kept.append(part)
    return visible(shlex.join(kept))


def _limits(config: dict[str, Any]) -> str:
    lines = [
        f"Not an official model or implementation of any paper cited below: {PACKAGE} is independent of their authors.",
        "Not a benchmark result: one run, one seed; the interval is over prompts, not over runs.",
        "Not evaluated for anything but the accuracy above: not for safety, not for other tasks or languages. What "
        "holds for the base model, its licence included, holds here.",
    ]
    if config.get("method") == "credit":
        form = "as reported second-hand" if config.get("form") == "paper" else "this project's own, not the paper's"
        lines.insert(1, f"The form of the credit is {form}; x' is drawn by a rule of this project.")
    return "\n".join(f"- {line}" for line in lines)


def _evidence() -> str:
    url = project_url()
    page = f"[docs/evidence.md]({url}/blob/main/docs/evidence.md)" if url else f"docs/evidence.md of {PACKAGE}"
    return (
        f"Of the methods, on a synthetic world: {page}. Of this run: where `credit push` sent it, the folder `credit/` "
        "holds its options, metrics, evaluation and report."
    )


def _line(text: str) -> str:
    return " ".join(text.split())
