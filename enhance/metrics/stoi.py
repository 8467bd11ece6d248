"""STOI (Taal et al. 2011) and ESTOI (Jensen and Taal 2016), by the package ``pystoi``."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np

from enhance.errors import EnhanceError
from enhance.metrics.signals import check, check_sound

SHORTEST = 0.4  # seconds: 30 frames of 25.6 ms, half overlapped, at 10 kHz


def stoi(reference: np.ndarray, estimate: np.ndarray, sample_rate: int, extended: bool = False) -> float:
    """Short-time objective intelligibility (Taal et al. 2011) of ``(time,)``; ``extended``: ESTOI.

    Any rate, resampled to 10 kHz inside; about 0 to 1. Independent of the estimate's gain. For ESTOI ``pystoi``
    adds a trace of noise, which decides in bands that are empty: here it is always the same noise.

    Raises EnhanceError where either is silent or where fewer than 30 frames (0.4 s) of speech are left.
    """
    from pystoi import stoi as compute

    check("STOI", reference, estimate)
    check_sound("STOI", reference=reference, estimate=estimate)
    if len(reference) < SHORTEST * sample_rate:
        raise EnhanceError("STOI is not defined", "less than 0.4 s of speech")
    with warnings.catch_warnings(), _same_noise():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(compute(reference, estimate, sample_rate, extended=extended))
        except RuntimeWarning:
            raise EnhanceError("STOI is not defined", "less than 0.4 s of speech") from None


def estoi(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Extended STOI (Jensen and Taal 2016): as :func:`stoi`, and lower on the same signals."""
    return stoi(reference, estimate, sample_rate, extended=True)


@contextlib.contextmanager
def _same_noise() -> Iterator[None]:
    """Numpy's global generator starts at the same place inside, and is outside as it was before."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
