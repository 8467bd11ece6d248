"""Log-spectral distance (Gray and Markel 1976)."""

from __future__ import annotations

import numpy as np

from enhance.metrics.signals import check, check_sound, frame_pairs

FLOOR = 1e-10  # added to the power of a bin: full scale is about 1, digital silence has a logarithm


def lsd(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Log-spectral distance in dB of ``(time,)``, any rate: 0 for the same spectra, greater is worse.

    Mean over frames of the root mean square over bins of the difference of their levels. A gain of 6 dB is a
    distance of 6 dB. Raises EnhanceError where either signal is silent, and for less than 37.5 ms.
    """
    reference, estimate = check("LSD", reference, estimate)
    check_sound("LSD", reference=reference, estimate=estimate)
    distances = []
    for frames in frame_pairs("LSD", [reference, estimate], sample_rate):
        clean, other = (10 * np.log10(np.square(np.abs(np.fft.rfft(frame))) + FLOOR) for frame in frames)
        distances.append(np.sqrt(np.square(clean - other).mean(axis=1)))
    return float(np.concatenate(distances).mean())
