"""Constant delays: found by cross-correlation, and taken out."""

from __future__ import annotations

import numpy as np

BLOCK = 1 << 18  # samples correlated at once: minutes of music at 44.1 kHz would not fit into memory as one


def find_delay(reference: np.ndarray, estimate: np.ndarray, most: int) -> int:
    """The delay of ``estimate`` against ``reference``, both ``(time,)``, in samples within ±``most``.

    Positive where the estimate is late. It is where the absolute value of their cross-correlation is largest, so
    that a reversed polarity does not matter; 0 where either is silent.
    """
    from scipy.signal import correlate

    length = len(reference)
    padded = shift(np.asarray(estimate, dtype=np.float64), -most, length + 2 * most)
    likeness = np.zeros(2 * most + 1)  # of delays -most ... most
    for start in range(0, length, BLOCK):
        block = np.asarray(reference[start : start + BLOCK], dtype=np.float64)
        part = padded[start : start + len(block) + 2 * most]
        likeness += correlate(part, block, mode="valid", method="fft")
    nearest_first = np.argsort(np.abs(np.arange(-most, most + 1)), kind="stable")
    return int(nearest_first[np.argmax(np.abs(likeness)[nearest_first])]) - most


def shift(estimate: np.ndarray, delay: int, length: int) -> np.ndarray:
    """``estimate`` ``(time,)`` advanced by ``delay`` samples: ``(length,)``, with zeros where it has none."""
    shifted = np.zeros(length, dtype=estimate.dtype)
    start = min(length, max(0, -delay))
    part = estimate[max(0, delay) :][: length - start]
    shifted[start : start + len(part)] = part
    return shifted
