"""Mixtures with five kinds of noise at fixed SNRs, from the split ``valid`` of a prepared data set.

Stationary noise, babble and music are those of validation. Impulsive and narrow-band noise no training knows of:
both are made from the recordings of noise, the latter in part from tones.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from scipy import signal

from enhance.data.augment import decibels_to_gain, rms
from enhance.data.mixing import SILENT, Example, Mixer
from enhance.data.store import Store
from enhance.training.validate import KINDS as VALIDATION
from enhance.training.validate import SEED

SNRS = (-5.0, 0.0, 5.0, 10.0, 15.0)  # dB


def impulsive(recorded: Callable[[], np.ndarray], rng: np.random.Generator, rate: int) -> np.ndarray:
    """Knocks, clicks, clatter: one to three sounds, each struck 1 to 4 times a second at random.

    A sound is the loudest instant of a recording, ``(frames,)`` each, dying away within 5 to 40 ms.
    """
    wave = recorded()
    frames, total = len(wave), np.zeros(len(wave), np.float32)
    for number in range(rng.integers(1, 4)):
        wave = wave if number == 0 else recorded()
        before, after = round(0.002 * rate), round(0.15 * rate)
        peak = int(np.abs(wave[: max(1, frames - after)]).argmax())
        sound = wave[max(0, peak - before) : peak + after]
        time = np.arange(len(sound)) / rate
        sound = sound * np.exp(-time / rng.uniform(0.005, 0.04)) * np.minimum(1, time / 0.001)
        for start in rng.integers(0, frames, 1 + rng.poisson(rng.uniform(1, 4) * frames / rate)):
            piece = sound[: frames - start] * decibels_to_gain(rng.uniform(-10, 0))
            total[start : start + len(piece)] += piece / max(np.abs(sound).max(), SILENT)
    return total


def narrow_band(recorded: Callable[[], np.ndarray], rng: np.random.Generator, rate: int) -> np.ndarray:
    """Whistles, beeps, squeals: one to three tones or sixths of an octave of a recording, 200 Hz to 4 kHz.

    Half of them are steady, the others come and go 1 to 4 times a second.
    """
    wave = recorded()
    time, total = np.arange(len(wave)) / rate, np.zeros(len(wave), np.float32)
    for _ in range(rng.integers(1, 4)):
        centre = float(np.exp(rng.uniform(np.log(200), np.log(4000))))
        if rng.random() < 0.5:
            sweep = 1 + rng.uniform(0, 0.05) * np.sin(2 * np.pi * rng.uniform(0.2, 5) * time + rng.uniform(0, 6))
            band = np.sin(2 * np.pi * np.cumsum(centre * sweep) / rate)
        else:
            edges = centre * 2 ** np.array([-1 / 12, 1 / 12])
            band = np.asarray(signal.sosfilt(signal.butter(2, edges, "bandpass", fs=rate, output="sos"), recorded()))
        if rng.random() < 0.5:
            on = np.sin(2 * np.pi * rng.uniform(1, 4) * time + rng.uniform(0, 6))
            band = band * np.clip(20 * on, 0, 1)
        total += band / max(rms(band), SILENT) * decibels_to_gain(rng.uniform(-6, 0))
    return total


MADE = {"impulsive": impulsive, "narrow-band": narrow_band}
KINDS = ("stationary", "impulsive", "babble", "music", "narrow-band")


class KindMixer(Mixer):
    """Speech with one kind of noise at one SNR: at each of them, an example has the same speech and the same noise."""

    def __init__(self, store: Store, kind: str, snr_db: float, seconds: float) -> None:
        config = VALIDATION["noise" if kind in MADE else kind].model_copy(update={"snr_db": (snr_db, snr_db)})
        super().__init__(store, "valid", config, round(seconds * store.sample_rate), SEED)
        self.kind = kind

    def interference(self, rng: np.random.Generator) -> np.ndarray:
        recorded = super().interference
        if self.kind not in MADE:
            return recorded(rng)
        wave = MADE[self.kind](lambda: recorded(rng), rng, self.rate)
        return wave / max(rms(wave), SILENT)


def example(store: Store, kind: str, snr_db: float, seconds: float, index: int) -> Example:
    """Number ``index`` of a kind, the same at every call."""
    return KindMixer(store, kind, snr_db, seconds).example(zlib.crc32(b"kinds:" + kind.encode()), index)
