"""BSSEval through museval, and the ratio of the MDX challenges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enhance.errors import EnhanceError
from enhance.metrics.bss_eval import bss_eval, denoising_bss_eval, global_sdr
from enhance.metrics.snr import snr


def white(*shape: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(shape)


def test_it_is_what_museval_reports():
    import museval

    references = white(2, 2, 20000)
    estimates = references + 0.1 * references[::-1] + 0.1 * white(2, 2, 20000, seed=1)
    found = bss_eval(references, estimates, 8000)
    sdr, isr, sir, sar = museval.evaluate(
        references.transpose(0, 2, 1), estimates.transpose(0, 2, 1), win=8000, hop=8000, mode="v4"
    )
    for ratio, expected in zip(found, (sdr, sir, isr, sar), strict=True):
        np.testing.assert_allclose(ratio, np.nanmedian(expected, axis=1))


def test_known_ratios():
    speech, noise, hiss = white(3, 32000)
    # Filtered speech is spatial distortion, noise is interference, what is neither is an artefact.
    filtered = 0.1 * np.r_[0, speech[:-1]]
    found = denoising_bss_eval(speech, speech + filtered + 0.3 * noise + 0.03 * hiss, 16000, speech + noise)
    by_chance = 0.09 * 512 / 32000  # of the noise, which 512 taps of speech explain
    assert found.isr[0] == pytest.approx(10 * math.log10(1 / (0.01 + by_chance)), abs=0.2)
    assert found.sir[0] == pytest.approx(10 * math.log10(1.01 / 0.09), abs=0.3)
    assert found.sar[0] == pytest.approx(10 * math.log10(1.1 / 0.0009), abs=0.5)
    assert found.sdr[0] == pytest.approx(10 * math.log10(1 / (0.01 + 0.09 + 0.0009)), abs=0.3)


def test_sdr_of_one_second_is_the_snr():
    speech, noise = white(2, 16000)
    assert denoising_bss_eval(speech, speech + noise, 16000).sdr[0] == pytest.approx(snr(speech, speech + noise))


def test_the_median_passes_over_silent_seconds():
    speech, noise = white(2, 5 * 8000)
    for second, gain in enumerate((1.0, 0.1, 0.5)):
        noise[second * 8000 : (second + 1) * 8000] *= gain
    speech[3 * 8000 :] = 0.0
    frames = [slice(8000 * second, 8000 * (second + 1)) for second in range(3)]
    expected = np.median([snr(speech[frame], speech[frame] + noise[frame]) for frame in frames])
    assert denoising_bss_eval(speech, speech + noise, 8000).sdr[0] == pytest.approx(expected)


def test_the_untouched_mixture_and_the_speech_itself():
    speech, noise = white(2, 16000)
    untouched = denoising_bss_eval(speech, speech + noise, 16000, speech + noise)
    assert np.isnan(untouched.sar[0])  # no artefacts
    assert np.isfinite([untouched.sdr[0], untouched.sir[0], untouched.isr[0]]).all()
    assert np.isnan(denoising_bss_eval(speech, speech, 16000, speech + noise)).all()  # all infinite
    assert np.isnan(denoising_bss_eval(speech, speech + noise, 16000).sir[0])  # nothing interferes


def test_what_cannot_be_scored():
    speech = white(16000)
    for reference, estimate, reason in [
        (np.zeros(16000), speech, "silent reference"),
        (speech, np.zeros(16000), "silent estimate"),
        (speech, speech[:-1], "same sources"),
    ]:
        with pytest.raises(EnhanceError, match=reason):
            denoising_bss_eval(reference, estimate, 16000)
    with pytest.raises(EnhanceError, match="no noise"):
        denoising_bss_eval(speech, speech, 16000, speech)


def test_a_silent_source_takes_nothing_from_the_others():
    references = white(3, 2, 16000)
    estimates = references + 0.2 * references[[1, 2, 0]] + 0.1 * white(3, 2, 16000, seed=1)
    whole = bss_eval(references, estimates, 8000)
    two = bss_eval(references[:2], estimates[:2], 8000)
    for silent, expected in (("reference", two), ("estimate", whole)):  # a silent estimate leaves its reference
        group = {"reference": references.copy(), "estimate": estimates.copy()}
        group[silent][2] = 0
        for ratio, wanted in zip(bss_eval(group["reference"], group["estimate"], 8000), expected, strict=True):
            np.testing.assert_allclose(ratio[:2], wanted[:2])
            assert np.isnan(ratio[2])
    assert np.isnan(bss_eval(references, 0 * estimates, 8000)).all()
    assert np.isnan(bss_eval(0 * references, estimates, 8000)).all()
    references[2, 1] = -references[2, 0]
    with pytest.raises(EnhanceError, match="cancel out"):
        bss_eval(references, estimates, 8000)


def test_references_that_numpy_cannot_tell_apart(monkeypatch):
    def singular(*_: np.ndarray) -> np.ndarray:
        raise np.linalg.LinAlgError

    monkeypatch.setattr(np.linalg, "solve", singular)
    with pytest.raises(EnhanceError, match="depend on each other"):
        bss_eval(white(2, 1, 1000), white(2, 1, 1000), 16000)


def test_global_sdr_by_hand():
    song = np.array([[3.0, 0.0], [0.0, 4.0]])
    assert global_sdr(song, song + np.array([[0.0, 0.5], [0.0, 0.0]])) == pytest.approx(20.0)  # 25 against 0.25
    assert global_sdr(song, song) == pytest.approx(10 * math.log10((25 + 1e-7) / 1e-7))
    assert global_sdr(song, 0 * song) == 0.0
    with pytest.raises(EnhanceError, match="silent reference"):
        global_sdr(0 * song, song)
    with pytest.raises(EnhanceError, match="shapes"):
        global_sdr(song, song[:1])


@given(st.floats(-30, 60), st.integers(0, 99))
def test_global_sdr_is_the_snr_of_a_loud_song(drawn, seed):
    song, noise = np.random.default_rng(seed).standard_normal((2, 2, 500))
    noise *= np.linalg.norm(song) / np.linalg.norm(noise) * 10 ** (-drawn / 20)
    assert global_sdr(song, song + noise) == pytest.approx(drawn, abs=1e-3)
