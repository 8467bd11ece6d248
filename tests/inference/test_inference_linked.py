"""Masks shared by channels: the stereo picture of a source, sums, blocks, and when they are not shared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from signals import voice
from torch import Tensor, nn
from toys import noise

import enhance
from enhance import audio
from enhance.audio import resample
from enhance.inference.files import denoise_file
from enhance.inference.linked import linked_masks, masked
from enhance.inference.spectral import through
from enhance.inference.tasks import Settings, Task

RATE = 16000


class Gate(nn.Module):
    """Speech is what is loud, 2 s at a time and in each channel alone; the rest is noise."""

    sample_rate, channels, align, context, sources = RATE, 1, 1, (0, 0), ("speech", "noise")

    def forward(self, mixture: Tensor) -> Tensor:
        speech = mixture * (mixture.square().mean(-1, keepdim=True) > 1e-3)
        return torch.stack((speech, mixture - speech), dim=1)


class Pair(Gate):
    """The same for a model that is given both channels together."""

    channels = 2


@pytest.fixture(scope="module")
def panned() -> np.ndarray:
    """A voice that is 20 dB quieter on the right, ``(channels, time)``."""
    return np.float32([[1.0], [0.1]]) * voice(3, 1)


def level_db(wave: np.ndarray) -> float:
    """Of the right channel, above the left."""
    left, right = np.square(wave, dtype=np.float64).mean(-1)
    return float(10 * np.log10((right + 1e-20) / left))


def test_a_voice_stays_where_it_is(panned: np.ndarray):
    speech = enhance.separate(panned, RATE, Gate(), "cpu")["speech"]
    assert np.abs(speech - panned).max() < 0.02  # what is lost is the share of the quiet channel: 1 %
    assert level_db(speech) == pytest.approx(level_db(panned), abs=0.01)


def test_channels_may_be_left_to_themselves(panned: np.ndarray):
    found = enhance.separate(panned, RATE, Gate(), "cpu", independent=True)
    np.testing.assert_allclose(found["speech"], panned * np.float32([[1], [0]]), atol=1e-6)


def test_a_model_of_both_channels_is_not_touched(panned: np.ndarray):
    found = enhance.separate(panned, RATE, Pair(), "cpu")
    np.testing.assert_allclose(found["speech"], panned * np.float32([[1], [0]]), atol=1e-6)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("wiener", [False, True])
def test_sums_stay(rate: int, wiener: bool):
    wave = noise(1, rate, 2) * np.float32([[1.0], [0.1]])
    found = enhance.separate(wave, rate, Gate(), "cpu", wiener=wiener)
    np.testing.assert_allclose(sum(found.values()), wave, atol=1e-5)


def test_the_mask_is_the_one_with_the_least_squared_error():
    generator = np.random.default_rng(1)
    wave = generator.standard_normal((3, 2, 5, 4)) + 1j * generator.standard_normal((3, 2, 5, 4))
    new = masked(torch.from_numpy(wave)).numpy()
    for source, each in enumerate(wave[1:]):
        for bin_, frame in np.ndindex(5, 4):
            x, y = wave[0, :, bin_, frame], each[:, bin_, frame]
            (best,), *_ = np.linalg.lstsq(x[:, None], y, rcond=None)
            np.testing.assert_allclose(new[source, :, bin_, frame], best * x, atol=1e-10)


def test_blocks_do_not_matter(panned: np.ndarray):
    """The chunks that the file is cut into, neither: nothing is taken from a whole chunk."""
    wave = np.tile(panned, 4)
    rows = np.concatenate((wave[:1], 0 * wave[:1], 0 * wave[:1], wave[1:]))
    outputs = []
    for block in (999, 50000):
        starts = range(0, wave.shape[1], block)
        pairs = ((wave[:, start : start + block], rows[:, start : start + block]) for start in starts)
        outputs.append(np.concatenate([part for _, part in through(linked_masks(2, 2, RATE), pairs)], axis=1))
    assert outputs[0].shape == rows.shape
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-6)


def test_silence_stays_silent():
    found = enhance.separate(np.zeros((2, 5000), np.float32), RATE, Gate(), "cpu")
    assert all((part == 0).all() for part in found.values())


class Loud(Gate):
    """A denoiser: what is loud stays, 2 s at a time and in each channel alone."""

    sources = ("speech",)

    def forward(self, mixture: Tensor) -> Tensor:
        return super().forward(mixture)[:, :1]


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_denoised_voice_stays_where_it_is_with_one_mask_for_all_channels(panned: np.ndarray, rate: int):
    wave = np.stack([resample(channel, RATE, rate) for channel in panned])
    alone = enhance.denoise(wave, rate, Loud(), device="cpu")
    assert np.abs(alone[1]).max() < 0.01 * np.abs(wave[0]).max()
    linked = enhance.denoise(wave, rate, Loud(), device="cpu", linked=True)
    assert level_db(linked) == pytest.approx(level_db(wave), abs=0.1)
    half = enhance.denoise(wave, rate, Loud(), 0.5, "cpu", linked=True)
    np.testing.assert_allclose(half, 0.5 * (wave + linked), atol=1e-6)
    each = enhance.denoise(np.stack([wave, wave[::-1]]), rate, Loud(), device="cpu", linked=True)
    np.testing.assert_allclose(each, np.stack([linked, linked[::-1]]), atol=1e-6)


def test_one_channel_has_nothing_to_share(panned: np.ndarray):
    for wave in (panned[0], panned[:1]):
        alone, linked = (enhance.denoise(wave, RATE, Loud(), device="cpu", linked=way) for way in (False, True))
        np.testing.assert_array_equal(alone, linked)


def test_a_file_is_cleaned_as_its_samples_are(panned: np.ndarray, tmp_path: Path):
    audio.write(tmp_path / "in.wav", panned, RATE, subtype="FLOAT")
    task = Task(tmp_path / "in.wav", tmp_path / "out.wav")
    denoise_file(task, Loud(), torch.device("cpu"), Settings("loud", linked=True))
    wanted = enhance.denoise(panned, RATE, Loud(), device="cpu", linked=True)
    np.testing.assert_allclose(audio.read(task.target)[0], wanted, atol=1e-6)
