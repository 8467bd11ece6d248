"""STOI and ESTOI, by the package ``pystoi``."""

from __future__ import annotations

import warnings

import numpy as np

from enhance.errors import EnhanceError


def stoi(reference: np.ndarray, estimate: np.ndarray, sample_rate: int, extended: bool = False) -> float:
    """Short-time objective intelligibility (Taal et al. 2011) of ``(time,)``; ``extended``: ESTOI.

    Raises EnhanceError where fewer than 30 frames (0.4 s) of speech are left.
    """
    from pystoi import stoi as compute

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(compute(reference, estimate, sample_rate, extended=extended))
        except RuntimeWarning:
            raise EnhanceError("STOI is not defined", "less than 0.4 s of speech") from None
