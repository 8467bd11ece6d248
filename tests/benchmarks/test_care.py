"""What a denoiser keeps of speech and leaves of noise: known answers, and an untrained model on a toy data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from enhance.data.mixing import Example
from enhance.models import create

RATE = 16000


@pytest.fixture
def care(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import care

    return care


def sounds() -> tuple[np.ndarray, np.ndarray]:
    """A second each of a loud low tone, a faint high one and silence, and noise that is as faint throughout."""
    time = np.arange(RATE) / RATE
    low, high = 0.3 * np.sin(2 * np.pi * 300 * time), 0.01 * np.sin(2 * np.pi * 5000 * time)  # 30 dB below
    noise = 1e-4 * np.random.default_rng(0).standard_normal(3 * RATE)
    return np.concatenate([low, high, 0 * time]).astype(np.float32), noise.astype(np.float32)


def test_each_sort_of_frames_is_measured_by_itself(care):
    speech, noise = sounds()
    gains = np.repeat([0.5, 0.1, 0.01], RATE).astype(np.float32)
    found = care.measured(Example(speech + noise, speech), gains * (speech + noise), RATE)
    kept = [found[name] for name in ("loud", "consonants", "pauses")]
    assert kept == pytest.approx([-6.02, -20.0, -40.0], abs=0.1)


def test_what_a_clip_does_not_have_is_passed_over(care):
    speech, noise = sounds()
    found = care.measured(Example(speech[:RATE] + noise[:RATE], speech[:RATE]), speech[:RATE], RATE)
    assert "consonants" not in found
    assert "pauses" not in found


class Half(torch.nn.Module):
    """Half of what a model makes of it."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        return 0.5 * self.model(mixture)


@pytest.mark.slow
def test_an_untrained_model_keeps_everything(care, store):
    model = create("dcunet-s", widths=[4, 6, 8], hidden=8, blocks=1)
    rows = care.measure(store, model, 2)
    assert [(row["snr"], row["strength"]) for row in rows[:4]] == [(0.0, 1.0), (0.0, 0.75), (0.0, 0.5), (10.0, 1.0)]
    assert len(rows) == 12
    assert all(row["loud"] == pytest.approx(0, abs=1.5) for row in rows)  # noise is speech by chance, a little
    assert all(row["pauses"] == pytest.approx(0, abs=0.01) for row in rows if "pauses" in row)
    assert care.noise_alone(store, model, 2) == pytest.approx(0, abs=0.01)
    assert care.noise_alone(store, Half(model), 2) == pytest.approx(-6.02, abs=0.01)
