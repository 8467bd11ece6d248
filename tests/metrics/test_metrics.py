"""Metrics: closed-form values, published ones, and what happens where they are not defined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from signals import voice

from enhance.errors import EnhanceError
from enhance.metrics.pesq import pesq_wb
from enhance.metrics.si_sdr import si_sdr
from enhance.metrics.stoi import stoi


def test_si_sdr_of_orthogonal_noise_is_the_ratio_of_energies():
    reference = np.array([3.0, 0.0, 4.0, 0.0])
    noise = np.array([0.0, 0.5, 0.0, 0.0])
    assert si_sdr(reference, reference + noise) == pytest.approx(20.0)  # 25 against 0.25
    assert si_sdr(reference, -7.0 * (reference + noise)) == pytest.approx(20.0)


def test_si_sdr_by_hand():
    # <e, r> = 1, |r|^2 = 2: the projection is (0.5, 0.5), the distortion (0.5, -0.5), the ratio 1.
    assert si_sdr(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(0.0)


def test_si_sdr_at_its_limits():
    reference = np.array([1.0, 2.0, 3.0])
    assert si_sdr(reference, reference) == math.inf
    assert si_sdr(reference, np.zeros(3)) == -math.inf
    with pytest.raises(EnhanceError, match="silent reference"):
        si_sdr(np.zeros(3), reference)


def test_identical_signals_have_the_highest_scores():
    wave = voice(3.0, 1)
    assert pesq_wb(wave, wave, 16000) == pytest.approx(4.644, abs=1e-3)  # the end of the P.862.2 mapping
    assert stoi(wave, wave, 16000) == pytest.approx(1.0, abs=1e-6)


def test_more_noise_scores_lower():
    wave = voice(3.0, 1)
    noise = np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32)
    scores = [
        (pesq_wb(wave, wave + gain * noise, 16000), stoi(wave, wave + gain * noise, 16000))
        for gain in (0.001, 0.01, 0.1)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0][0] - scores[2][0] > 1.0


@pytest.mark.parametrize("metric", [pesq_wb, stoi])
def test_too_short_is_an_error_and_not_a_number(metric):
    wave = voice(0.1, 1)
    with pytest.raises(EnhanceError, match="not defined"):
        metric(wave, wave, 16000)


def test_pesq_of_silence_and_of_other_rates():
    wave = voice(1.0, 1)
    with pytest.raises(EnhanceError, match="silent"):
        pesq_wb(np.zeros_like(wave), wave, 16000)
    with pytest.raises(EnhanceError, match="resample"):
        pesq_wb(wave, wave, 8000)
