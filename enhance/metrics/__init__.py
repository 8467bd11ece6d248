"""Scores of an estimate against its clean reference, a metric a file, and the registry of them all.

``METRICS`` maps a name to a :class:`Metric`, a function of ``(reference, estimate, mixture, sample_rate)`` with
what a table needs to know of it. :func:`evaluate` computes several of them of one clip and does no work twice.
A value is always finite: what cannot be scored raises EnhanceError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from enhance.errors import EnhanceError
from enhance.metrics import bss_eval, composite, dnsmos, llr, pesq, si_sdr, snr, stoi, wss
from enhance.metrics.signals import check


class Clip:
    """The signals ``(time,)`` of one clip, and what several metrics have in common, computed when first asked for."""

    def __init__(
        self, reference: np.ndarray | None, estimate: np.ndarray, mixture: np.ndarray | None, sample_rate: int
    ) -> None:
        check("score", *(signal for signal in (estimate, reference, mixture) if signal is not None))
        self.estimate = estimate
        self.sample_rate = sample_rate
        self.mixture_if_any = mixture
        self._reference = reference

    @property
    def reference(self) -> np.ndarray:
        if self._reference is None:
            raise EnhanceError("no clean reference", "choose a metric that needs none")
        return self._reference

    @property
    def mixture(self) -> np.ndarray:
        if self.mixture_if_any is None:
            raise EnhanceError("no noisy mixture", "choose a metric that needs none")
        return self.mixture_if_any

    @property
    def pair(self) -> tuple[np.ndarray, np.ndarray, int]:
        return self.reference, self.estimate, self.sample_rate

    @cached_property
    def pesq_wb(self) -> float:
        return pesq.pesq_wb(*self.pair)

    @cached_property
    def llr(self) -> float:
        return llr.llr(*self.pair)

    @cached_property
    def wss(self) -> float:
        return wss.wss(*self.pair)

    @cached_property
    def seg_snr(self) -> float:
        return snr.segmental_snr(*self.pair)

    @cached_property
    def composite(self) -> composite.Composite:
        return composite.combine(self.pesq_wb, self.llr, self.wss, self.seg_snr)

    @cached_property
    def bss_eval(self) -> bss_eval.BssEval:
        return bss_eval.denoising_bss_eval(*self.pair, self.mixture_if_any)

    @cached_property
    def dnsmos(self) -> dnsmos.Dnsmos:
        return dnsmos.dnsmos(self.estimate, self.sample_rate)


@dataclass(frozen=True)
class Metric:
    """A metric as a function, and what a table needs to know of it."""

    label: str  # for the head of a column
    unit: str  # "" for a number without one
    compute: Callable[[Clip], float]
    higher_is_better: bool = True
    needs_reference: bool = True
    needs_mixture: bool = False
    median: bool = False  # over clips, in the place of the mean, as the field reports it
    package: str = ""  # that computes it, if it is not ours: with another version it may have another value

    def __call__(
        self, reference: np.ndarray | None, estimate: np.ndarray, mixture: np.ndarray | None, sample_rate: int
    ) -> float:
        """The finite score of floats ``(time,)`` at ``sample_rate`` (Hz); EnhanceError where there is none."""
        return self.of(Clip(reference, estimate, mixture, sample_rate))

    def of(self, clip: Clip) -> float:
        """The same of a :class:`Clip`."""
        value = self.compute(clip)
        if not math.isfinite(value):
            if math.isnan(value):
                raise EnhanceError(f"{self.label} is not defined", "infinite, or no second of sound to measure it on")
            raise EnhanceError(f"{self.label} is not finite ({value:+} dB)", "leave the clip out of its mean")
        return value


METRICS: dict[str, Metric] = {
    "pesq_wb": Metric("PESQ-WB", "MOS", lambda clip: clip.pesq_wb, package="pesq"),
    "pesq_nb": Metric("PESQ-NB", "MOS", lambda clip: pesq.pesq_nb(*clip.pair), package="pesq"),
    "stoi": Metric("STOI", "", lambda clip: stoi.stoi(*clip.pair), package="pystoi"),
    "estoi": Metric("ESTOI", "", lambda clip: stoi.estoi(*clip.pair), package="pystoi"),
    "si_sdr": Metric("SI-SDR", "dB", lambda clip: si_sdr.si_sdr(clip.reference, clip.estimate)),
    "si_sdr_improvement": Metric(
        "SI-SDRi",
        "dB",
        lambda clip: si_sdr.si_sdr_improvement(clip.reference, clip.estimate, clip.mixture),
        needs_mixture=True,
    ),
    "snr": Metric("SNR", "dB", lambda clip: snr.snr(clip.reference, clip.estimate)),
    "seg_snr": Metric("segSNR", "dB", lambda clip: clip.seg_snr),
    "llr": Metric("LLR", "", lambda clip: clip.llr, higher_is_better=False),
    "wss": Metric("WSS", "", lambda clip: clip.wss, higher_is_better=False),
    "csig": Metric("CSIG", "MOS", lambda clip: clip.composite.csig, package="pesq"),
    "cbak": Metric("CBAK", "MOS", lambda clip: clip.composite.cbak, package="pesq"),
    "covl": Metric("COVL", "MOS", lambda clip: clip.composite.covl, package="pesq"),
    "bss_sdr": Metric(
        "SDR (BSSEval v4)",
        "dB",
        lambda clip: float(clip.bss_eval.sdr[0]),
        median=True,
        package="museval",
    ),
    "bss_isr": Metric(
        "ISR (BSSEval v4)",
        "dB",
        lambda clip: float(clip.bss_eval.isr[0]),
        median=True,
        package="museval",
    ),
    "bss_sir": Metric(
        "SIR (BSSEval v4)",
        "dB",
        lambda clip: float(clip.bss_eval.sir[0]),
        needs_mixture=True,
        median=True,
        package="museval",
    ),
    "bss_sar": Metric(
        "SAR (BSSEval v4)",
        "dB",
        lambda clip: float(clip.bss_eval.sar[0]),
        needs_mixture=True,
        median=True,
        package="museval",
    ),
    "global_sdr": Metric("SDR (MDX)", "dB", lambda clip: bss_eval.global_sdr(clip.reference, clip.estimate)),
    "dnsmos_sig": Metric("DNSMOS SIG", "MOS", lambda clip: clip.dnsmos.sig, needs_reference=False, package="speechmos"),
    "dnsmos_bak": Metric("DNSMOS BAK", "MOS", lambda clip: clip.dnsmos.bak, needs_reference=False, package="speechmos"),
    "dnsmos_ovrl": Metric(
        "DNSMOS OVRL", "MOS", lambda clip: clip.dnsmos.ovrl, needs_reference=False, package="speechmos"
    ),
    "dnsmos_p808": Metric(
        "DNSMOS P.808", "MOS", lambda clip: clip.dnsmos.p808, needs_reference=False, package="speechmos"
    ),
}


def evaluate(
    names: Iterable[str],
    reference: np.ndarray | None,
    estimate: np.ndarray,
    mixture: np.ndarray | None,
    sample_rate: int,
) -> tuple[dict[str, float], dict[str, EnhanceError]]:
    """Scores of one clip by those metrics, and the error of each that cannot score it; signals ``(time,)``.

    Work that metrics share (PESQ in the composite ones, BSSEval, DNSMOS) is done once. Raises EnhanceError for
    an unknown name, and for signals that no metric can score: of different lengths, not floats, not finite.
    """
    clip = Clip(reference, estimate, mixture, sample_rate)
    scores, errors = {}, {}
    for name in names:
        if name not in METRICS:
            raise EnhanceError(f"unknown metric {name!r}", f"known are {', '.join(METRICS)}")
        try:
            scores[name] = METRICS[name].of(clip)
        except EnhanceError as error:
            errors[name] = error
    return scores, errors
