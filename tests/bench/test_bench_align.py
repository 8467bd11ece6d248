"""Constant delays are found to the sample and taken out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enhance.bench import align
from enhance.bench.align import find_delay, shift


def white(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(length).astype(np.float32)


@pytest.mark.parametrize("gain", [1, -1, 1e-4])
@pytest.mark.parametrize("delay", [-300, -1, 0, 1, 160, 300])
def test_a_delay_is_found_in_noise_and_with_any_gain(delay, gain):
    speech = white(4000)
    estimate = gain * (shift(speech, -delay, 4000) + 0.5 * white(4000, seed=1))
    assert find_delay(speech, estimate, 300) == delay


@pytest.mark.parametrize("length", [3500, 4200])
def test_the_estimate_may_be_shorter_or_longer(length):
    speech = white(4000)
    assert find_delay(speech, shift(speech, -77, length), 100) == 77


def test_signals_longer_than_a_block(monkeypatch):
    monkeypatch.setattr(align, "BLOCK", 512)
    speech = white(3000)
    assert find_delay(speech, shift(speech, 45, 3000), 50) == -45


def test_no_delay_beyond_the_limit():
    speech = white(4000)
    assert abs(find_delay(speech, shift(speech, -200, 4000), 50)) <= 50


def test_short_signals_and_silence():
    assert find_delay(np.ones(1), np.ones(1), 10) == 0
    assert find_delay(np.array([1, 0, 0]), np.array([0, 0, -1]), 10) == 2
    assert find_delay(white(500), np.zeros(500), 100) == 0
    assert find_delay(np.zeros(500), white(500), 100) == 0


def test_shift_by_hand():
    wave = np.array([1, 2, 3, 4], dtype=np.float32)
    assert shift(wave, 1, 4).tolist() == [2, 3, 4, 0]
    assert shift(wave, -1, 4).tolist() == [0, 1, 2, 3]
    assert shift(wave, 0, 6).tolist() == [1, 2, 3, 4, 0, 0]
    assert shift(wave, -1, 2).tolist() == [0, 1]
    assert shift(wave, 2, 1).tolist() == [3]
    assert shift(wave, 0, 4).dtype == np.float32


@given(st.integers(0, 20), st.integers(-30, 30), st.integers(0, 30))
def test_shift_says_what_each_sample_becomes(size, delay, length):
    wave = 1.0 + np.arange(size)
    shifted = shift(wave, delay, length)
    assert shifted.tolist() == [wave[n + delay] if 0 <= n + delay < size else 0 for n in range(length)]
