"""Intervals and paired tests over clips."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

RESAMPLES = 9999
SEED = 20190224
MANY = 2000  # values


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The mean and its 95 % bootstrap interval (BCa, Efron 1987), the same at every call. More
    than 2000 values: the percentiles themselves.

    Clips are taken to be independent. Fewer than three values have no interval.
    """
    from scipy.stats import bootstrap

    array = np.asarray(values, dtype=np.float64)
    average = float(array.mean())
    if len(array) < 3:
        return average, None, None
    if np.ptp(array) <= 1e-12 * np.abs(array).max():  # equal but for rounding
        return average, average, average
    method = "BCa" if len(array) <= MANY else "percentile"  # BCa's jackknife is quadratic, its correction small by then
    rng = np.random.default_rng(SEED)
    found = bootstrap((array,), np.mean, n_resamples=RESAMPLES, batch=100, method=method, rng=rng)
    return average, float(found.confidence_interval.low), float(found.confidence_interval.high)


def median_interval(values: np.ndarray) -> tuple[float, float | None, float | None]:
    """The mean over columns of the medians of ``(clips, columns)``, and its 95 % bootstrap interval (percentiles).

    The columns are sources of the same clips, which are drawn together; NaN is where a clip does not hold a source,
    and a draw without any clip of a source is without that. Otherwise as :func:`mean_interval`.
    """
    from scipy.stats import bootstrap

    columns = tuple(np.asarray(values, dtype=np.float64).T)
    whole = np.isfinite(columns).all()

    def mean_of_medians(*columns: np.ndarray, axis: int = -1) -> np.ndarray:
        if whole:
            return np.mean([np.median(column, axis=axis) for column in columns], axis=0)
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # "All-NaN slice encountered"
            return np.nanmean([np.nanmedian(column, axis=axis) for column in columns], axis=0)

    average = float(mean_of_medians(*columns))
    if len(columns[0]) < 3:
        return average, None, None
    rng = np.random.default_rng(SEED)
    options: dict[str, Any] = {"n_resamples": RESAMPLES, "batch": 100, "method": "percentile", "paired": True}
    found = bootstrap(columns, mean_of_medians, rng=rng, **options)
    return average, float(found.confidence_interval.low), float(found.confidence_interval.high)


def paired_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test that differences on the same clips are symmetric about zero.

    None for fewer than six clips, of which no outcome is significant; 1 where all are equal.
    """
    from scipy.stats import wilcoxon

    array = np.asarray(differences, dtype=np.float64)
    if len(array) < 6:
        return None
    if not array.any():
        return 1.0
    found: Any = wilcoxon(array)
    return float(found.pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values adjusted for how many there are, after Holm 1979; None stays None."""
    known = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, position) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[position] = highest
    return adjusted
