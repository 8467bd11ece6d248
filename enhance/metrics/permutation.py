"""Sources without names, such as the speakers of a mixture: which estimate is whose."""

from __future__ import annotations

import numpy as np

from enhance.errors import EnhanceError
from enhance.metrics.si_sdr import si_sdr

MOST = 100.0  # dB, to which SI-SDR is bounded: perfect and silent estimates are compared too


def best_order(references: np.ndarray, estimates: np.ndarray) -> list[int]:
    """For each reference its estimate, both ``(sources, time)``: the order of the highest mean SI-SDR.

    One order for the whole clip; the pairs are assigned by the Hungarian method. A silent reference, for which
    SI-SDR is not defined, takes what is left. Raises EnhanceError where shapes differ or a signal cannot be scored.
    """
    from scipy.optimize import linear_sum_assignment

    if references.shape != estimates.shape or references.ndim != 2:
        raise EnhanceError(f"order of sources of shapes {references.shape} and {estimates.shape}", "give as many")
    pairs = np.array([[_bounded(reference, estimate) for estimate in estimates] for reference in references])
    return linear_sum_assignment(pairs, maximize=True)[1].tolist()


def _bounded(reference: np.ndarray, estimate: np.ndarray) -> float:
    return float(np.clip(si_sdr(reference, estimate), -MOST, MOST)) if reference.any() else 0.0
