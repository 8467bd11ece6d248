"""DNSMOS: what is handed to the package and what comes back; the package itself where it is installed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from signals import voice

from enhance.errors import EnhanceError
from enhance.metrics import METRICS
from enhance.metrics.dnsmos import dnsmos


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What a stand-in for the package is given."""
    given: list[np.ndarray] = []

    def run(sample: np.ndarray, sr: int) -> dict[str, np.float64]:
        assert sr == 16000
        given.append(sample)
        return {name: np.float64(value) for name, value in
                {"sig_mos": 3.0, "bak_mos": 4.0, "ovrl_mos": 2.5, "p808_mos": 3.5}.items()}  # fmt: skip

    package = ModuleType("speechmos")
    package.dnsmos = SimpleNamespace(run=run)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "speechmos", package)
    return given


def test_scores_and_the_level_as_it_is(heard):
    wave = 0.01 * voice(1.0, 1)
    assert dnsmos(wave, 16000) == (3.0, 4.0, 2.5, 3.5)
    np.testing.assert_array_equal(heard[0], wave)
    assert heard[0].dtype == np.float32


def test_overs_are_clipped_and_not_scaled(heard):
    wave = np.tile(np.array([0.5, -0.5], np.float32), 8000)
    wave[:2] = 1.2, -1.2
    dnsmos(wave, 16000)
    np.testing.assert_array_equal(heard[0], wave.clip(-1, 1))


@pytest.mark.parametrize(
    ("wave", "rate", "reason"),
    [
        (np.ones(16000) * 3, 16000, "over full scale"),
        (np.zeros(16000), 16000, "silent"),
        (np.zeros(0), 16000, "empty"),
        (np.full(16000, np.nan), 16000, "NaN"),
        (np.ones(16000), 48000, "resample"),
    ],
)
def test_what_cannot_be_scored(heard, wave, rate, reason):
    with pytest.raises(EnhanceError, match=reason):
        dnsmos(wave, rate)
    assert not heard


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "speechmos", None)
    with pytest.raises(EnhanceError, match=r"pip install speechmos librosa"):
        dnsmos(voice(1.0, 1), 16000)


def test_no_reference_is_needed(heard):
    assert METRICS["dnsmos_ovrl"](None, voice(1.0, 1), None, 16000) == 2.5


@pytest.mark.slow
def test_the_package_prefers_speech_to_noise():
    wave = voice(3.0, 1)
    clean, noisy = (dnsmos((wave + level * np.random.default_rng(0).standard_normal(48000)).clip(-1, 1), 16000)
                    for level in (0.0, 0.1))  # fmt: skip
    assert clean.bak > noisy.bak
    assert all(0.5 < score < 5 for score in (*clean, *noisy))
