"""Puts the page together: run files in, one self-contained `report.html` out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from credit.report import curves, options, text, tokens, verdict
from credit.report.figures import dumbbells
from credit.report.runfiles import RunFiles, read_run
from credit.report.text import lookup, number, show, visible

EXAMPLES = 5
"""Gained, and as many lost, answers shown in full."""

STATUS = {
    "complete": "complete",
    "running": "not finished (still going, or stopped early)",
    "failed": "failed",
    "interrupted": "interrupted",
}
PHASES = (
    ("setup", "set-up"),
    ("eval_before", "evaluation before"),
    ("train", "training"),
    ("eval_after", "evaluation after"),
)
FORMS = {
    "paper": "Here R = r − λG; G is a log-probability, so −λG lifts every token: compare tokens.",
    "guided": "Here R = r + λS.",
    "feedback_contrast": "Here R = r − λ(G − G without feedback); the last part is not in the file.",
}


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run directory, also while the run is going on or after it was killed.

    The page is complete or not there: it is written beside its place and then moved. Nothing on it comes from
    anywhere but the files of the run and the options' own help texts.

    Args:
        run_dir: holds any of `config.yaml`, `run.json`, `metrics.jsonl`, `eval.json`, `credit/*.parquet`.

    Returns:
        The path of the page.

    Raises:
        NotADirectoryError: `run_dir` is not a directory.
    """
    run_dir = Path(run_dir)
    page = render(read_run(run_dir))
    path = run_dir / "report.html"
    partial = run_dir / f".report.{os.getpid()}.partial"
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def render(files: RunFiles) -> str:
    """Return the page as text."""
    environment = Environment(
        loader=PackageLoader("credit.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(context(files))


def context(files: RunFiles) -> dict[str, Any]:
    """Return what the template needs; every text in it has passed `visible`."""
    run, config, evaluation, metrics = files.run, files.config, files.evaluation, files.metrics
    panels, absent = curves.panels(metrics)
    health_line, health = curves.health(metrics)
    ours, others = options.tables(config)
    status = lookup(run, "status")
    return {
        "name": visible(files.name),
        "subtitle": _subtitle(run, config),
        "status": STATUS.get(str(status), "status not recorded"),
        "progress": _progress(metrics, config),
        "verdict": verdict.verdict(evaluation, status),
        "note": visible(run.get("note")),
        "problems": [visible(problem) for problem in files.problems],
        "tables": [_table(evaluation, kind) for kind in verdict.KINDS if verdict.rows(evaluation, kind)],
        "interval": visible(lookup(evaluation, "settings", "interval")),
        "settings": _settings(evaluation),
        "extras": _extras(evaluation),
        "panels": panels,
        "absent": absent,
        "heat": tokens.heat_map(files.credit_file, files.credit_rows),
        "token_labels": list(tokens.LABELS.values()),
        "token_cap": tokens.TOKENS,
        "form": FORMS.get(str(config.get("form")), "") if config.get("method", "credit") == "credit" else "",
        "health_line": health_line,
        "health": health,
        "examples": _examples(evaluation),
        "command": text.command_line(run.get("command")),
        "facts": _facts(run),
        "options": ours if config else [],
        "others": others,
        "times": _times(run),
        "show": show,
        "gap": text.GAP,
    }


def _subtitle(run: dict[str, Any], config: dict[str, Any]) -> str:
    method = config.get("method")
    if method == "credit":
        method = f"credit ({config.get('form', 'form not recorded')}, λ = {config.get('lam', 'not recorded')})"
    parts = [
        ("model", run.get("model")),
        ("data", run.get("dataset")),
        ("method", method),
        ("seed", run.get("seed")),
    ]
    return " · ".join(f"{label} {visible(value)}" for label, value in parts if value is not None)


def _progress(metrics: list[dict[str, Any]], config: dict[str, Any]) -> str:
    if not metrics:
        return ""
    planned = number(config.get("max_steps"))
    of = f" of {planned:g}" if planned and planned > 0 else ""
    return f"last logged step {metrics[-1]['step']:g}{of}"


def _table(evaluation: dict[str, Any], kind: str) -> dict[str, Any]:
    rows = verdict.rows(evaluation, kind)
    title = f"{kind.capitalize()} accuracy before and after training"
    return {"kind": kind, "rows": rows, "figure": dumbbells(title, rows)}


def _settings(evaluation: dict[str, Any]) -> str:
    settings = lookup(evaluation, "settings")
    if not isinstance(settings, dict):
        return ""
    return ", ".join(f"{visible(str(key))} {visible(value)}" for key, value in settings.items() if value is not None)


def _extras(evaluation: dict[str, Any]) -> list[tuple[str, str, str]]:
    sides = [lookup(evaluation, side, "extras") or {} for side in ("before", "after")]
    sides = [side if isinstance(side, dict) else {} for side in sides]
    names = dict.fromkeys(name for side in sides for name in side)
    return [(visible(str(n)).replace("_", " "), show(sides[0].get(n)), show(sides[1].get(n))) for n in names]


def _examples(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Split the stored examples by what training did to them; without two scores they belong nowhere."""
    stored = lookup(evaluation, "examples")
    stored = [e for e in stored if isinstance(e, dict)] if isinstance(stored, list) else []
    groups: dict[str, list[dict[str, Any]]] = {"gained": [], "lost": [], "unchanged": []}
    for example in stored:
        before, after = number(example.get("before_score")), number(example.get("after_score"))
        if before is None or after is None:
            continue
        name = "gained" if after > before else "lost" if after < before else "unchanged"
        groups[name].append(example)
    shown = {
        name: [
            {
                "prompt": text.messages(e.get("prompt")),
                **{key: visible(e.get(key)) for key in ("family", "before", "after", "answer")},
                "before_score": show(e.get("before_score"), 2),
                "after_score": show(e.get("after_score"), 2),
            }
            for e in groups[name][:EXAMPLES]
        ]
        for name in ("gained", "lost")
    }
    return {
        "stored": len(stored),
        "counts": {name: len(group) for name, group in groups.items()},
        "shown": shown,
    }


def _facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [(label, run.get(label)) for label in ("model", "dataset", "seed", "started")]
    facts.append(("trained model", run.get("trained_model")))
    versions = run.get("versions")
    if isinstance(versions, dict):
        facts += [(f"version of {name}", value) for name, value in versions.items()]
    return [(visible(label), "not recorded" if value is None else visible(value)) for label, value in facts]


def _times(run: dict[str, Any]) -> list[tuple[str, str, str]]:
    seconds = lookup(run, "seconds")
    seconds = seconds if isinstance(seconds, dict) else {}
    known = dict(PHASES)
    names = [*known, *(name for name in seconds if name not in known)]
    rows = [(visible(known.get(n, n)), text.duration(seconds.get(n)), show(seconds.get(n), 1)) for n in names]
    values = [value for n in names if (value := number(seconds.get(n))) is not None]
    return [*rows, ("together", text.duration(sum(values)), show(sum(values), 1))] if values else []
