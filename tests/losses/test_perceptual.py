"""The losses after PESQ and STOI: against the packages, and in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from signals import voice
from torch import Tensor

from enhance.losses import create
from enhance.losses.perceptual import BARK_BANDS, _bark_bands, _third_octaves, pesq_like, stoi_like
from enhance.metrics.pesq import pesq_wb
from enhance.metrics.stoi import stoi


def degraded() -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of clean and spoiled: white and slow noise at five levels, and a hole in the spectrum."""
    pairs = []
    for seed in range(4):
        clean = voice(2.5, seed)
        rng = np.random.default_rng(seed)
        white = rng.standard_normal(len(clean)).astype(np.float32)
        slow = np.convolve(white, np.ones(24, np.float32) / 5, mode="same")
        for level in (0.001, 0.005, 0.02, 0.06, 0.15):
            pairs += [(clean, clean + level * white), (clean, clean + level * slow)]
        spectrum = np.fft.rfft(clean)
        spectrum[len(spectrum) // 4 : len(spectrum) // 2] *= 0.1
        pairs.append((clean, np.fft.irfft(spectrum, len(clean)).astype(np.float32)))
    return pairs


def tensor(wave: np.ndarray) -> Tensor:
    return torch.from_numpy(wave)[None]


def test_pesq_like_ranks_as_pesq_does():
    scores = [pesq_wb(clean, spoiled, 16000) for clean, spoiled in degraded()]
    losses = [pesq_like(tensor(spoiled), tensor(clean), tensor(clean)).item() for clean, spoiled in degraded()]
    assert spearmanr(scores, losses).statistic < -0.9


def distance(score: float) -> float:
    """PESQ before P.862.2's mapping to opinions, as a distance from 4.5."""
    return 4.5 - (3.8224 - math.log(4 / (score - 0.999) - 1)) / 1.3669


def test_pesq_like_goes_with_the_distance_of_pesq():
    """Of noise at SNRs of 0 to 20 dB, partly removed, and of what a filter coloured."""
    expected, found = [], []
    for seed in range(4):
        clean = voice(3, seed)
        noise = np.random.default_rng(seed).standard_normal(len(clean)).astype(np.float32) * np.std(clean)
        for snr in (0, 10, 20):
            mixture = clean + 10 ** (-snr / 20) * noise
            for estimate in (mixture, 0.6 * clean + 0.4 * mixture, np.convolve(mixture, [0.7, 0.3], mode="same")):
                estimate = estimate.astype(np.float32)
                expected.append(distance(pesq_wb(clean, estimate, 16000)))
                found.append(pesq_like(tensor(estimate), tensor(clean), tensor(mixture)).item())
    assert np.corrcoef(expected, found)[0, 1] > 0.95


def test_pesq_like_is_blind_to_level_and_slow_gain():
    clean = tensor(voice(2, 1))
    noisy = clean + 0.01 * torch.randn(1, 32000, generator=torch.Generator().manual_seed(0))
    assert pesq_like(0.3 * clean, clean, clean).item() < 0.01
    swell = torch.linspace(0.6, 1.4, 32000)
    assert pesq_like(swell * clean, clean, clean) < 0.25 * pesq_like(noisy, clean, clean)


def test_stoi_like_is_stoi_to_a_few_hundredths():
    for clean, spoiled in degraded():
        expected = stoi(clean, spoiled, 16000)
        found = 1 - stoi_like(tensor(spoiled), tensor(clean), tensor(clean)).item()
        assert found == pytest.approx(expected, abs=0.04)


def test_a_perfect_estimate_costs_nothing():
    clean = tensor(voice(2, 1))
    assert pesq_like(clean, clean, clean).item() < 0.01
    assert stoi_like(clean, clean, clean).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", ["pesq_like", "stoi_like"])
def test_common_gain_and_batch_neighbours_change_nothing(name):
    clean, noise = tensor(voice(2, 1)), 0.02 * torch.randn(1, 32000, generator=torch.Generator().manual_seed(0))
    loss = create(name)
    alone = loss(clean + noise, clean, clean)
    torch.testing.assert_close(loss(0.05 * (clean + noise), 0.05 * clean, clean), alone, rtol=2e-2, atol=1e-3)
    silent = torch.zeros_like(clean)
    both = loss(torch.cat((clean + noise, noise)), torch.cat((clean, silent)), torch.cat((clean, silent)))
    torch.testing.assert_close(both, alone)


def test_fading_a_band_costs():
    """PESQ itself forgives 20 dB of colouring, of which a model would make use."""
    clean = tensor(voice(2, 1))
    spectrum = torch.fft.rfft(clean)
    costs = []
    for gain in (0.8, 0.3, 0.1):
        faded = spectrum.clone()
        faded[:, 4000:] *= gain  # above 2 kHz
        costs.append(pesq_like(torch.fft.irfft(faded, clean.shape[-1]), clean, clean).item())
    assert costs[0] < 0.1 < 0.3 < costs[1] < costs[2]


def test_what_was_added_is_worse_than_what_is_missing():
    """The asymmetry of PESQ: a tone put into a gap disturbs more than the same tone taken out of the target."""
    time = torch.arange(32000) / 16000
    base = 0.1 * torch.sin(2 * torch.pi * 300 * time)[None]
    tone = 0.02 * torch.sin(2 * torch.pi * 2000 * time)[None]
    assert pesq_like(base + tone, base, base) > 1.5 * pesq_like(base, base + tone, base)


def test_bark_bands_share_out_every_bin_above_40_hz_once():
    bands = _bark_bands(512, 16000)
    assert bands.shape == (BARK_BANDS, 257)
    torch.testing.assert_close(bands.sum(0)[2:-1], torch.ones(254))


def test_third_octaves_are_those_of_stoi():
    bands = _third_octaves(512, 16000)
    centres = 150 * 2 ** (np.arange(15) / 3)
    frequencies = np.arange(257) * 16000 / 512
    for band, centre in zip(bands.numpy(), centres, strict=True):
        inside = frequencies[band > 0]
        assert ((inside >= centre / 2 ** (1 / 6)) & (inside < centre * 2 ** (1 / 6))).all()
    assert (bands.sum(0) <= 1).all()
