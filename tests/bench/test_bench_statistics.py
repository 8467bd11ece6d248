"""Intervals and tests: against closed forms and their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from enhance.bench.statistics import holm, mean_interval, median_interval, paired_p


def test_the_interval_is_that_of_the_normal_law_for_many_values():
    values = np.random.default_rng(0).normal(3, 2, 2000)
    average, low, high = mean_interval(list(values))
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert average == pytest.approx(values.mean())
    assert low == pytest.approx(average - half, abs=0.1 * half)
    assert high == pytest.approx(average + half, abs=0.1 * half)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Of 200 samples of 40 from a skewed law, 95 % of the intervals hold its mean, give or take three errors."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        _, low, high = mean_interval(list(rng.exponential(1.0, 40)))
        assert low is not None
        assert high is not None
        hits += low <= 1.0 <= high
    assert 0.95 - 3 * 0.0154 - 0.02 <= hits / 200 <= 0.95 + 3 * 0.0154


def test_the_same_at_every_call():
    values = [1.0, 2.5, 3.0, 7.0]
    assert mean_interval(values) == mean_interval(values)


def test_few_or_equal_values():
    assert mean_interval([2.0]) == (2.0, None, None)
    assert mean_interval([1.0, 2.0]) == (1.5, None, None)
    assert mean_interval([4.0] * 5) == (4.0, 4.0, 4.0)


def test_p_of_six_differences_of_one_sign_is_exact():
    assert paired_p([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 2**6)


def test_p_is_small_for_a_shift_and_not_for_none():
    rng = np.random.default_rng(2)
    assert (paired_p(list(rng.normal(0.5, 1, 100))) or 1) < 1e-3
    assert (paired_p(list(rng.normal(0.0, 1, 100))) or 0) > 0.05
    assert paired_p([0.0] * 10) == 1.0
    assert paired_p([1.0] * 5) is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, None, 0.8]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_medians_by_hand():
    """Columns 1, 2, 30 and 5, 4, 3: medians 2 and 4, of which 3 is the mean."""
    middle, low, high = median_interval(np.array([[1.0, 5.0], [2.0, 4.0], [30.0, 3.0]]))
    assert middle == 3.0
    assert (low, high) == (3.0, 16.5)  # of one song three times: (1 + 5) / 2, (2 + 4) / 2 or (30 + 3) / 2
    assert median_interval(np.array([[2.0], [3.0]])) == (2.5, None, None)


def test_medians_of_sources_that_some_clips_do_not_hold():
    """Column 1, none, 30 has the median 15.5 and 5, 4, 3 has 4."""
    middle, low, high = median_interval(np.array([[1.0, 5.0], [np.nan, 4.0], [30.0, 3.0]]))
    assert middle == (15.5 + 4) / 2
    assert (low, high) == (2.5, 17.0)  # the first or the last song, and the second twice: (1 + 4) / 2, (30 + 4) / 2


def test_the_interval_of_medians_is_that_of_the_normal_law_for_many_values():
    """The error of a median of n normal values is 1.2533 times that of their mean; of equal sources that of one."""
    values = np.random.default_rng(0).normal(3, 2, 2000)
    middle, low, high = median_interval(np.stack([values, values + 1], axis=1))
    half = 1.96 * 1.2533 * 2 / np.sqrt(2000)
    assert middle == pytest.approx(np.median(values) + 0.5)
    assert low == pytest.approx(middle - half, abs=0.25 * half)
    assert high == pytest.approx(middle + half, abs=0.25 * half)
