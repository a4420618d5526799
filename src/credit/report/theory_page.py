"""The page of `credit verify`: the table of identities, and the figures that show what they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from credit.report.figures import bars, lines
from credit.report.svg import standalone
from credit.report.templates import fill, write_page


@dataclass(frozen=True)
class Figure:
    """One figure: file name, title, what it shows, and the drawing."""

    name: str
    title: str
    caption: str
    drawing: Markup


# Line figures: name, title, what it shows, horizontal and vertical label.
_LINES = (
    (
        "belief",
        "The reward is a step of belief",
        "Probability of praise after each token, summed over all ways to go on. r is the step of its logarithm; the "
        "closer moves nothing and earns nothing.",
        ("tokens read", "p(praise)"),
    ),
    (
        "estimates",
        "Estimating G from C unrelated inputs",
        "Average over a random world with seven other inputs. The mean of logs is unbiased from C = 1 on; the log of a "
        "mean estimates another quantity, and another one for every C.",
        ("C", "nats"),
    ),
    (
        "bounds",
        "Two contrasts, two bounds",
        "What S adds up to (mean of logs) bounds the information about the input from above, InfoNCE (log of mean) "
        "from below. The upper bound is loose: S tells how a response separates inputs, not how many nats it carries.",
        ("unrelated inputs", "nats"),
    ),
    (
        "gradients",
        "Immediate credit is not the gradient of the sum",
        "Cosine with the exact gradient of E sum R, averaged over inputs and feedback of a random world. Immediate "
        "credit is the gradient of a divergence at fixed prefixes, and departs as λ grows.",
        ("λ", "cosine"),
    ),
    (
        "flattening",
        "A generic position flattens under the paper's form",
        "Entropy where no input matters and feedback is silent, as the teacher follows the student (EMA rate 0.2 per "
        "round, student at its target). Plain self-distillation and feedback_contrast leave it alone as guided does.",
        ("rounds", "nats"),
    ),
    (
        "drift",
        "Boilerplate that feedback favours under any question",
        "Probability of the favoured token. Plain self-distillation goes where guided goes. The paper's form slows the "
        "drift and stops short of certainty; feedback_contrast at λ 1 does not move.",
        ("rounds", "probability"),
    ),
)


def figures(curves: Mapping[str, Any]) -> list[Figure]:
    """Draw every figure from the numbers of `credit.theory.curves.collect`."""
    columns = ("r", "S", "R paper", "R guided")
    response = curves["token-credit"][0]
    groups = [(str(word), [response[name][i] for name in columns]) for i, word in enumerate(response["tokens"])]
    title = "What three tokens are paid"
    caption = (
        "“clearly paris .” for “capital of France?”, after praise; λ 0.3. “clearly” earns r under any question, so its "
        "S is 0; “paris” earns S. Subtracting λG lifts every token of the paper's form: differences count."
    )
    first = Figure("token-credit", title, caption, bars(title, "nats", groups, columns))
    return [first, *(Figure(n, t, said, lines(t, *labels, curves[n])) for n, t, said, labels in _LINES)]


def write_verification(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    claims: Mapping[str, tuple[str, Sequence[str]]],
    curves: Mapping[str, Any],
    breaks: Mapping[str, str],
    broken: str | None = None,
) -> Path:
    """Write `verify.json`, `verify.html` and one .svg per figure; return the path of the page.

    Args:
        folder: made if it does not exist.
        rows: `name`, `source`, `error` (None when it was no number), `tolerance`, `passed`.
        claims: what each row states, and the ingredients it rests on.
        curves: the numbers of the figures.
        breaks: what each ingredient becomes when it is spoiled.
        broken: the ingredient that was spoiled for this table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures(curves)
    for figure in drawn:
        (folder / f"{figure.name}.svg").write_text(standalone(figure.drawing), encoding="utf-8")
    (folder / "verify.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    page = fill(
        "verify.html",
        rows=[(row, *claims[row["name"]]) for row in rows],
        failed=[row["name"] for row in rows if not row["passed"]],
        tolerance=max(row["tolerance"] for row in rows),
        figures=drawn,
        broken=broken,
        breaks=breaks,
    )
    path = folder / "verify.html"
    write_page(path, page)
    return path
