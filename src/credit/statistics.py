"""Means over prompts with bootstrap intervals. The prompt is the unit: samples of one prompt are not independent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import comb

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
_MOST_INDICES = 4_000_000


def resamples(size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield all resamples of `size` indices, some rows at a time, so that memory stays small."""
    rng, rows = np.random.default_rng(seed), max(1, _MOST_INDICES // size)
    for start in range(0, RESAMPLES, rows):
        yield rng.integers(0, size, (min(rows, RESAMPLES - start), size))


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Return n, mean and the percentile interval of the mean over `values`, one per prompt.

    Raises:
        ValueError: there are no values; a missing number is never reported as zero.
    """
    if not len(values):
        raise ValueError("no values to average.")
    array = np.asarray(values, dtype=np.float64)
    means = np.concatenate([array[draws].mean(axis=1) for draws in resamples(len(array), seed)])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"n": len(array), "mean": float(array.mean()), "low": float(low), "high": float(high)}


def bootstrap_ratio(parts: Sequence[float], wholes: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Return n, the share sum(parts) / sum(wholes), and its percentile interval over prompts.

    Raises:
        ValueError: there are no values, or nothing to take a share of.
    """
    if len(parts) != len(wholes):
        raise ValueError(f"parts and wholes differ in number: {len(parts)} and {len(wholes)}.")
    array = np.asarray([parts, wholes], dtype=np.float64)
    if not array[1].sum() > 0:
        raise ValueError("nothing to take a share of.")
    drawn = np.concatenate([array[:, draws].sum(axis=-1) for draws in resamples(array.shape[1], seed)], axis=1)
    shares = drawn[0][drawn[1] > 0] / drawn[1][drawn[1] > 0]
    low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = array[0].sum() / array[1].sum()
    return {"n": array.shape[1], "mean": float(mean), "low": float(low), "high": float(high)}


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
