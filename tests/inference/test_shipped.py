"""The shipped weights: what they do to the committed example, to clean speech, to noise and to silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import enhance
from enhance.audio import read, resample
from enhance.data.augment import coloured_noise, rms
from enhance.metrics.pesq import pesq_wb
from enhance.metrics.si_sdr import si_sdr
from enhance.metrics.stoi import stoi
from enhance.models.checkpoint import DEFAULT, PRETRAINED, load_model, read_header, shipped, shipped_denoisers
from enhance.models.listening import heard
from enhance.models.provenance import hours

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module", params=shipped_denoisers())
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    return load_model(request.param)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Noisy example and its reference, ``(time,)`` at 16 kHz."""
    return read(EXAMPLES / "noisy.wav")[0][0], read(EXAMPLES / "reference.wav")[0][0]


def test_the_example_gets_better(model, pair):
    noisy, reference = pair
    clean = enhance.denoise(noisy, 16000, model)
    assert si_sdr(reference, noisy) == pytest.approx(5.0, abs=0.1)
    assert si_sdr(reference, clean) > 11.0
    assert pesq_wb(reference, clean, 16000) > pesq_wb(reference, noisy, 16000) + 0.25
    assert stoi(reference, clean, 16000) > stoi(reference, noisy, 16000)


def test_clean_speech_is_left_alone(model, pair):
    _, reference = pair
    clean = enhance.denoise(reference, 16000, model)
    assert pesq_wb(reference, clean, 16000) > 3.9
    assert si_sdr(reference, clean) > 20.0


@pytest.mark.parametrize("seed", range(3))
def test_noise_becomes_quieter(model, seed):
    noise = 0.05 * coloured_noise(5 * 16000, np.random.default_rng(seed), 16000)
    assert 20 * np.log10(rms(enhance.denoise(noise, 16000, model)) / rms(noise)) < -15.0


def test_silence_stays_silent(model):
    assert np.abs(enhance.denoise(np.zeros(32000, np.float32), 16000, model)).max() < 1e-5


@pytest.mark.parametrize("decibels", [-25, -12, 10])
def test_level_matters_little(model, pair, decibels):
    """A quiet or loud recording is cleaned about as well: within 2 dB of what the example gains."""
    noisy, reference = pair
    gain = np.float32(10 ** (decibels / 20))
    clean = enhance.denoise(noisy * gain, 16000, model)
    assert si_sdr(reference, clean) > si_sdr(reference, enhance.denoise(noisy, 16000, model)) - 2.0


@pytest.mark.parametrize("frames", [1024, 12000])
def test_a_recording_may_begin_with_digital_silence(model, pair, frames):
    noisy, reference = pair
    clean = enhance.denoise(np.concatenate((np.zeros(frames, np.float32), noisy)), 16000, model)[frames:]
    assert si_sdr(reference, clean) > si_sdr(reference, enhance.denoise(noisy, 16000, model)) - 1.0


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_other_rates_are_cleaned_too(model, pair, rate):
    noisy, reference = (resample(wave, 16000, rate) for wave in pair)
    clean = enhance.denoise(noisy, rate, model)
    assert si_sdr(reference, clean) > si_sdr(reference, noisy) + 4.0


def test_streamed_equals_whole(model, pair):
    """Block by block of one hop, as in a call."""
    noisy = torch.from_numpy(pair[0])[None, None, : 180 * 256]
    with torch.inference_mode():
        whole = model(noisy)[..., : -model.latency]
        state, parts = heard(model, noisy), []
        for start in range(0, noisy.shape[-1], model.block):
            part, state = model.stream(noisy[..., start : start + model.block], state)
            parts.append(part)
    streamed = torch.cat(parts, dim=-1)[..., model.latency :]
    assert (streamed - whole).abs().max() < 1e-5


def test_strength_and_stereo(model, pair):
    noisy, _ = pair
    clean = enhance.denoise(noisy, 16000, model)
    half = enhance.denoise(noisy, 16000, model, strength=0.5)
    assert np.abs(half - 0.5 * (noisy + clean)).max() < 1e-6
    stereo = enhance.denoise(np.stack((noisy, noisy[::-1])), 16000, model)
    assert np.abs(stereo[0] - clean).max() < 1e-5
    assert np.abs(stereo[1] - enhance.denoise(noisy[::-1].copy(), 16000, model)).max() < 1e-5


@pytest.mark.parametrize("name", shipped())
def test_what_is_shipped_is_small_and_says_where_it_comes_from(name):
    path = PRETRAINED / f"{name}.safetensors"
    provenance = read_header(path)["provenance"]
    assert path.stat().st_size < 10_000_000
    assert hours(provenance) > 0
    assert provenance["data"]
    assert provenance["recipe"]["model"] == name  # its name is that of a run
    assert path.with_suffix(".md").read_text().startswith(f"# {name}")


def test_the_default_is_shipped():
    assert DEFAULT in shipped_denoisers()
