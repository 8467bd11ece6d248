"""A model that changes nothing leaves the file as it is; a gain is a gain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Gain, Recurrent, difference_db, noise

from enhance.inference.bands import UpperGain
from enhance.inference.denoise import denoise, denoised

RATES = [8000, 16000, 22050, 44100, 48000, 96000]


@pytest.mark.parametrize("frames", [1, 7, 1000, 50001])
@pytest.mark.parametrize("model_rate", [16000, 44100])
@pytest.mark.parametrize("rate", RATES)
def test_identity(rate: int, model_rate: int, frames: int):
    wave = noise(1, frames, 2, level=0.3)
    clean = denoise(wave, rate, Gain(sample_rate=model_rate))
    assert clean.shape == wave.shape
    assert difference_db(clean, wave) < -120  # asked for are -80 dB


@pytest.mark.parametrize("rate", RATES)
def test_identity_through_the_compact_model(rate: int):
    from enhance.models import create

    wave = noise(2, rate, 1, level=0.3)
    assert difference_db(denoise(wave, rate, create("dcunet-s")), wave) < -80


@settings(max_examples=40, deadline=None)
@given(rate=st.sampled_from(RATES), frames=st.integers(1, 30000), block=st.integers(1, 20000))
def test_every_block_size_gives_every_frame_once(rate: int, frames: int, block: int):
    wave = noise(1, frames)
    block = max(block, frames // 300)
    parts = [wave[:, start : start + block] for start in range(0, frames, block)]
    pairs = list(denoised(parts, Gain(), rate, 1, torch.device("cpu"), 1.0))
    np.testing.assert_array_equal(np.concatenate([before for before, _ in pairs], axis=1), wave)
    np.testing.assert_allclose(np.concatenate([after for _, after in pairs], axis=1), wave, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_silence_stays_silence(rate: int):
    assert not denoise(np.zeros((2, rate), dtype=np.float32), rate, Gain()).any()


@pytest.mark.parametrize("rate", [8000, 48000])
def test_a_gain_reaches_all_bands(rate: int):
    """A tenth below the model's Nyquist is a tenth above it as well: -20 dB everywhere, but for the edges."""
    wave = noise(2, rate)
    clean = denoise(wave, rate, Gain(0.1))
    middle = slice(rate // 4, -rate // 4)
    assert difference_db(10 * clean[:, middle], wave[:, middle]) < -70


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_mixes_sample_by_sample(strength: float):
    wave = noise(1, 44100)
    clean = denoise(wave, 44100, Gain(0.0), strength=strength)
    middle = slice(9000, -9000)
    np.testing.assert_allclose(clean[:, middle], (1 - strength) * wave[:, middle], atol=2e-5)  # -94 dB
    if strength == 0:
        np.testing.assert_array_equal(clean, wave)


def gains(ratio: np.ndarray, tone: float = 6000.0, model_rate: int = 16000, file_rate: int = 48000) -> np.ndarray:
    """The upper band's gain where the model multiplies a tone by ``ratio``."""
    before = np.sin(2 * np.pi * tone * np.arange(len(ratio)) / model_rate)[None].astype(np.float32)
    meter = UpperGain(model_rate, file_rate, 1)
    parts = [
        meter.push(before[:, at : at + 777], (before * ratio)[:, at : at + 777].astype(np.float32))
        for at in range(0, len(ratio), 777)
    ]
    length = len(ratio) * file_rate // model_rate
    return np.concatenate((*parts, meter.finish(length)), axis=1)[0]


def test_the_gain_follows_the_octave_below():
    ratio = np.full(16000, 0.25)
    gain = gains(ratio)
    assert gain.shape == (48000,)
    np.testing.assert_allclose(gain[1000:-1000], 0.25, rtol=1e-3)
    np.testing.assert_allclose(gains(ratio, tone=1500.0)[4800:-4800], 1.0, atol=0.01)  # not in that octave
    np.testing.assert_allclose(gains(np.full(16000, 3.0)), 1.0)  # never above one


def test_attack_and_release():
    """After a step the gain has gone 63 % of the way in 10 ms up, in 80 ms down, give or take a frame."""
    up = gains(np.repeat([0.0, 1.0], 16000))
    down = gains(np.repeat([1.0, 0.0], 16000))
    rise = np.argmax(up > 1 - np.exp(-1)) / 48000 - 1.0
    fall = np.argmax(down < np.exp(-1)) / 48000 - 1.0
    assert 0.004 < rise < 0.016
    assert 0.070 < fall < 0.095


@pytest.mark.parametrize(("shape", "dtype"), [((8000,), "float32"), ((2, 8000), "float64"), ((3, 2, 800), "float32")])
def test_the_result_has_type_and_shape_of_the_input(shape: tuple[int, ...], dtype: str):
    wave = np.random.default_rng(0).standard_normal(shape).astype(dtype) * 0.1
    clean = denoise(wave, 16000, Gain(0.5))
    assert isinstance(clean, np.ndarray)
    assert (clean.shape, clean.dtype) == (shape, np.dtype(dtype))
    np.testing.assert_allclose(clean, 0.5 * wave, atol=1e-7)
    tensor = denoise(torch.from_numpy(wave).half(), 16000, Gain(0.5))
    assert isinstance(tensor, torch.Tensor)
    assert (tensor.shape, tensor.dtype) == (torch.Size(shape), torch.float16)


def test_a_model_is_given_back_as_it_was():
    model = Recurrent().train()
    denoise(noise(0.1, 16000), 16000, model)
    assert model.training
