"""Composite measures of signal, background and overall quality (Hu and Loizou 2008)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from enhance.metrics.llr import llr
from enhance.metrics.pesq import pesq_wb
from enhance.metrics.signals import check_rate
from enhance.metrics.snr import segmental_snr
from enhance.metrics.wss import wss


class Composite(NamedTuple):
    """Predicted mean opinion scores, each from 1 to 5."""

    csig: float
    cbak: float
    covl: float


def composite(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> Composite:
    """CSIG, CBAK and COVL of ``(time,)`` at 16 kHz, with wide-band PESQ, as reported on Voice Bank+DEMAND.

    Raises EnhanceError where one of PESQ-WB, LLR, WSS and segmental SNR does. (At 8 kHz the formulas want PESQ
    before its mapping to MOS-LQO, which the package ``pesq`` does not give.)
    """
    check_rate("composite measure", sample_rate, (16000,))
    return combine(
        pesq=pesq_wb(reference, estimate, sample_rate),
        llr=llr(reference, estimate, sample_rate),
        wss=wss(reference, estimate, sample_rate),
        seg_snr=segmental_snr(reference, estimate, sample_rate),
    )


def combine(pesq: float, llr: float, wss: float, seg_snr: float) -> Composite:
    """The regressions of Hu and Loizou's ``composite.m``, clamped to [1, 5]."""
    csig = 3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss
    cbak = 1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * seg_snr
    covl = 1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss
    return Composite(*(min(5.0, max(1.0, value)) for value in (csig, cbak, covl)))
