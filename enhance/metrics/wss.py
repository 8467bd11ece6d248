"""Weighted spectral slope distance (Klatt 1982; as computed by Hu and Loizou 2008)."""

from __future__ import annotations

from functools import cache

import numpy as np

from enhance.metrics.signals import check, check_rate, check_sound, frame_pairs, mean_of_best

# Centres and widths (Hz) of the 25 critical bands: 70 Hz apart and wide up to 470 Hz, then ever wider.
CENTRES = (
    50.0, 120.0, 190.0, 260.0, 330.0, 400.0, 470.0, 540.0, 617.372, 703.378, 798.717, 904.128, 1020.38,
    1148.30, 1288.72, 1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63,
)  # fmt: skip
WIDTHS = (
    70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914,
    140.423, 153.823, 168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136,
)  # fmt: skip
FLOOR = np.exp(-30.0 / (2.0 * 2.303))  # of a filter; what is below is cut off
LOWEST_ENERGY = 1e-10  # of a band: -100 dB
K_MAX, K_LOCAL_MAX = 20.0, 1.0  # dB: how fast weights fall off below the highest and the nearest peak


def wss(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Weighted spectral slope distance of ``(time,)`` at 8 or 16 kHz: 0 for the same slopes, greater is worse.

    Mean over the best 95 % of the frames of the squared difference of the slopes (dB) from band to band, each
    weighted by how near to a spectral peak it is. On signals in [-1, 1], as in ``comp_wss.m``: band energies are
    cut at -100 dB, so the level matters where a signal is very quiet, and a toolkit that divides by 32768 once
    more (or feeds whole numbers) gives other values.

    Raises EnhanceError where either signal is silent, for other rates and for less than 37.5 ms.
    """
    check_rate("WSS", sample_rate, (8000, 16000))
    reference, estimate = check("WSS", reference, estimate)
    check_sound("WSS", reference=reference, estimate=estimate)
    distances = []
    for frames in frame_pairs("WSS", [reference, estimate], sample_rate):
        clean, other = (band_energies(frame, sample_rate) for frame in frames)
        weights = (slope_weights(clean) + slope_weights(other)) / 2
        difference = np.square(np.diff(clean) - np.diff(other))
        distances.append((weights * difference).sum(axis=1) / weights.sum(axis=1))
    return mean_of_best(np.concatenate(distances))


@cache
def filters(size: int, sample_rate: int) -> np.ndarray:
    """Gaussian band filters on the power spectrum without its last bin: ``(size / 2, 25)``."""
    bins = np.arange(size // 2)[:, None]
    centres, widths = (np.array(values) * size / sample_rate for values in (CENTRES, WIDTHS))
    found = np.exp(-11 * np.square((bins - np.floor(centres)) / widths)) * (widths[0] / widths)
    found[found <= FLOOR] = 0.0
    return found


def band_energies(frames: np.ndarray, sample_rate: int) -> np.ndarray:
    """Energies (dB, at least -100) of windowed frames ``(frames, samples)`` in the bands: ``(frames, 25)``."""
    size = 2 ** int(np.ceil(np.log2(2 * frames.shape[1])))
    power = np.square(np.abs(np.fft.rfft(frames, size)[:, :-1]))
    return 10 * np.log10(np.maximum(power @ filters(size, sample_rate), LOWEST_ENERGY))


def slope_weights(energies: np.ndarray) -> np.ndarray:
    """Weights ``(frames, 24)`` of the slopes between bands of ``(frames, 25)`` energies (dB).

    Each slope belongs to the nearest peak up the slope. On rising ones the peak is read one band early, at the
    last band before it, as ``comp_wss.m`` does: what counts is to be comparable.
    """
    rising = np.diff(energies) > 0
    index = np.arange(rising.shape[1])
    # First slope from here on that does not rise; last one up to here that does.
    ends = np.minimum.accumulate(np.where(rising, len(index), index)[:, ::-1], axis=1)[:, ::-1]
    begins = np.maximum.accumulate(np.where(rising, index, -1), axis=1)
    peaks = np.take_along_axis(energies, np.where(rising, ends - 1, begins + 1), axis=1)
    here = energies[:, :-1]
    highest = energies.max(axis=1, keepdims=True)
    return K_MAX / (K_MAX + highest - here) * K_LOCAL_MAX / (K_LOCAL_MAX + peaks - here)
