"""Damage and colour for training mixtures: each maps float32 ``(time,)`` or ``(signals, time)`` to the same shape.

All randomness comes from the generator that is passed in.
"""

from __future__ import annotations

import io

import numpy as np
from scipy import signal

EPS = 1e-12
CODECS = ("mu-law", "OPUS", "VORBIS", "MPEG_LAYER_III")
RATES = {  # Hz, of the codecs that do not take any
    "OPUS": (8000, 12000, 16000, 24000, 48000),
    "MPEG_LAYER_III": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
}
SPEEDS = [(4, 5), (5, 6), (8, 9), (9, 10), (10, 9), (9, 8), (6, 5), (5, 4)]  # four semitones down to four up


def rms(wave: np.ndarray) -> float:
    """Root mean square over all samples."""
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)) + EPS))


def decibels_to_gain(decibels: float) -> float:
    """Amplitude ratio of a level difference in dB."""
    return 10.0 ** (decibels / 20.0)


def reverberate(wave: np.ndarray, response: np.ndarray) -> np.ndarray:
    """``(time,)`` in the room with that impulse response, cut to its length."""
    return np.asarray(signal.oaconvolve(wave, response))[: wave.shape[-1]].astype(np.float32)


def at_speed(wave: np.ndarray, speed: tuple[int, int]) -> np.ndarray:
    """``(time,)`` played ``speed[0] / speed[1]`` times as fast, so much higher as well and shorter (rounded up)."""
    return np.asarray(signal.resample_poly(wave, speed[1], speed[0])).astype(np.float32)


def random_equaliser(waves: np.ndarray, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """One to three peaks or notches of up to 8 dB at random frequencies and widths, the same for all signals."""
    for _ in range(rng.integers(1, 4)):
        centre = float(np.exp(rng.uniform(np.log(80), np.log(0.45 * sample_rate))))
        b, a = peaking_filter(centre, rng.uniform(-8, 8), rng.uniform(0.5, 2.5), sample_rate)
        waves = np.asarray(signal.lfilter(b, a, waves)).astype(np.float32)
    return waves


def peaking_filter(centre: float, gain_db: float, q: float, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of a peaking equaliser (R. Bristow-Johnson's audio EQ cookbook).

    torchaudio's ``equalizer_biquad`` has the same formula, but clamps its output to ±1.
    """
    amplitude = 10 ** (gain_db / 40)
    omega = 2 * np.pi * centre / sample_rate
    alpha = np.sin(omega) / (2 * q)
    b = np.array([1 + alpha * amplitude, -2 * np.cos(omega), 1 - alpha * amplitude])
    a = np.array([1 + alpha / amplitude, -2 * np.cos(omega), 1 - alpha / amplitude])
    return b / a[0], a / a[0]


def random_band_limit(waves: np.ndarray, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """A telephone, a cheap microphone, a codec: a low-pass from 3 to 7.5 kHz and, half the time, a high-pass."""
    low = rng.uniform(3000, min(7500, 0.48 * sample_rate))
    sections = np.asarray(signal.butter(int(rng.integers(4, 9)), low, "lowpass", fs=sample_rate, output="sos"))
    if rng.random() < 0.5:
        high = signal.butter(2, rng.uniform(60, 350), "highpass", fs=sample_rate, output="sos")
        sections = np.concatenate((sections, np.asarray(high)))
    return np.asarray(signal.sosfilt(sections, waves)).astype(np.float32)


def clip(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Overdriven: everything above a random quantile of the modulus is cut off."""
    threshold = np.quantile(np.abs(wave), rng.uniform(0.9, 0.995)) + EPS
    return np.clip(wave, -threshold, threshold).astype(np.float32)


def codec(wave: np.ndarray, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """Through a lossy codec and back: 8-bit mu-law, or Opus, Vorbis or MP3 at a low bit rate; same length.

    Of these, one that takes the sample rate.
    """
    kind = rng.choice([name for name in CODECS if sample_rate in RATES.get(name, (sample_rate,))])
    peak = np.abs(wave).max() + EPS
    if kind == "mu-law":
        import torch
        from torchaudio.functional import mu_law_decoding, mu_law_encoding

        coded = mu_law_encoding(torch.from_numpy(wave / peak), 256)
        return mu_law_decoding(coded, 256).numpy() * peak
    import soundfile

    file = io.BytesIO()
    container = "MP3" if kind == "MPEG_LAYER_III" else "OGG"
    soundfile.write(
        file,
        wave / peak * 0.9,
        sample_rate,
        format=container,
        subtype=kind,
        compression_level=rng.uniform(0.5, 0.95),
    )
    file.seek(0)
    decoded = soundfile.read(file, dtype="float32")[0] * (peak / 0.9)
    return np.pad(decoded, (0, max(0, len(wave) - len(decoded))))[: len(wave)].astype(np.float32)


def fall_silent(waves: np.ndarray, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """Zeros for 20 ms to a second, half the time from the beginning, in all signals alike: a cut, a mute, a gate."""
    frames = waves.shape[-1]
    length = min(frames, round(sample_rate * float(np.exp(rng.uniform(np.log(0.02), 0.0)))))
    start = 0 if rng.random() < 0.5 else int(rng.integers(frames - length + 1))
    waves = waves.copy()
    waves[..., start : start + length] = 0
    return waves


def coloured_noise(frames: int, rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """Stationary Gaussian noise with a random smooth spectrum: hiss, fan, hum, rumble of a car.

    A slope of +3 to -12 dB an octave plus a random piecewise-linear curve of ±10 dB over log frequency and,
    a third of the time, a hum of harmonics of 50 or 60 Hz. RMS one.
    """
    spectrum = np.fft.rfft(rng.standard_normal(frames))
    octaves = np.log2(np.maximum(np.arange(len(spectrum)) * sample_rate / frames, 20.0) / 1000)
    knots = np.linspace(octaves[0], octaves[-1], 8)
    level = rng.uniform(-12, 3) * octaves + np.interp(octaves, knots, rng.uniform(-10, 10, len(knots)))
    noise = np.fft.irfft(spectrum * 10 ** (level / 20), frames)
    noise /= rms(noise)
    if rng.random() < 1 / 3:
        harmonics = np.arange(1, rng.integers(3, 20))[:, None]
        phase = 2 * np.pi * rng.choice([50.0, 60.0]) * np.arange(frames) / sample_rate
        waves = np.sin(harmonics * phase + rng.uniform(0, 2 * np.pi, harmonics.shape)) / harmonics
        hum = waves.sum(0)
        noise += hum / rms(hum) * decibels_to_gain(rng.uniform(-15, 5))
    return (noise / rms(noise)).astype(np.float32)
