"""Made-up signals for tests."""

from __future__ import annotations

import numpy as np


def voice(seconds: float, seed: int, rate: int = 16000) -> np.ndarray:
    """Something like speech, float32 ``(time,)``: a gliding harmonic tone and hiss in syllables with pauses."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = rng.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.3, 0.8) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    tone = sum(np.sin(k * phase) * np.exp(-(((k * 150 - 600) / 900) ** 2)) for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(2.5, 4.5) * time + rng.uniform(0, 6)), 0, 1)
    wave = (tone + 0.3 * rng.standard_normal(len(time))) * syllables
    return (0.1 * wave / np.abs(wave).std()).clip(-1, 1).astype(np.float32)
