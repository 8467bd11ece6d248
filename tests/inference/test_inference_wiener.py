"""The Wiener filter: known answers, sums, silence, blocks and chunks."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import voice
from toys import Shares, difference_db, noise

import enhance
from enhance.errors import EnhanceError
from enhance.inference.spectral import through
from enhance.inference.wiener import filtered, wiener_filter
from enhance.metrics.si_sdr import si_sdr

RATE = 16000
LEFT, RIGHT = np.float32([[1.0], [0.3]]), np.float32([[0.4], [1.0]])  # where two sources are


def refine(mixture: np.ndarray, estimates: np.ndarray, rate: int = RATE, block: int = 20000) -> np.ndarray:
    """``(channels, time)`` and ``(sources, channels, time)`` to new estimates of the latter shape."""
    starts = range(0, mixture.shape[1], block)
    rows = estimates.reshape(-1, mixture.shape[1])
    pairs = ((mixture[:, start : start + block], rows[:, start : start + block]) for start in starts)
    waves, parts = zip(*through(wiener_filter(len(estimates), len(mixture), rate), pairs), strict=True)
    np.testing.assert_array_equal(np.concatenate(waves, axis=1), mixture)
    return np.concatenate(parts, axis=1).reshape(estimates.shape)


@pytest.fixture(scope="module")
def panned() -> np.ndarray:
    """Two voices at different places, ``(sources, channels, time)``; both with harmonics and hiss everywhere."""
    return np.stack([LEFT * voice(5, 1), RIGHT * voice(5, 2)])


def mean_si_sdr(estimates: np.ndarray, sources: np.ndarray) -> float:
    """In dB, of all sources and channels."""
    shape = (-1, sources.shape[-1])
    pairs = zip(sources.reshape(shape), estimates.reshape(shape), strict=True)
    return float(np.mean([si_sdr(source, estimate) for source, estimate in pairs]))


# Known answers


@pytest.mark.parametrize("leak", [0.1, 0.2, 0.3])
def test_a_leak_is_taken_back_by_direction(panned: np.ndarray, leak: float):
    leaky = (1 - leak) * panned + leak * panned[::-1]
    assert mean_si_sdr(refine(panned.sum(0), leaky), panned) > mean_si_sdr(leaky, panned) + 8


def test_noise_in_the_estimates_is_replaced_by_what_the_mixture_has(panned: np.ndarray):
    noisy = panned + noise(5, RATE, 4, level=0.02).reshape(panned.shape)
    assert mean_si_sdr(refine(panned.sum(0), noisy), panned) > mean_si_sdr(noisy, panned) + 10


def test_true_sources_at_two_places_stay(panned: np.ndarray):
    """The covariances are then those of the sources, and their mean is what they are."""
    assert mean_si_sdr(refine(panned.sum(0), panned), panned) > 75


def test_one_channel_is_the_ratio_mask_of_powers():
    """Against SciPy's transform, whose frames lie on the same grid; the first and last lack their neighbours."""
    sources = np.stack([voice(2, 1), voice(2, 2), voice(2, 3)])[:, None]
    mixture, estimates = sources.sum(0), 0.8 * sources + 0.1 * sources[::-1]
    grid = {"fs": RATE, "nperseg": 2048, "noverlap": 1536}
    power = np.abs(scipy.signal.stft(estimates, **grid)[2]) ** 2
    masked = power / power.sum(0) * scipy.signal.stft(mixture, **grid)[2]
    expected = scipy.signal.istft(masked, **grid)[1][..., : mixture.shape[1]]
    found = refine(mixture, estimates)
    inside = slice(2048, -2048)
    np.testing.assert_allclose(found[..., inside], expected[..., inside], atol=1e-5)


def test_the_filter_is_that_of_its_equations():
    """Bin by bin, with three sources and three channels, in double precision."""
    rng = np.random.default_rng(0)
    shape = (4, 3, 2, 7)  # 1 + sources, channels, frequencies, frames
    spectra = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    mixture, estimates = spectra[0], spectra[1:].copy()
    found = filtered(torch.from_numpy(spectra.copy())).numpy()
    for f in range(2):
        v = (np.abs(estimates[:, :, f]) ** 2).mean(1)  # (sources, frames)
        outer = np.einsum("jct,jdt->jtcd", estimates[:, :, f], estimates[:, :, f].conj())
        spatial = outer.sum(1) / v.sum(1)[:, None, None]
        for t in range(7):
            covariances = v[:, t, None, None] * spatial
            expected = covariances @ np.linalg.inv(covariances.sum(0)) @ mixture[:, f, t]
            np.testing.assert_allclose(found[:, :, f, t], expected, rtol=1e-4, atol=1e-4)


