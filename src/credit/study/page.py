"""The page of a study, made from the rows of `results.parquet` alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from credit.report.templates import fill, write_page
from credit.report.text import GAP, show
from credit.study import words
from credit.study.figures import Line, bars, curve, dots
from credit.study.results import WINDOW
from credit.study.summary import Summary, summaries

Get = Callable[[Summary], dict[str, Any] | None]

# What else is shown per method: title, in words, metric, right end of the axis, factor.
_PANELS: tuple[tuple[str, str, str, float | None, float], ...] = (
    ("Reasoning kept", "share of answers that write the steps the task needs", "reasoning_kept", 1.0, 1),
    ("Boilerplate leak", "share of answers that talk as if shown something", "boilerplate_leak", 1.0, 1),
    ("Entropy", "nats per token, end of training", "entropy", None, 1),
    ("Length", "tokens of a rollout, end of training", "length", None, 1),
    ("Training time", "seconds, without evaluation", "seconds_train", None, 1),
    ("Peak memory", "MiB of the process", "peak_host_bytes", None, 2**-20),
    ("Peak accelerator memory", "MiB allocated", "peak_device_bytes", None, 2**-20),
)


def write_study_page(folder: Path, about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Path:
    """Write `report.html` into a study's folder, whole or not at all, and return its path.

    Args:
        folder: of the study; nothing in it is read.
        about, rows: as `credit.study.results.read_results` returns them.
    """
    stages = {stage: summaries(about, rows, stage) for stage in words.LABELS}
    stages = {stage: [s for s in found if s.seeds or s.unfinished] for stage, found in stages.items()}
    models = [m for m in about["models"] if any(s.model == m for found in stages.values() for s in found)]
    page = fill(
        "page.html",
        "credit.study",
        about=about,
        sentence=_sentence(about, stages["final"]),
        models=[_model(about, rows, stages, model) for model in models],
        several=len(models) > 1,
        failed=[row for row in rows if row["status"] != "complete"],
        cells=len(rows),
        window=WINDOW,
        words=words,
        show=show,
        gap=GAP,
    )
    return write_page(folder / "report.html", page)


def _sentence(about: dict[str, Any], final: list[Summary]) -> str:
    """Say no more than the intervals do: which methods are apart from the reference, by the wider interval."""
    compared = [s for s in final if s.compared and s.compared.difference]
    if not compared:
        return "Nothing is compared yet: no method shares a finished seed with the reference."
    apart = {"above": [], "below": []}
    for s in compared:
        assert s.compared is not None
        ends = [e for e in (s.compared.student, _ends(s.compared.difference)) if e]
        if ends and min(low for low, _ in ends) > 0:
            apart["above"].append(s.name)
        elif ends and max(high for _, high in ends) < 0:
            apart["below"].append(s.name)
    said = [f"{side} it {', '.join(names)}" for side, names in apart.items() if names]
    rest = len(compared) - sum(map(len, apart.values()))
    if rest:
        said.append("no method is told apart" if rest == len(compared) else f"the other {rest} not told apart")
    return f"Against {about['reference']}, by sampled accuracy on test rows: {'; '.join(said)}."


def _ends(value: dict[str, Any] | None) -> tuple[float, float] | None:
    return None if value is None or value["low"] is None else (value["low"], value["high"])


def _model(about: dict[str, Any], rows: Any, stages: dict[str, list[Summary]], model: str) -> dict[str, Any]:
    own = {stage: [s for s in found if s.model == model] for stage, found in stages.items()}
    before = [
        r for r in rows if r["model"] == model and r["before_sampled"] is not None and r["stage"] != "tune"
    ]  # fmt: skip
    final = own["final"]
    reference = next((s for s in final if s.name == about["reference"]), None)
    base = before[0]["before_sampled"] if before else None
    return {
        "name": model,
        "before": before[0] if before else None,
        "stages": [(stage, found) for stage, found in own.items() if found],
        "accuracy": dots("Sampled accuracy", _lines(about, final, _accuracy), base) if final else None,
        "difference": _differences(about, final),
        "ablated": _differences(about, own["ablations"]),
        "families": [(f, bars(f, _lines(about, final, _family(f)), 1.0)) for f in _family_names(final)],
        "panels": _panels(about, final),
        "curves": _curves(final, reference),
    }


def _accuracy(s: Summary) -> dict[str, Any] | None:
    return s.values["accuracy_sampled"]


def _family(name: str) -> Get:
    return lambda s: s.families.get(name)


def _family_names(found: list[Summary]) -> list[str]:
    return list(dict.fromkeys(name for s in found for name in s.families))


def _lines(about: dict[str, Any], found: list[Summary], get: Get, factor: float = 1.0) -> list[Line]:
    lines = []
    for s in found:
        value = get(s)
        ends = [None if value is None or value[k] is None else value[k] * factor for k in ("mean", "low", "high")]
        lines.append(Line(s.name, ends[0], ends[1], ends[2], s.name == about["reference"]))
    return lines


def _differences(about: dict[str, Any], found: list[Summary]) -> Any:
    compared = [s for s in found if s.compared and s.compared.difference]
    if not compared:
        return None
    return dots(
        "Paired difference", _lines(about, compared, lambda s: s.compared.difference if s.compared else None), 0.0
    )


def _panels(about: dict[str, Any], final: list[Summary]) -> list[tuple[str, str, Any]]:
    shown = []
    for title, said, metric, most, factor in _PANELS:
        lines = _lines(about, final, lambda s, metric=metric: s.values[metric], factor)
        if any(line.value is not None for line in lines):
            shown.append((title, said, bars(f"{title}, {said}", lines, most)))
    return shown


def _curves(final: list[Summary], reference: Summary | None) -> list[tuple[Summary, Any]]:
    most = max((point[0] for s in final for point in s.curve), default=1.0)
    shown = []
    for s in final:
        beside = reference.curve if reference is not None and s is not reference else []
        shown.append((s, curve(f"{s.name}, training reward by rollouts", s.curve, beside, most)))
    return shown
