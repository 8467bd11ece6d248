"""Recordings far from the level of speech: brought there and back, exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from signals import voice

from enhance.audio import info
from enhance.inference.denoise import denoise
from enhance.inference.level import gains, gains_of_file, unheard_of
from enhance.inference.separate import separate
from enhance.models import create

Cli = Callable[..., tuple[int, str, str]]
RATE = 16000


def noisy(seconds: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    wave = 0.3 * voice(seconds, 1) + 0.02 * rng.standard_normal(round(seconds * RATE))
    return wave.astype(np.float32)


def test_gains_are_powers_of_two_and_one_where_speech_is():
    peaks = np.array([0.0, 1e-30, 1e-3, 2.0**-6, 0.5, 1.0, 4.0, 5.0, 32768.0], dtype=np.float32)
    found = gains(peaks, together=False)[:, 0]
    assert found[[0, 3, 4, 5, 6]].tolist() == [1.0] * 5
    far = [1, 2, 7, 8]
    assert np.all(np.log2(found[far]) % 1 == 0)
    assert np.all((peaks[far] * found[far] >= 0.25) & (peaks[far] * found[far] <= 0.5))
    assert gains(np.array([1e-3, 0.5]), together=True).tolist() == [[1.0], [1.0]]
    assert gains(np.array([1e-3, 0.0]), together=True).tolist() == [[256.0], [256.0]]
    assert np.isfinite(gains(np.array([1e-45, np.inf], dtype=np.float32), together=False)).all()


@pytest.mark.parametrize("bits", [-14, 12])
def test_the_level_of_a_recording_changes_nothing_but_the_level(bits: int):
    torch.manual_seed(0)
    model, wave = create("dcunet-s").eval(), noisy()
    wave *= 0.4 / np.abs(wave).max()
    scale = np.float32(2.0**bits)
    expected = denoise(wave, RATE, model, listen=0)
    assert np.array_equal(denoise(scale * wave, RATE, model, listen=0), scale * expected)
    both = denoise(np.stack([wave, scale * wave]), RATE, model, listen=0)
    assert np.allclose(both[1], scale * both[0], rtol=1e-5, atol=float(1e-6 * scale))
    unchanged = denoise(scale * wave, RATE, model, strength=0.0, listen=0)
    assert np.array_equal(unchanged, scale * wave)


def test_a_separator_hears_the_same_at_any_level(separator: str):
    wave = noisy()
    wave *= 0.4 / np.abs(wave).max()
    expected, found = (separate(scale * wave, RATE, separator) for scale in (np.float32(1), np.float32(2.0**-12)))
    for name, part in expected.items():
        assert np.array_equal(found[name], np.float32(2.0**-12) * part)


def test_a_file_of_floats_is_looked_through_and_others_are_told_of(cli: Cli, tmp_path: Path):
    wave = noisy()
    wave *= 0.4 / np.abs(wave).max()
    for name, scale, subtype in (
        ("usual", 1.0, "FLOAT"),
        ("huge", 2.0**15, "FLOAT"),
        ("faint", 2.0**-12, "DOUBLE"),
        ("integers", 2.0**-12, "PCM_24"),
    ):
        soundfile.write(tmp_path / f"{name}.wav", scale * wave, RATE, subtype)
    assert gains_of_file(info(tmp_path / "integers.wav"), together=False).tolist() == [[1.0]]
    code, _, error = cli("denoise", tmp_path, "-o", tmp_path / "out", "-m", "dcunet-s", "--listen", "0")
    assert code == 0
    made = {name: soundfile.read(tmp_path / "out" / f"{name}.wav")[0] for name in ("usual", "huge", "faint")}
    assert np.array_equal(made["huge"], 2.0**15 * made["usual"])
    assert np.array_equal(made["faint"], 2.0**-12 * made["usual"])
    told = [line for line in error.splitlines() if "re full scale" in line]
    assert len(told) == 1
    assert "integers.wav: its peak is -80 dB re full scale" in told[0]


def test_what_is_said_of_a_level():
    assert unheard_of(0.0) == unheard_of(0.01) == unheard_of(8.0) == ""
    assert "is -72 dB re full scale, where models know little: raise" in unheard_of(0.00025)
    assert "is 40 dB re full scale, where models know little: lower" in unheard_of(100.0)
