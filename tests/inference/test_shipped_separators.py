"""The shipped separators: what they make of speech over music and of speech in noise, and where it is heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import enhance
from enhance import audio
from enhance.metrics.si_sdr import si_sdr
from enhance.models.checkpoint import load_model, shipped, shipped_denoisers

LEAST = {"ru-music": (0.8, 10.0), "fr-music": (1.8, 5.0), "de-crowd": (5.0, 9.0)}  # dB that speech and the other gain
CLIPS = Path(enhance.__file__).parent / "bench" / "clips"


@pytest.fixture(scope="module", params=[name for name in shipped() if name not in shipped_denoisers()])
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    return load_model(request.param)


def sources(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Speech and what is added to it, ``(time,)`` at 16 kHz, of a committed clip."""
    (clean,), rate = audio.read(CLIPS / "clean" / f"{name}.flac")
    assert rate == 16000
    return clean, audio.read(CLIPS / "noisy" / f"{name}.flac")[0][0] - clean


def gain(source: np.ndarray, estimate: np.ndarray, mixture: np.ndarray) -> float:
    """SI-SDR that an estimate has more than the mixture, in dB."""
    return si_sdr(source, estimate) - si_sdr(source, mixture)


@pytest.mark.parametrize(("clip", "other"), [("ru-music", "music"), ("fr-music", "music"), ("de-crowd", "noise")])
def test_speech_and_the_other_come_apart(model: torch.nn.Module, clip: str, other: str):
    speech, rest = sources(clip)
    found = enhance.separate(speech + rest, 16000, model, "cpu")
    assert gain(speech, found["speech"], speech + rest) > LEAST[clip][0]
    assert gain(rest, found[other], speech + rest) > LEAST[clip][1]


@pytest.mark.parametrize("panned_db", [-3.0, -12.0])
@pytest.mark.parametrize("clip", ["ru-music", "fr-music"])
def test_a_panned_voice_keeps_its_place(model: torch.nn.Module, clip: str, panned_db: float):
    """A voice that is quieter on the right, in music that is not: its level difference stays, within 1 dB.

    That of its own part of the estimate, the projection on the voice: what is left of the music has another place.
    """
    speech, music = sources(clip)
    voice = np.stack((speech, 10 ** (panned_db / 20) * speech))
    found = enhance.separate(voice + music, 16000, model, "cpu")["speech"]
    left, right = (np.dot(part, true) / np.dot(true, true) for part, true in zip(found, voice, strict=True))
    assert 20 * np.log10(right / left) == pytest.approx(0.0, abs=1.0)
    assert gain(voice[0], found[0], voice[0] + music) > LEAST[clip][0]
