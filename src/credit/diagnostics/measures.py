"""The numbers of one response, from its token credit. What does not exist is None, and why is said: never a zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from credit.diagnostics.marks import Marks

GENERIC_NATS = math.log(2)
"""A token counts as input-generic when its own input makes it at most twice, and at least half, as likely: |S| <= log 2
(ours)."""

SCORES = ("r", "S", "R")
"""What is asked to point at the tokens that matter."""


class OddRollout(ValueError):
    """What is wrong with the numbers of one rollout."""


@dataclass(frozen=True)
class Measures:
    """One response with a teacher, in nats where a unit is needed.

    Attributes:
        tokens: response tokens T that the model wrote; what tools answered is in no number.
        pmi: sum of r, the pointwise mutual information of response and feedback as this student and teacher see it.
        S, G, R: sums over the response; S and G are None without a negative.
        weight_gap: sum of log p - log p_T0, what teacher weights of their own take from the pMI; None when not scored.
        credit: sum of |R|.
        generic_credit, generic_tokens: the part of it on input-generic tokens, and their number; None without S.
        bearing_credit, bearing_tokens: the same for task-bearing tokens; None where the task knows none.
        auroc_bearing: how well |r|, |S|, |R| rank task-bearing tokens above the others of the response.
        auroc_boilerplate: how well they rank task-bearing tokens above boilerplate alone.
        auroc_error: how well -r, -S, -R rank the first wrong token above the others.
    """

    tokens: int
    pmi: float
    S: float | None
    G: float | None
    R: float
    weight_gap: float | None
    credit: float
    generic_credit: float | None
    generic_tokens: int | None
    bearing_credit: float | None
    bearing_tokens: int | None
    auroc_bearing: dict[str, float | None]
    auroc_boilerplate: dict[str, float | None]
    auroc_error: dict[str, float | None]


def measure(rollout: Mapping[str, Any], marks: Marks = Marks()) -> Measures | None:  # noqa: B008 (frozen)
    """Measure one rollout; None when it had no teacher.

    Args:
        rollout: lists `r`, `R` and, where they exist, `S`, `G`, `logp_student`, `logp_teacher_nofeedback`: one number
            per token of `token_ids` (or `tokens`). A list of NaN is a quantity that does not exist. Where a list `own`
            says a token is not the model's own, its numbers are not looked at.
        marks: what the task knows about its tokens.

    Raises:
        OddRollout: the response is empty or all tool output, a list has another length, or a number is missing in the
            middle of the model's own tokens.
    """
    size = len(rollout.get("token_ids") or rollout.get("tokens") or rollout.get("r") or [])
    if size == 0:
        raise OddRollout("it has neither tokens nor r" if rollout.get("completion") else "the response is empty")
    if rollout.get("r") is None:
        raise OddRollout("it has no r (a response without a teacher has a list of NaN)")
    own = _own(rollout, size)
    r = column(rollout, "r", size, own)
    if r is None:
        return None
    credit = column(rollout, "R", size, own)
    if credit is None:
        raise OddRollout("there is r but no R")
    specific, generic = column(rollout, "S", size, own), column(rollout, "G", size, own)
    student, prior = column(rollout, "logp_student", size, own), column(rollout, "logp_teacher_nofeedback", size, own)
    teacher = column(rollout, "logp_teacher", size, own)
    if student is not None and teacher is not None and not np.allclose(teacher - student, r, rtol=1e-3, atol=1e-3):
        raise OddRollout("r is not logp_teacher - logp_student")
    found = {"r": r, "S": specific, "R": credit}
    is_generic = None if specific is None else np.abs(specific) <= GENERIC_NATS
    bearing, boilerplate = (
        None if m is None else np.asarray(m, dtype=bool)[own] for m in (marks.bearing, marks.boilerplate)
    )
    at_error = None if marks.first_error is None else (np.arange(size) == marks.first_error)[own]
    sizes = np.abs(credit)
    return Measures(
        tokens=int(own.sum()),
        pmi=float(r.sum()),
        S=None if specific is None else float(specific.sum()),
        G=None if generic is None else float(generic.sum()),
        R=float(credit.sum()),
        weight_gap=None if student is None or prior is None else float((student - prior).sum()),
        credit=float(sizes.sum()),
        generic_credit=None if is_generic is None else float(sizes[is_generic].sum()),
        generic_tokens=None if is_generic is None else int(is_generic.sum()),
        bearing_credit=None if bearing is None else float(sizes[bearing].sum()),
        bearing_tokens=None if bearing is None else int(bearing.sum()),
        auroc_bearing={n: auroc(None if v is None else np.abs(v), bearing) for n, v in found.items()},
        auroc_boilerplate={n: _against(v, bearing, boilerplate) for n, v in found.items()},
        auroc_error={n: auroc(None if v is None else -v, at_error) for n, v in found.items()},
    )


def _own(rollout: Mapping[str, Any], size: int) -> np.ndarray:
    """Return which tokens the model wrote: all, unless a list says otherwise."""
    marks = rollout.get("own")
    if marks is None:
        return np.ones(size, dtype=bool)
    if len(marks) != size:
        raise OddRollout(f"own has {len(marks)} values for {size} tokens")
    own = np.asarray(marks, dtype=bool)
    if not own.any():
        raise OddRollout("none of its tokens is the model's own")
    return own


def column(rollout: Mapping[str, Any], name: str, size: int, own: np.ndarray) -> np.ndarray | None:
    """Return a column at the model's own tokens as float64, or None when it does not exist for this rollout.

    Raises:
        OddRollout: it has another length than the response, or some of these numbers are not finite.
    """
    values = rollout.get(name)
    if values is None:
        return None
    if len(values) != size:
        raise OddRollout(f"{name} has {len(values)} values for {size} tokens")
    try:
        array = np.asarray([math.nan if value is None else value for value in values], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise OddRollout(f"{name} holds something that is no number") from None
    if array.ndim != 1:
        raise OddRollout(f"{name} holds lists, not numbers")
    if np.isnan(array[own]).all():
        return None
    missing = own & ~np.isfinite(array)
    if missing.any():
        first = int(missing.argmax())
        raise OddRollout(
            f"{name} is not a finite number at {int(missing.sum())} of {size} tokens (the first is token {first + 1}: "
            f"{array[first]})"
        )
    return array[own]


def _against(score: np.ndarray | None, bearing: np.ndarray | None, other: np.ndarray | None) -> float | None:
    """Rank bearing tokens by size against the others given, leaving out tokens that are neither or both."""
    if score is None or bearing is None or other is None:
        return None
    either = bearing ^ other
    return auroc(np.abs(score[either]), bearing[either])


def auroc(score: np.ndarray | None, positive: np.ndarray | None) -> float | None:
    """Return the chance that a positive token scores above a negative one, ties counting half (Mann-Whitney).

    None where the score or the marks do not exist, or all tokens are of one kind.
    """
    if score is None or positive is None or positive.all() or not positive.any():
        return None
    negative = np.sort(score[~positive])
    below = np.searchsorted(negative, score[positive], side="left")
    ties = np.searchsorted(negative, score[positive], side="right") - below
    return float((below + 0.5 * ties).mean() / len(negative))
