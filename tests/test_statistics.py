"""Intervals and pass@k against closed forms and counting."""

from itertools import combinations

import pytest

from credit.statistics import bootstrap_mean, paired_difference, pass_at_k


def test_bootstrap_interval_of_coin_flips_is_near_the_normal_one():
    values = [0.0, 1.0] * 200
    result = bootstrap_mean(values)
    half = 1.96 * 0.5 / 400**0.5
    assert (result["n"], result["mean"]) == (400, 0.5)
    assert result["low"] == pytest.approx(0.5 - half, abs=0.004)
    assert result["high"] == pytest.approx(0.5 + half, abs=0.004)
    assert result == bootstrap_mean(values)


def test_pairing_removes_what_both_share():
    before = [i / 100 for i in range(100)]
    after = [b + 0.1 for b in before]
    gain = paired_difference(before, after)
    assert gain["low"] == pytest.approx(0.1)
    assert gain["high"] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="100 and 99"):
        paired_difference(before, after[1:])


def test_nothing_has_no_mean():
    with pytest.raises(ValueError, match="no values"):
        bootstrap_mean([])


def test_pass_at_k_counts_subsets():
    for samples, successes, k in ((5, 0, 2), (5, 2, 2), (5, 5, 3), (6, 1, 6), (6, 4, 3)):
        outcomes = [i < successes for i in range(samples)]
        draws = list(combinations(outcomes, k))
        assert pass_at_k(successes, samples, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    with pytest.raises(ValueError, match="pass@4"):
        pass_at_k(1, 3, 4)
