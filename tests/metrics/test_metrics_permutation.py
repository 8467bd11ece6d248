"""Which estimate is whose: against all permutations."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enhance.errors import EnhanceError
from enhance.metrics.permutation import best_order
from enhance.metrics.si_sdr import si_sdr


def white(*shape: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(shape)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**20), st.floats(0.1, 3))
def test_it_is_the_best_of_all(sources, seed, error):
    references = white(sources, 300, seed=seed)
    shuffled = references[np.random.default_rng(seed).permutation(sources)]
    estimates = shuffled + error * white(sources, 300, seed=seed + 1)

    def total(order: tuple[int, ...]) -> float:
        return sum(si_sdr(reference, estimates[number]) for reference, number in zip(references, order, strict=True))

    assert total(tuple(best_order(references, estimates))) == pytest.approx(
        max(map(total, permutations(range(sources))))
    )


def test_perfect_and_silent_ones_have_an_order():
    references = white(3, 300)
    assert best_order(references, references[[1, 2, 0]]) == [2, 0, 1]
    assert best_order(references, np.stack((references[2], 0 * references[0], 0.5 * references[0]))) == [2, 1, 0]
    silent = references * np.array([[1], [0], [1]])
    assert best_order(silent, references[[2, 1, 0]]) == [2, 1, 0]


def test_as_many_estimates_as_references():
    with pytest.raises(EnhanceError, match=r"shapes \(2, 300\) and \(3, 300\)"):
        best_order(white(2, 300), white(3, 300))
