"""Scale-invariant SDR (Le Roux et al. 2019, arXiv 1811.02508)."""

from __future__ import annotations

import numpy as np

from enhance.errors import EnhanceError


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """SI-SDR in dB of ``(time,)``, means not removed; ``inf`` for a scaled copy, ``-inf`` for silence.

    Raises EnhanceError for a silent reference, for which it is not defined.
    """
    reference, estimate = reference.astype(np.float64), estimate.astype(np.float64)
    energy = reference @ reference
    if energy == 0:
        raise EnhanceError("SI-SDR of a silent reference is not defined", "leave the clip out")
    target = (estimate @ reference) / energy * reference
    distortion = estimate - target
    with np.errstate(divide="ignore"):
        return float(10 * np.log10((target @ target) / (distortion @ distortion))) if estimate.any() else -np.inf
