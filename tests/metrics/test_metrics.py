"""Metrics: closed-form values, published ones, and what happens where they are not defined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from signals import voice

from enhance.errors import EnhanceError
from enhance.metrics.pesq import most_utterances, pesq_nb, pesq_wb
from enhance.metrics.si_sdr import si_sdr, si_sdr_improvement
from enhance.metrics.snr import segmental_snr, snr
from enhance.metrics.stoi import estoi, stoi


def white(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples)


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


def test_best_pesq_is_the_end_of_the_mappings():
    wave = voice(3.0, 1)
    # Raw PESQ of identical signals is 4.5; P.862.1 equation 1 and P.862.2 section 7.
    assert pesq_nb(wave, wave, 16000) == pytest.approx(0.999 + 4 / (1 + math.exp(-1.4945 * 4.5 + 4.6607)), abs=1e-3)
    assert pesq_nb(wave[::2], wave[::2], 8000) == pytest.approx(4.5488, abs=1e-3)
    assert pesq_wb(wave, wave, 16000) == pytest.approx(0.999 + 4 / (1 + math.exp(-1.3669 * 4.5 + 3.8224)), abs=1e-3)


def test_pesq_hears_little_of_the_level():
    wave, noisy = voice(3.0, 1), voice(3.0, 1) + 0.01 * white(48000)
    assert pesq_wb(wave, 0.25 * noisy, 16000) == pytest.approx(pesq_wb(wave, noisy, 16000), abs=0.01)


def test_pesq_of_a_recording_with_many_pauses_is_refused():
    burst = np.concatenate([0.1 * white(5600), np.zeros(6400)])  # 0.35 s, and 0.4 s of pause
    recording = np.tile(burst, 60)  # crashes the package
    assert [most_utterances(np.tile(burst, count), 16000) for count in (1, 30, 60)] == [1, 30, 60]
    with pytest.raises(EnhanceError, match="shorter pieces"):
        pesq_wb(recording, recording, 16000)


def test_stoi_and_estoi_are_those_of_the_package():
    from pystoi import stoi as package

    wave, noisy = voice(3.0, 2), voice(3.0, 2) + 0.05 * white(48000)
    assert stoi(wave, noisy, 16000) == pytest.approx(package(wave, noisy, 16000), abs=1e-9)
    assert estoi(wave, noisy, 16000) == pytest.approx(package(wave, noisy, 16000, extended=True), abs=1e-9)
    assert estoi(wave, noisy, 16000) < stoi(wave, noisy, 16000) < 1
    assert stoi(wave, -3 * noisy, 16000) == pytest.approx(stoi(wave, noisy, 16000), abs=1e-6)


def test_estoi_is_the_same_again_and_leaves_the_generator_alone():
    reference = np.sin(0.3 * np.arange(16000))  # most bands hold next to nothing
    estimate = reference + 1e-9 * white(16000)
    np.random.seed(5)  # noqa: NPY002
    first, drawn = estoi(reference, estimate, 16000), np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    assert drawn == np.random.random()  # noqa: NPY002
    assert estoi(reference, estimate, 16000) == first


def test_stoi_needs_speech_for_30_frames():
    wave = np.concatenate([voice(0.3, 1) + 0.1 * white(4800), np.zeros(48000)])
    with pytest.raises(EnhanceError, match=r"less than 0\.4 s"):
        stoi(wave, wave, 16000)  # three seconds, but hardly any speech


@pytest.mark.parametrize("metric", [stoi, estoi])
@pytest.mark.parametrize("silent", ["reference", "estimate"])
def test_stoi_of_silence(metric, silent):
    signals = {"reference": voice(1.0, 1), "estimate": voice(1.0, 1)}
    signals[silent] = np.zeros(16000)
    with pytest.raises(EnhanceError, match=f"silent {silent}"):
        metric(**signals, sample_rate=16000)


def test_dc_counts_as_distortion():
    reference = np.tile([1.0, -1.0], 500)
    assert si_sdr(reference, reference + 0.1) == pytest.approx(20.0)  # 1000 against 1000 * 0.01
    assert snr(reference, reference + 0.1) == pytest.approx(20.0)
    # A mean in both is part of the signal: |r|^2 = 1010, and of the estimate r + 0.1 (1, 1, ...), whose product
    # with r is 1010 + 0.1 * 100 = 1020, the part 1020^2 / 1010 of 1040 lies along r.
    shifted = reference + 0.1
    along = 1020**2 / 1010
    assert si_sdr(shifted, shifted + 0.1) == pytest.approx(10 * math.log10(along / (1040 - along)))


WAVES = arrays(np.float64, 64, elements=st.floats(-1, 1).map(lambda value: round(value, 6)))


@given(WAVES, WAVES, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.booleans())
def test_si_sdr_does_not_depend_on_either_scale(reference, estimate, gain, other, negative):
    assume(np.abs(reference).max() > 1e-3 and np.abs(estimate).max() > 1e-3)
    expected = si_sdr(reference, estimate)
    assume(abs(expected) < 100)
    assert si_sdr(other * reference, (-gain if negative else gain) * estimate) == pytest.approx(expected, abs=1e-4)


@given(WAVES, st.floats(-1e3, 1e3).filter(lambda gain: abs(gain) > 1e-3))
def test_si_sdr_of_a_scaled_copy_is_infinite(reference, gain):
    assume(np.abs(reference).max() > 1e-3)
    assert si_sdr(reference, gain * reference) == math.inf


def test_si_sdr_improvement():
    reference = np.array([3.0, 0.0, 4.0, 0.0])
    noise = np.array([0.0, 5.0, 0.0, 0.0])
    assert si_sdr_improvement(reference, reference + 0.1 * noise, reference + noise) == pytest.approx(20.0)
    assert si_sdr_improvement(reference, reference + noise, reference + noise) == 0.0
    with pytest.raises(EnhanceError, match="mixture is \\+inf"):
        si_sdr_improvement(reference, reference + noise, reference)
    with pytest.raises(EnhanceError, match="estimate is -inf"):
        si_sdr_improvement(reference, 0 * noise, reference + noise)


def test_snr_by_hand():
    assert snr(np.array([3.0, 4.0]), np.array([3.0, 3.0])) == pytest.approx(10 * math.log10(25))
    assert snr(np.array([3.0, 4.0]), np.array([1.5, 2.0])) == pytest.approx(20 * math.log10(2))  # gain counts
    assert snr(np.array([3.0, 4.0]), np.zeros(2)) == 0.0
    assert snr(np.array([3.0, 4.0]), np.array([3.0, 4.0])) == math.inf
    with pytest.raises(EnhanceError, match="silent reference"):
        snr(np.zeros(2), np.ones(2))


@given(st.floats(-60, 60), st.integers(0, 1000))
def test_snr_of_known_noise_is_what_was_drawn(drawn, seed):
    reference, noise = np.random.default_rng(seed).standard_normal((2, 1000))
    noise *= np.linalg.norm(reference) / np.linalg.norm(noise) * 10 ** (-drawn / 20)
    assert snr(reference, reference + noise) == pytest.approx(drawn, abs=1e-9)


@pytest.mark.parametrize(("ratio", "scored"), [(0.0, 0.0), (12.0, 12.0), (-8.0, -8.0), (60.0, 35.0), (-40.0, -10.0)])
def test_segmental_snr_of_noise_in_proportion_is_its_ratio_within_the_clamp(ratio, scored):
    wave = white(8000)
    assert segmental_snr(wave, wave * (1 + 10 ** (-ratio / 20)), 16000) == pytest.approx(scored, abs=1e-6)


def test_segmental_snr_counts_digital_silence_as_the_lowest():
    # 10 frames start at 0, 120, ..., 1080; those from 600 on hold nothing.
    wave = np.concatenate([white(600), np.zeros(1080)])
    assert segmental_snr(wave, wave, 16000) == pytest.approx((5 * 35 - 5 * 10) / 10)
    assert segmental_snr(wave, np.zeros(1680), 16000) == pytest.approx((5 * 0 - 5 * 10) / 10)


def test_segmental_snr_at_its_limits():
    with pytest.raises(EnhanceError, match="silent reference"):
        segmental_snr(np.zeros(1600), white(1600), 16000)
    with pytest.raises(EnhanceError, match=r"37\.5 ms"):
        segmental_snr(white(599), white(599), 16000)
    assert segmental_snr(white(600), white(600), 16000) == pytest.approx(35.0)


@pytest.mark.parametrize("metric", [snr, si_sdr])
def test_signals_that_nothing_can_score(metric):
    wave = white(100)
    for other, reason in [
        (wave[:99], "100 and 99 samples"),
        (np.stack([wave, wave]), "one channel"),
        (np.where(wave > 2, np.nan, wave), "NaN"),
        ((1000 * wave).astype(np.int16), "int16"),
    ]:
        with pytest.raises(EnhanceError, match=reason):
            metric(wave, other)
    with pytest.raises(EnhanceError, match="empty"):
        metric(wave[:0], wave[:0])
