"""Scale-invariant SDR (Le Roux et al. 2019, arXiv 1811.02508), and what an estimate gains of it."""

from __future__ import annotations

import numpy as np

from enhance.errors import EnhanceError
from enhance.metrics.signals import check

ROUNDING = (4 * np.finfo(np.float64).eps) ** 2  # of the energy: less distortion than that is none


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """SI-SDR in dB of ``(time,)``, means not removed; ``inf`` for a scaled copy, ``-inf`` for silence.

    Equation 3 of the paper, any rate: the estimate's projection on the reference over what is left of it. The
    means stay, as in the paper (some packages take them off first; on speech the difference is about 0.01 dB).

    Raises EnhanceError for a silent reference, for which it is not defined.
    """
    reference, estimate = check("SI-SDR", reference, estimate)
    energy = reference @ reference
    if energy == 0:
        raise EnhanceError("SI-SDR of a silent reference is not defined", "leave the clip out")
    target = (estimate @ reference) / energy * reference
    distortion = estimate - target
    kept, lost = target @ target, distortion @ distortion
    if kept == 0:
        return -np.inf
    return float(10 * np.log10(kept / lost)) if lost > ROUNDING * kept else np.inf


def si_sdr_improvement(reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray) -> float:
    """SI-SDR (dB) of the estimate less that of the mixture, against the same reference; all ``(time,)``.

    Raises EnhanceError where either is infinite: a mixture without noise cannot be improved.
    """
    before, after = si_sdr(reference, mixture), si_sdr(reference, estimate)
    for name, value in (("mixture", before), ("estimate", after)):
        if not np.isfinite(value):
            raise EnhanceError("SI-SDR improvement is not defined", f"SI-SDR of the {name} is {value:+} dB")
    return after - before
