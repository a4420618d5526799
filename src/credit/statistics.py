"""Means over prompts with bootstrap intervals. The prompt is the unit: samples of one prompt are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Return n, mean and the percentile interval of the mean over `values`, one per prompt.

    Raises:
        ValueError: there are no values; a missing number is never reported as zero.
    """
    if not len(values):
        raise ValueError("no values to average.")
    array = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(array), (RESAMPLES, len(array)))
    low, high = np.quantile(array[draws].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"n": len(array), "mean": float(array.mean()), "low": float(low), "high": float(high)}


def paired_difference(before: Sequence[float], after: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Return the mean of after - before over the same prompts, with its interval."""
    if len(before) != len(after):
        raise ValueError(f"paired values differ in number: {len(before)} and {len(after)}.")
    return bootstrap_mean(np.subtract(after, before).tolist(), seed)


def pass_at_k(successes: int, samples: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of k samples succeeds, from `samples` >= k draws."""
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, got {samples}.")
    return 1.0 - comb(samples - successes, k) / comb(samples, k)
