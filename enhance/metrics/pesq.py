"""PESQ (ITU-T P.862), by the package ``pesq``."""

from __future__ import annotations

import numpy as np

from enhance.errors import EnhanceError


def pesq_wb(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Wide-band PESQ (P.862.2, MOS-LQO, 1.0 to 4.64) of ``(time,)`` at 16 kHz.

    Raises EnhanceError where it is not defined: another rate, under a quarter of a second, no speech found.
    """
    import pesq

    if sample_rate != 16000:
        raise EnhanceError(f"PESQ-WB at {sample_rate} Hz", "resample to 16000 Hz")
    if not reference.any() or not estimate.any():
        raise EnhanceError("PESQ of a silent signal", "leave the clip out")
    try:
        return float(pesq.pesq(sample_rate, reference, estimate, "wb"))
    except pesq.PesqError as error:
        raise EnhanceError("PESQ is not defined", error.__class__.__name__) from None
