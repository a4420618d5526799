"""Puts the page together: run files in, one self-contained `report.html` out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from credit.report import curves, options, text, tokens, verdict
from credit.report.cost import cost
from credit.report.examples import examples
from credit.report.figures import dumbbells
from credit.report.health import health
from credit.report.ran import reading, what_was_run
from credit.report.runfiles import RunFiles, read_run
from credit.report.templates import fill, write_page
from credit.report.text import lookup, number, show, visible

STATUS = {
    "complete": "complete",
    "running": "not finished (still going, or stopped early)",
    "failed": "failed",
    "interrupted": "interrupted",
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
    return write_page(run_dir / "report.html", fill("page.html", **context(read_run(run_dir))))


def context(files: RunFiles) -> dict[str, Any]:
    """Return what the template needs; every text in it has passed `visible`."""
    run, config, evaluation, metrics = files.run, files.config, files.evaluation, files.metrics
    panels, absent = curves.panels(metrics)
    groups = options.tables(config, run.get("origins")) if config else []
    status = lookup(run, "status")
    return {
        "name": visible(files.name),
        "status": STATUS.get(str(status), "status not recorded"),
        "error": visible(run.get("error")),
        "progress": _progress(metrics, config),
        "verdict": verdict.verdict(evaluation, status),
        "note": visible(run.get("note")),
        "shared": run.get("shared") is True,
        "problems": [visible(problem) for problem in files.problems],
        "ran": what_was_run(config, run),
        "options": groups,
        "options_said": options.summary(groups) if groups else "",
        "tables": [_table(evaluation, kind) for kind in verdict.KINDS if verdict.rows(evaluation, kind)],
        "interval": visible(lookup(evaluation, "settings", "interval")),
        "settings": _settings(evaluation),
        "extras": _extras(evaluation),
        "panels": panels,
        "absent": absent,
        "windows": sorted({panel.window for panel in panels if panel.window}),
        "heat": tokens.heat_map(files.credit_file, files.credit_rows),
        "token_labels": list(tokens.LABELS.values()),
        "token_cap": tokens.TOKENS,
        "inspected": files.inspected,
        "form": reading(config),
        "health": health(metrics, run.get("idle_warnings"), config.get("method")),
        "examples": examples(evaluation),
        "cost": cost(run, metrics),
        "command": text.command_line(run.get("command")),
        "chosen": options.as_config(config, run.get("origins")),
        "facts": _facts(run),
        "show": show,
        "gap": text.GAP,
    }


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


def _facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [(label, run.get(label)) for label in ("seed", "started")]
    facts.append(("trained model", run.get("trained_model")))
    if run.get("resumed_from") is not None:
        facts.append(("resumed from", run["resumed_from"]))
    if run.get("set_aside"):
        said = run["set_aside"]
        facts.append(("damaged", " ".join(map(str, said)) if isinstance(said, list) else said))
    for prefix, group in (("version of", "versions"), ("digest of", "fingerprints")):
        found = run.get(group)
        if isinstance(found, dict):
            facts += [(f"{prefix} {str(name).replace('_', ' ')}", value) for name, value in found.items()]
    return [(visible(label), "not recorded" if value is None else visible(value)) for label, value in facts]
