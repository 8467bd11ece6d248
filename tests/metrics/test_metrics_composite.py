"""LLR, WSS and the composite measures: against slow and plain computations, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import solve_toeplitz, toeplitz
from signals import voice

from enhance.errors import EnhanceError
from enhance.metrics.composite import combine, composite
from enhance.metrics.llr import llr, predictor, residual
from enhance.metrics.pesq import pesq_wb
from enhance.metrics.signals import frame_pairs, mean_of_best
from enhance.metrics.snr import segmental_snr
from enhance.metrics.wss import CENTRES, WIDTHS, filters, slope_weights, wss


def white(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples)


@pytest.mark.parametrize(
    ("rate", "length", "samples", "count"),
    [
        (16000, 480, 600, 1),
        (16000, 480, 719, 1),
        (16000, 480, 720, 2),
        (8000, 240, 8000, 129),
        (16000, 480, 80000, 662),
    ],
)
def test_frames_are_30_ms_a_quarter_apart_without_the_last(rate, length, samples, count):
    signal = np.arange(1.0, samples + 1)
    frames = np.concatenate([block for (block,) in frame_pairs("test", [signal], rate)])
    assert frames.shape == (count, length)
    window = np.hanning(length + 2)[1:-1]
    start = (count - 1) * length // 4
    np.testing.assert_allclose(frames[-1], signal[start : start + length] * window, atol=1e-8)


def test_mean_of_the_best_19_of_20():
    assert mean_of_best(np.array([100.0, *range(19)])) == 9.0
    assert mean_of_best(np.arange(10.0)) == 4.5  # 9.5 are rounded up
    assert mean_of_best(np.array([3.0])) == 3.0


def test_predictor_of_a_first_order_process():
    correlation = 0.9 ** np.arange(17.0)[None]
    np.testing.assert_allclose(predictor(correlation)[0], [1, -0.9, *[0] * 15], atol=1e-12)
    # Its error: 1 - 0.81. White noise is not to be predicted: the same filter leaves 1 + 0.81 of it.
    np.testing.assert_allclose(residual(predictor(correlation), correlation), [0.19])
    np.testing.assert_allclose(residual(predictor(correlation), np.eye(1, 17)), [1.81])


def test_predictor_and_residual_are_those_of_the_normal_equations():
    frames = np.random.default_rng(0).standard_normal((5, 100))
    correlation = np.stack([[frame[: 100 - lag] @ frame[lag:] for lag in range(17)] for frame in frames])
    found = predictor(correlation)
    for row, filter_ in zip(correlation, found, strict=True):
        np.testing.assert_allclose(filter_[1:], solve_toeplitz(row[:-1], -row[1:]), atol=1e-10)
    other = correlation[::-1]
    expected = [a @ toeplitz(row) @ a for a, row in zip(found, other, strict=True)]
    np.testing.assert_allclose(residual(found, other), expected)


def test_llr_of_one_frame_by_hand():
    # An impulse has R = w² I. The estimate has an echo, whose predictor a then leaves w² (a · a).
    reference, estimate = np.zeros((2, 600))
    reference[240] = estimate[240] = 1.0
    estimate[241] = -0.5
    first, second = 0.5 * (1 - np.cos(2 * np.pi * np.array([241, 242]) / 481))
    echo = np.array([first**2 + 0.25 * second**2, -0.5 * first * second, *[0] * 15])
    a = np.array([1, *solve_toeplitz(echo[:-1], -echo[1:])])
    assert llr(reference, estimate, 16000) == pytest.approx(np.log(a @ a), abs=1e-9)
    assert llr(reference, estimate, 16000) == pytest.approx(np.log(4 / 3), abs=1e-3)  # a: 1, 1/2, 1/4, ...


def test_llr_is_that_of_a_loop_over_frames():
    reference, estimate = voice(0.5, 1) + 1e-3 * white(8000), voice(0.5, 1) + 0.05 * white(8000, 1)
    distances = []
    for clean, other in zip(*next(iter(frame_pairs("test", [reference, estimate], 16000))), strict=True):
        rows = [np.correlate(frame, frame, "full")[479:496] for frame in (clean, other)]
        own, processed = (np.array([1, *solve_toeplitz(row[:-1], -row[1:])]) for row in rows)
        matrix = toeplitz(rows[0])
        distances.append(np.log((processed @ matrix @ processed) / (own @ matrix @ own)))
    kept = np.sort(distances)[: round(0.95 * len(distances))]
    assert llr(reference, estimate, 16000) == pytest.approx(kept.mean(), rel=1e-6)


@pytest.mark.parametrize("samples", [240, 480])
def test_filters_of_the_bands(samples):
    rate = 8000 * samples // 240
    size = 512 * samples // 240
    found = filters(size, rate)
    assert found.shape == (size // 2, 25)
    bins = [int(centre * size / rate) for centre in CENTRES]
    np.testing.assert_allclose(found[bins, range(25)], 70 / np.array(WIDTHS))  # equal areas
    assert found[bins[24] - 40, 24] == 0  # 625 Hz away, where the Gaussian is below the floor


def walked(energies: np.ndarray) -> np.ndarray:
    """The nearest peaks of one frame, found by walking along the bands as the definition says."""
    slopes = np.diff(energies)
    peaks = []
    for start, slope in enumerate(slopes):
        at = start
        if slope > 0:
            while at < 24 and slopes[at] > 0:
                at += 1
            peaks.append(energies[at - 1])
        else:
            while at >= 0 and slopes[at] <= 0:
                at -= 1
            peaks.append(energies[at + 1])
    return np.array(peaks)


@given(arrays(np.float64, (3, 25), elements=st.integers(-10, 10).map(float)))
def test_weights_of_the_slopes(energies):
    expected = [20 / (20 + row.max() - row[:-1]) * 1 / (1 + walked(row) - row[:-1]) for row in energies]
    np.testing.assert_allclose(slope_weights(energies), expected)


def test_weights_of_ramps_by_hand():
    band = np.arange(24)
    rising, falling = slope_weights(np.array([np.arange(25.0), np.arange(24.0, -1, -1)]))
    np.testing.assert_allclose(rising, 20 / (20 + 24 - band) * 1 / (1 + 23 - band))  # the peak is read early
    np.testing.assert_allclose(falling, 20 / (20 + band) * 1 / (1 + band))


def test_wss_of_one_frame_by_hand():
    # An impulse has the same power in all bins: the band energies are those of the filters. The estimate is
    # so weak that all its bands are at the floor: no slopes, all weights 1.
    reference, estimate = np.zeros((2, 600))
    reference[240], estimate[240] = 1.0, 1e-7
    weight = 0.5 * (1 - np.cos(2 * np.pi * 241 / 481))
    energies = 10 * np.log10(weight**2 * filters(1024, 16000).sum(axis=0))
    weights = (slope_weights(energies[None])[0] + 1) / 2
    expected = (weights * np.diff(energies) ** 2).sum() / weights.sum()
    assert wss(reference, estimate, 16000) == pytest.approx(expected)


SIGNALS = st.builds(
    lambda seed, length, level: level * np.random.default_rng(seed).standard_normal(length),
    st.integers(0, 99), st.sampled_from([600, 1600, 1601, 8000]), st.sampled_from([1e-3, 0.1, 1.0]),
)  # fmt: skip


@given(SIGNALS, st.sampled_from([8000, 16000]))
def test_no_distance_from_itself(wave, rate):
    assert llr(wave, wave, rate) == 0
    assert wss(wave, wave, rate) == 0


@given(SIGNALS, st.integers(100, 199), st.floats(0.01, 100))
def test_distances_are_not_negative_and_do_not_depend_on_gain(wave, seed, gain):
    other = 0.1 * np.convolve(np.random.default_rng(seed).standard_normal(len(wave)), [1, 0.7, 0.3], "same")
    assert llr(wave, other, 16000) >= 0
    assert llr(wave, gain * other, 16000) == pytest.approx(llr(wave, other, 16000), abs=1e-6)
    assert wss(wave, gain * other, 16000) == pytest.approx(wss(wave, other, 16000), abs=1e-6)
    assert wss(wave, other, 16000) == pytest.approx(wss(other, wave, 16000))  # symmetric


@pytest.mark.parametrize("metric", [llr, wss])
def test_distances_are_finite_for_awkward_signals(metric):
    tone = np.sin(np.arange(8000) * 0.1)
    gaps = np.where(np.arange(8000) // 2000 % 2, white(8000), 0.0)
    for reference in (tone, np.ones(8000), gaps, white(8000) + 10.0, np.eye(1, 8000, 4000)[0]):
        for estimate in (tone, np.ones(8000), gaps, white(8000, 1), 1e-6 * gaps[::-1]):
            assert 0 <= metric(reference, estimate, 16000) < np.inf


@pytest.mark.parametrize("metric", [llr, wss, composite])
def test_distances_that_are_not_defined(metric):
    wave = voice(1.0, 1)
    with pytest.raises(EnhanceError, match="silent"):
        metric(np.zeros(16000), wave, 16000)
    with pytest.raises(EnhanceError, match="silent"):
        metric(wave, np.zeros(16000), 16000)
    with pytest.raises(EnhanceError, match=r"resample to .*16000 Hz"):
        metric(wave, wave, 44100)
    with pytest.raises(EnhanceError, match="not defined"):
        metric(wave[:599], wave[:599], 16000)


def test_composite_measures_by_hand():
    found = combine(pesq=2.0, llr=0.5, wss=40.0, seg_snr=5.0)
    assert found.csig == pytest.approx(3.093 - 0.5145 + 1.206 - 0.36)
    assert found.cbak == pytest.approx(1.634 + 0.956 - 0.28 + 0.315)
    assert found.covl == pytest.approx(1.594 + 1.61 - 0.256 - 0.28)
    assert combine(pesq=1.0, llr=9.0, wss=400.0, seg_snr=-10.0) == (1.0, 1.0, 1.0)
    assert combine(pesq=4.64, llr=0.0, wss=0.0, seg_snr=35.0) == (5.0, 5.0, 5.0)


def test_composite_is_made_of_the_others():
    wave = voice(2.0, 3)
    noisy = wave + 0.03 * white(32000)
    parts = {
        "pesq": pesq_wb(wave, noisy, 16000),
        "llr": llr(wave, noisy, 16000),
        "wss": wss(wave, noisy, 16000),
        "seg_snr": segmental_snr(wave, noisy, 16000),
    }
    assert composite(wave, noisy, 16000) == combine(**parts)
