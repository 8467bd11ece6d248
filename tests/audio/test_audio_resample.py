"""Resampling of a whole signal: length, delay, precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import noise

from enhance.audio import resample

RATES = [8000, 11025, 16000, 22050, 44100, 48000, 96000]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RATES), st.sampled_from(RATES), st.integers(1, 20000))
def test_length_is_exact(from_rate: int, to_rate: int, frames: int):
    wave = noise(1, frames, 2)
    assert resample(wave, from_rate, to_rate).shape == (2, -(-frames * to_rate // from_rate))


@pytest.mark.parametrize("to_rate", RATES)
@pytest.mark.parametrize("from_rate", RATES)
def test_a_tone_stays_where_it_is(from_rate: int, to_rate: int):
    frequency = 1000.0
    wave, expected = (0.5 * np.sin(2 * np.pi * frequency * np.arange(rate) / rate) for rate in (from_rate, to_rate))
    got = resample(wave.astype(np.float32), from_rate, to_rate)
    middle = slice(to_rate // 10, -to_rate // 10)
    assert np.abs(got - expected)[middle].max() < 1e-5  # -94 dB re the tone: neither delay nor gain


def test_what_is_above_the_new_nyquist_is_gone():
    wave = np.sin(2 * np.pi * 9000 * np.arange(48000) / 48000).astype(np.float32)
    assert np.abs(resample(wave, 48000, 16000)[1600:-1600]).max() < 1e-5
