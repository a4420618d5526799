"""Writes tables of performance.md, scale.md, faults.md and engines.md from saved runs: `python docs/performance.py`.

The runs are in `benchmarks/results`, written by `benchmarks/step.py`, `kills.py` and `architectures.py`.
Tests keep the tables up to date.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "benchmarks"))

from step import SIZES, VARIANTS, floor  # noqa: E402

from credit.plan import MIB, Job, Rates, Shape, estimate  # noqa: E402

PEER, SDPO, CREDIT = "trl-sdpo-top100", "sdpo-top100", "credit-top100"
TARGETS = {"small": "1.0", "large": "0.7, 0.35", "body": "1.25"}
ONE_CORE = Rates(50e9, 10e9)
LARGE = Shape(8_190_000_000, 151_936, 4096, 36, 12_288, 1024)  # Qwen3-8B
ON_PAPER = {
    "one device": {},
    "8 sharded": {"shards": 8},
    "8 sharded, live teacher": {"shards": 8, "teacher": "live"},
    "8 sharded, answers of 8,192": {"shards": 8, "answer": 8192, "shown": 8192},
    "8 sharded, C = 4": {"shards": 8, "views": 5},
}


def saved(name: str) -> dict[str, Any]:
    return json.loads((DOCS.parent / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def of_size(size: dict[str, int], views: int) -> tuple[Shape, Job]:
    """Return shape and job of a size of the benchmark."""
    d, layers = size["D"], size["L"]
    body = layers * (4 * d * d + 9 * d * d + 2 * d + 2 * 64) + d
    shape = Shape(body + 2 * size["V"] * d, size["V"], d, layers, 3 * d, d)
    taught = 0.5 if size["G"] == 2 else 1.0
    job = Job(size["N"], size["N"], size["P"], size["T"], size["T"], views, support=True, activation=4, taught=taught)
    job = replace(job, share=size["G"], view_share=max(1, size["G"] * taught * views))
    return shape, job


def tables() -> dict[str, str]:
    """Return name of a table -> its text."""
    sizes = {**saved("step")["sizes"], **saved("step_long")["sizes"]}
    measured = {name: entry["variants"] for name, entry in sizes.items()}
    embedded = saved("step_embedded")

    def both(row: dict[str, float]) -> str:
        return f"{row['seconds']:.2f} s, {row['peak_mib']:.0f} MiB"

    def ratio(name: str, key: str) -> str:
        return f"{measured[name][CREDIT][key] / measured[name][PEER][key]:.2f}"

    def counted(name: str, variant: str) -> float:
        return floor(SIZES[name], VARIANTS[variant]) or 0.0

    def speed(name: str, variant: str) -> str:
        work = counted(name, variant)
        return f"{work:.0f} GFlop, {work / measured[name][variant]['seconds']:.0f} a second"

    phases = {"step_time": "a step", "step_time/rollouts": "rollouts", "step_time/grading": "grading"}
    phases["step_time/teachers"] = "teachers"
    return {
        "main": table(
            [
                "size (head over body)",
                "TRL SDPO",
                "our sdpo",
                "credit, C = 1",
                "credit over TRL: time, memory",
                "target",
            ],
            [
                [
                    f"`{name}` ({sizes[name]['work']['head_over_body']:.2f})",
                    *(both(rows[variant]) for variant in (PEER, SDPO, CREDIT)),
                    f"{ratio(name, 'seconds')}, {ratio(name, 'peak_mib')}",
                    TARGETS.get(name, "-"),
                ]
                for name, rows in measured.items()
            ],
        ),
        "floor": table(
            ["size", "TRL SDPO", "our sdpo", "credit, C = 1", "counted ratio", "measured"],
            [
                [
                    f"`{name}`",
                    *(speed(name, variant) for variant in (PEER, SDPO, CREDIT)),
                    f"{counted(name, CREDIT) / counted(name, PEER):.2f}",
                    ratio(name, "seconds"),
                ]
                for name in measured
            ],
        ),
        "growth": table(
            ["grows", "to", "seconds of a step", "MiB beyond"],
            [
                [axis, at, f"{row['seconds']:.2f}", f"{row['beyond_mib']:.0f}"]
                for axis, rows in saved("step_growth")["growth"].items()
                for at, row in rows.items()
            ],
        ),
        "variants": table(
            ["variant at `small`", "seconds", "peak MiB"],
            [
                [name, f"{row['seconds']:.2f}", f"{row['peak_mib']:.0f}"]
                for name, row in saved("step_variants")["sizes"]["small"]["variants"].items()
            ],
        ),
        "embedded": "\n\n".join(_embedded(embedded, name, phases) for name in ("same_answers", "while_training")),
        "plan": table(
            ["size", "method", "estimated MiB", "measured", "ratio", "seconds at 50 GFlop a second", "measured"],
            [
                _planned(name, measured, variant, views)
                for name in measured
                for variant, views in ((SDPO, 1), (CREDIT, 2))
            ],
        ),
        "kills": _kills(saved("kills")),
        "architectures": _architectures(saved("architectures")),
        "large": table(
            ["Qwen3-8B", "held, GiB", "peak", "generation, s", "student", "teacher", "contrast", "head"],
            [_on_paper(name, changed) for name, changed in ON_PAPER.items()],
        ),
    }


def _embedded(saved: dict[str, Any], name: str, phases: dict[str, str]) -> str:
    ratio, rounds = saved[f"credit_over_own_sdpo_with_generation_{name}"], saved[f"rounds_{name}"]
    rows = [[method, *(f"{row[key]:.3f}" for key in phases)] for method, row in saved[f"embedded_{name}"].items()]
    words = name.replace("_", " ")
    spread = f"median of {len(rounds)} rounds, {min(rounds):.2f} to {max(rounds):.2f}"
    return f"Credit over sdpo, {words}: **x{ratio:.2f}** ({spread}).\n\n" + table(
        ["method", *(f"{words}, s" for words in phases.values())], rows
    )


def _architectures(saved: dict[str, Any]) -> str:
    by: dict[str, list[str]] = {}
    for name, one in saved["architectures"].items():
        by.setdefault(one["status"], []).append(f"`{name}`")
    rows = [[status, str(len(names)), ", ".join(names)] for status, names in by.items()]
    return f"transformers {saved['transformers']}:\n\n" + table(["", "types", "which"], rows)


def _kills(saved: dict[str, Any]) -> str:
    by: dict[int, list[dict[str, Any]]] = {}
    for kill in saved["kills"]:
        by.setdefault(kill["ranks"], []).append(kill)
    head = ["processes", "kills", "before the first step", "in training", "after it", "with a half-written checkpoint"]
    rows = [
        [
            str(ranks),
            str(len(kills)),
            str(sum(kill["steps"] == 0 for kill in kills)),
            str(sum(0 < kill["steps"] < saved["steps"] for kill in kills)),
            str(sum(kill["steps"] == saved["steps"] for kill in kills)),
            str(sum(bool(kill["half_written"]) for kill in kills)),
            f"{max(kill['difference'] for kill in kills):g}",
            str(sum(kill["same_eval"] and kill["same_bytes"] and not kill["exit"] for kill in kills)),
        ]
        for ranks, kills in by.items()
    ]
    return table([*head, "largest difference of a metric", "same evaluation, weights, teacher"], rows)


def _planned(name: str, measured: dict[str, Any], variant: str, views: int) -> list[str]:
    row = measured[name][variant]
    found = estimate(*of_size(SIZES[name], views), ONE_CORE)
    bare = row["peak_mib"] - row["fixed_mib"] - row["beyond_mib"]
    peak = bare + found.peak / MIB
    seconds = sum(found.seconds[part] for part in ("student", "teacher", "contrast", "head"))
    method = {SDPO: "sdpo", CREDIT: "credit"}[variant]
    ends = [f"{peak:.0f}", f"{row['peak_mib']:.0f}", f"{peak / row['peak_mib']:.2f}"]
    return [f"`{name}`", method, *ends, f"{seconds:.2f}", f"{row['seconds']:.2f}"]


def _on_paper(name: str, changed: dict[str, Any]) -> list[str]:
    usual = {"rollouts": 64, "micro": 1, "prompt": 512, "answer": 1024, "shown": 1024, "views": 2, "support": True}
    found = estimate(LARGE, Job(**{**usual, **changed}), Rates(4e14, 2e12))
    parts = ("generation", "student", "teacher", "contrast", "head")
    sizes = [sum(found.held.values()), found.peak]
    return [name, *(f"{size / 2**30:.0f}" for size in sizes), *(f"{found.seconds[part]:.0f}" for part in parts)]


def filled(text: str) -> str:
    """Return a page with its tables written anew, between their marks."""
    found = tables()

    def put(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n{found[match[1]]}\n<!-- /{match[1]} -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", put, text, flags=re.DOTALL)


PAGES = ("performance.md", "scale.md", "faults.md", "engines.md")

if __name__ == "__main__":
    for page in PAGES:
        (DOCS / page).write_text(filled((DOCS / page).read_text(encoding="utf-8")), encoding="utf-8")
