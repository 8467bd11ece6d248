"""The streaming resampler with a short reach: length, delay, precision, and that blocks change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import noise

from enhance.inference.resampler import Resampler, design

RATES = [8000, 11025, 16000, 22050, 44056, 44100, 48000, 96000]  # 44056 Hz has no matrix


def converted(wave: np.ndarray, from_rate: int, to_rate: int, block: int) -> np.ndarray:
    resampler = Resampler(from_rate, to_rate, len(wave))
    parts = []
    for start in range(0, wave.shape[1], block):
        before = resampler.given
        parts.append(resampler.push(wave[:, start : start + block]))
        assert before + parts[-1].shape[1] == resampler.ready(min(start + block, wave.shape[1]))
    return np.concatenate((*parts, resampler.finish()), axis=1)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RATES), st.booleans(), st.integers(1, 20000), st.integers(1, 9000))
def test_blocks_give_what_the_whole_gives(rate: int, down: bool, frames: int, block: int):
    rates = (rate, 16000) if down else (16000, rate)
    wave = noise(1, frames, 2)
    whole = converted(wave, *rates, frames)
    assert whole.shape == (2, -(-frames * rates[1] // rates[0]))
    parts = converted(wave, *rates, max(block, frames // 50))
    if design(*rates).matrices:  # bit for bit: a model magnifies rounding where its input is next to nothing
        np.testing.assert_array_equal(parts, whole)
    else:
        np.testing.assert_allclose(parts, whole, atol=1e-6)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_where_it_is(rate: int):
    for from_rate, to_rate in ((rate, 16000), (16000, rate)):
        top = 0.9 * min(from_rate, to_rate) / 2
        for frequency in (1000.0, top):
            wave, expected = (
                0.5 * np.sin(2 * np.pi * frequency * np.arange(each) / each) for each in (from_rate, to_rate)
            )
            got = converted(wave[None].astype(np.float32), from_rate, to_rate, 5000)[0]
            middle = slice(to_rate // 10, -to_rate // 10)
            assert np.abs(got - expected)[middle].max() < 1e-5  # -94 dB re the tone: neither delay nor gain


@pytest.mark.parametrize("rate", [44056, 48000])
@pytest.mark.parametrize("frequency", [8000, 8100, 12000, 20000])
def test_what_is_above_the_new_nyquist_is_gone(rate: int, frequency: int):
    wave = np.sin(2 * np.pi * frequency * np.arange(rate) / rate).astype(np.float32)[None]
    assert np.abs(converted(wave, rate, 16000, rate)[:, 1600:-1600]).max() < 1e-5


def test_its_reach_is_short():
    for rate in (44100, 48000, 96000):
        assert design(rate, 16000).reach / rate < 0.005
        assert design(16000, rate).reach / 16000 < 0.005