# Sums, silence


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([100, 8000, 11025, 16000, 44100]),
    st.integers(1, 9000),
    st.integers(1, 3),
    st.integers(2, 4),
    st.integers(0, 2**20),
)
def test_estimates_sum_to_the_mixture_whatever_they_were(
    rate: int, frames: int, channels: int, sources: int, seed: int
):
    rng = np.random.default_rng(seed)
    mixture = noise(1, frames, channels, seed=seed)
    estimates = noise(1, frames, sources * channels, seed=seed + 1).reshape(sources, channels, -1)
    estimates *= rng.choice([0, 1e-6, 0.1, 1], (sources, 1, 1)).astype(np.float32)  # some are silent, or nearly
    estimates[:, :, frames // 2 :] *= rng.integers(2)
    found = refine(mixture, estimates, rate)
    np.testing.assert_allclose(found.sum(0), mixture, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_silent_source_stays_silent_and_the_other_gets_all(channels: int):
    mixture = noise(1, RATE, channels)
    found = refine(mixture, np.stack([mixture, np.zeros_like(mixture)]))
    assert difference_db(found[0], mixture) < -100
    assert difference_db(mixture + found[1], mixture) < -100


def test_silence_is_silent():
    found = refine(np.zeros((2, RATE), dtype=np.float32), noise(1, RATE, 4).reshape(2, 2, -1))
    assert not found.any()


def test_equal_channels_stay_equal(panned: np.ndarray):
    """No direction tells the sources apart: no matrix of one rank may upset that."""
    same = np.repeat(panned[:, :1], 2, axis=1)
    leaky = 0.8 * same + 0.2 * same[::-1]
    found = refine(same.sum(0), leaky)
    np.testing.assert_allclose(found[:, 0], found[:, 1], atol=1e-6)
    np.testing.assert_allclose(found[:, 0], refine(same.sum(0)[:1], leaky[:, :1])[:, 0], atol=1e-5)


# Blocks and chunks


@pytest.mark.parametrize("frames", [1, 127, 129, 14900, 15100, 31000])
def test_blocks_do_not_matter(frames: int):
    mixture, estimates = noise(1, frames, 2), noise(1, frames, 4, seed=1).reshape(2, 2, -1)
    whole = refine(mixture, estimates, 1000, frames)
    for block in (777, 10000):
        np.testing.assert_array_equal(refine(mixture, estimates, 1000, block), whole)


def test_a_chunk_knows_nothing_of_the_next():
    """Ten seconds from the beginning of the file, but for a frame."""
    mixture, estimates = noise(1, 30000, 2), noise(1, 30000, 4, seed=1).reshape(2, 2, -1)
    before = refine(mixture, estimates, 1000)
    estimates[0, :, 10200:] = 0
    after = refine(mixture, estimates, 1000)
    np.testing.assert_array_equal(after[..., :9800], before[..., :9800])
    assert np.abs(after - before)[..., 10200:].max() > 0.01


def test_what_waits_does_not_grow():
    wiener, given_, block = wiener_filter(2, 1, 1000), 0, np.zeros((1, 2000), dtype=np.float32)
    for number in range(1, 101):
        given_ += wiener.push(block, np.tile(block, (2, 1)))[1].shape[1]
        assert 2000 * number - given_ < 17500
    assert given_ + wiener.finish()[1].shape[1] == 200000


# Models


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_model_whose_estimates_miss_half(rate: int):
    wave = noise(1, rate, 2).astype(np.float64)
    found = enhance.separate(wave, rate, Shares({"speech": 0.4, "music": 0.1}), device="cpu", wiener=True)
    assert {(part.shape, part.dtype) for part in found.values()} == {(wave.shape, wave.dtype)}
    np.testing.assert_allclose(sum(found.values()), wave, atol=1e-5)
    if rate == 16000:
        assert difference_db(found["speech"], 16 / 17 * wave) < -80  # 0.4² / (0.4² + 0.1²)


def test_one_source_has_none_to_share_with():
    with pytest.raises(EnhanceError, match=r"--wiener: the model gives speech alone: take one that gives more"):
        enhance.separate(noise(1, 100), 16000, Shares({"speech": 1.0}), wiener=True)


def test_output_that_is_not_finite_is_refused():
    with pytest.raises(EnhanceError, match="the model's output is not finite"):
        enhance.separate(noise(1, 16000, 2), 16000, Shares({"a": np.nan, "b": 1.0}), wiener=True)
