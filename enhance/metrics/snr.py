"""Signal-to-noise ratio, over a whole clip and per frame."""

from __future__ import annotations

import numpy as np

from enhance.metrics.signals import check, check_sound, frame_pairs

LOWEST, HIGHEST = -10.0, 35.0  # dB, of a frame
EPS = np.finfo(np.float64).eps


def snr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """10·log10(Σs² / Σ(s − ŝ)²) in dB of ``(time,)``, any rate; every difference counts as noise, gain too.

    ``inf`` for identical signals, 0 for a silent estimate. Raises EnhanceError for a silent reference.
    """
    reference, estimate = check("SNR", reference, estimate)
    check_sound("SNR", reference=reference)
    noise = reference - estimate
    with np.errstate(divide="ignore"):
        return float(10 * np.log10((reference @ reference) / (noise @ noise)))


def segmental_snr(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Mean SNR (dB, -10 to 35) of the frames of ``(time,)``, any rate, as Hu and Loizou (2008) compute it.

    Frames as in :func:`enhance.metrics.signals.frame_pairs`, each clamped to [-10, 35] dB, pauses included. The
    estimate is taken as it is: toolkits that first take off its mean and scale it to the clean peak
    (speechbrain, denoiser) give other values. A frame of digital silence counts as -10 dB, whatever the estimate
    holds there, so even identical signals come below 35 if they have such pauses. A silent estimate: 0 in all
    other frames.

    Raises EnhanceError for a silent reference and for less than 37.5 ms.
    """
    reference, estimate = check("segmental SNR", reference, estimate)
    check_sound("segmental SNR", reference=reference)
    ratios = [
        np.square(clean).sum(axis=1) / (np.square(clean - other).sum(axis=1) + EPS) + EPS
        for clean, other in frame_pairs("segmental SNR", [reference, estimate], sample_rate)
    ]
    return float((10 * np.log10(np.concatenate(ratios))).clip(LOWEST, HIGHEST).mean())
