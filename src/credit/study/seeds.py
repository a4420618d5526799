"""Statistics over seeds: the run is the unit, since all prompts and families of one run share its weights.

Interquartile mean and probability of improvement are those of rliable (Agarwal et al., arXiv 2108.13264), a few lines
here rather than its dependencies. Two things differ, and are ours: a resample draws seeds, with all their families,
where rliable draws the runs of each task by themselves; and both methods of a comparison are drawn with the same
seeds, because their cells are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from credit.statistics import LEVEL, resamples

_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306)
"""Two-sided 95% quantiles of Student's t for 1 to 8 degrees of freedom; the expansion takes over from there."""
Interval = dict[str, Any]
"""n seeds, mean (or the statistic), low, high; both ends are None for a single seed, which has no spread."""


def over_seeds(statistic: Callable[..., float], *arrays: Any, seed: int = 0) -> Interval:
    """Return a statistic with its 95% percentile bootstrap interval over seeds.

    Args:
        statistic: of arrays like `arrays`, the same for every order of the seeds.
        arrays: seeds first, shape (seeds, ...); one resample draws the same seeds of all.
        seed: of the resampling.
    """
    size = len(arrays[0])
    if not size or any(len(a) != size for a in arrays):
        raise ValueError(f"arrays over seeds differ in length or are empty: {[len(a) for a in arrays]}.")
    arrays = tuple(np.asarray(a, dtype=np.float64) for a in arrays)
    result: Interval = {"n": size, "mean": float(statistic(*arrays)), "low": None, "high": None}
    if size > 1:
        drawn = np.sort(np.concatenate(list(resamples(size, seed))), axis=1)
        # Few seeds have few different resamples: each is computed once.
        unique, counts = np.unique(drawn, axis=0, return_counts=True)
        values = np.repeat([statistic(*(a[chosen] for a in arrays)) for chosen in unique], counts)
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        result |= {"low": float(low), "high": float(high)}
    return result


def mean(values: np.ndarray) -> float:
    """Return the mean of all entries."""
    return float(values.mean())


def difference(values: np.ndarray, reference: np.ndarray) -> float:
    """Return the mean of values - reference, paired by seed."""
    return float((values - reference).mean())


def iqm(values: np.ndarray) -> float:
    """Return the interquartile mean: of all entries without the lowest and the highest quarter.

    Of n entries, floor(n / 4) are dropped at each end, as `scipy.stats.trim_mean(values, 0.25)` and so rliable do.
    """
    flat = np.sort(values, axis=None)
    cut = len(flat) // 4
    return float(flat[cut : len(flat) - cut].mean())


def improvement(values: np.ndarray, reference: np.ndarray) -> float:
    """Return the probability that a run of one method beats a run of the other, a tie counting half.

    Args:
        values, reference: (seeds, families); runs are compared within a family, every one with every other, and the
            families are averaged (Mann-Whitney's U over its pairs, as in rliable).
    """
    ours, theirs = values[:, None], reference[None, :]
    return float(((ours > theirs) + 0.5 * (ours == theirs)).mean())


def student(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95% interval of the mean by Student's t, or None for a single value.

    With five seeds or fewer it is the more honest of the two: the bootstrap cannot see beyond the values it has.
    """
    if len(values) < 2:
        return None
    array = np.asarray(values, dtype=np.float64)
    half = t95(len(array) - 1) * float(array.std(ddof=1)) / len(array) ** 0.5
    return float(array.mean()) - half, float(array.mean()) + half


def t95(freedom: int) -> float:
    """Return the two-sided 95% quantile of Student's t (Cornish-Fisher expansion; within 0.001)."""
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    z = 1.959964
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
