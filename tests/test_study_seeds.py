"""Statistics over seeds against values computed by hand."""

from itertools import product

import numpy as np
import pytest

from credit.study.seeds import difference, improvement, iqm, mean, over_seeds, student, t95


def test_a_constant_difference_has_an_interval_of_no_width():
    reference = np.array([0.1, 0.5, 0.9, 0.3])
    found = over_seeds(difference, reference + 0.25, reference)
    assert found == {"n": 4, "mean": pytest.approx(0.25), "low": pytest.approx(0.25), "high": pytest.approx(0.25)}
    unpaired = over_seeds(mean, reference + 0.25)  # what pairing took out is wide
    assert unpaired["high"] - unpaired["low"] > 0.3


def test_the_bootstrap_of_two_seeds_is_the_one_that_can_be_counted():
    """Resamples of (0, 1): 00 a quarter, 01 and 10 a half, 11 a quarter; so the quantiles are 0 and 1."""
    assert over_seeds(mean, np.array([0.0, 1.0])) == {"n": 2, "mean": 0.5, "low": 0.0, "high": 1.0}


def test_the_bootstrap_of_three_seeds_has_the_quantiles_of_all_27_resamples():
    values = np.array([0.2, 0.5, 0.9])
    means = sorted(np.mean(chosen) for chosen in product(values, repeat=3))
    found = over_seeds(mean, values)
    assert found["low"] == pytest.approx(means[0])  # 1 in 27 is more than 2.5%
    assert found["high"] == pytest.approx(means[-1])


def test_one_seed_has_no_interval_and_none_no_mean():
    assert over_seeds(mean, np.array([0.5])) == {"n": 1, "mean": 0.5, "low": None, "high": None}
    assert student([0.5]) is None
    with pytest.raises(ValueError, match="empty"):
        over_seeds(mean, np.array([]))
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        over_seeds(difference, np.zeros(2), np.zeros(3))


def test_the_interquartile_mean_drops_a_quarter_at_each_end():
    assert iqm(np.array([[0.0, 1.0], [2.0, 100.0]])) == 1.5
    assert iqm(np.array([1.0, 2.0, 3.0])) == 2.0  # of three nothing is dropped
    assert iqm(np.array([5.0, 1.0, 2.0, 3.0, -90.0])) == 2.0  # of five one at each end
    assert iqm(np.arange(8.0)[::-1]) == 3.5


def test_the_probability_of_improvement_counts_pairs_and_halves_ties():
    ours, theirs = np.array([[1.0], [3.0]]), np.array([[2.0], [3.0]])
    # 1 beats neither; 3 beats 2 and ties 3: 1.5 of 4 pairs.
    assert improvement(ours, theirs) == 1.5 / 4
    assert improvement(theirs, ours) == 1 - 1.5 / 4
    assert improvement(ours, ours) == 0.5
    two = np.hstack([ours, np.array([[9.0], [9.0]])]), np.hstack([theirs, np.array([[1.0], [1.0]])])
    assert improvement(*two) == (1.5 / 4 + 1) / 2  # families are averaged, never mixed
    equal = over_seeds(improvement, np.full((4, 2), 0.3), np.full((4, 2), 0.3))
    assert (equal["mean"], equal["low"], equal["high"]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (4, 2.776), (9, 2.262), (14, 2.145), (30, 2.042), (120, 1.980)]
)
def test_quantiles_of_student_are_those_of_the_tables(freedom, quantile):
    assert t95(freedom) == pytest.approx(quantile, abs=1e-3)


def test_student_by_hand():
    low, high = student([0.0, 0.2, 0.4])
    half = 4.303 * 0.2 / 3**0.5
    assert (low, high) == (pytest.approx(0.2 - half), pytest.approx(0.2 + half))


def test_with_five_seeds_the_bootstrap_is_too_narrow_and_student_is_not():
    """The claim docs/compare.md makes, measured: coverage of 95% intervals of five normal values."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(300, 5))
    covered = {"bootstrap": 0, "student": 0}
    resampled = rng.integers(0, 5, (2000, 5))
    for values in draws:
        low, high = np.quantile(values[resampled].mean(axis=1), [0.025, 0.975])
        covered["bootstrap"] += low < 0 < high
        low, high = student(list(values))
        covered["student"] += low < 0 < high
    assert 0.75 < covered["bootstrap"] / 300 < 0.90
    assert 0.91 < covered["student"] / 300 < 0.985
