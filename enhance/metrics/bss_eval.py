"""Energy ratios of source separation: BSSEval v4, by the package ``museval``, and the ratio of the MDX challenges.

Two different numbers are both called SDR in the literature of music separation. Here ``bss_eval`` is the one of
SiSEC 2018 (median over seconds), ``global_sdr`` the one of the MDX challenges (one ratio a song).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from enhance.errors import EnhanceError

HIGHEST = 100.0  # dB; beyond, the 512-tap projections of museval are rounding, and the ratio counts as infinite
MDX_OFFSET = 1e-7  # added to both energies


class BssEval(NamedTuple):
    """Ratios in dB of each source, ``(sources,)``; NaN where it is silent, or has no frame with a finite ratio."""

    sdr: np.ndarray
    sir: np.ndarray
    isr: np.ndarray
    sar: np.ndarray


def bss_eval(references: np.ndarray, estimates: np.ndarray, sample_rate: int) -> BssEval:
    """BSSEval v4 of ``(sources, channels, time)`` as ``museval`` reports it: the median over frames of 1 s.

    Frames do not overlap, a rest at the end is left away, a clip under 1 s is one frame; one distortion filter
    of 512 taps for the whole clip; sources are not permuted. Frames in which a reference or an estimate is silent
    (``museval`` takes opposite channels for silence), and ratios that are infinite, are left out of the median.

    ``museval`` refuses a source that is silent throughout: such a reference is left out, and a silent estimate
    alone has no ratios. The others are compared with all references that sound.

    Raises EnhanceError where the channels of a reference cancel out or the shapes differ.
    """
    from museval.metrics import bss_eval as compute

    if references.shape != estimates.shape or references.ndim != 3:
        raise EnhanceError(f"BSSEval of shapes {references.shape} and {estimates.shape}", "same sources and length")
    if not (np.isfinite(references).all() and np.isfinite(estimates).all()):
        raise EnhanceError("BSSEval of a signal with NaN or infinity", "look for what made it")
    there = references.any(axis=(1, 2))
    wanted, made = (np.moveaxis(group[there].astype(np.float64), 1, 2) for group in (references, estimates))
    if not _sounds(wanted).all():
        raise EnhanceError("BSSEval is not defined", "the channels of a reference cancel out, leave the clip out")
    heard = _sounds(made)
    ratios = np.full((4, len(references)), np.nan)
    if not heard.any():
        return BssEval(*ratios)
    made[~heard] = wanted[~heard]  # which has no influence on the ratios of the others
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            sdr, isr, sir, sar, _ = compute(wanted, made, window=sample_rate, hop=sample_rate)
    except (np.linalg.LinAlgError, AttributeError):  # museval asks numpy for the first by a name that is gone
        raise EnhanceError("BSSEval is not defined", "the references depend on each other") from None
    ratios[:, np.flatnonzero(there)[heard]] = [_median(ratio[heard]) for ratio in (sdr, sir, isr, sar)]
    return BssEval(*ratios)


def _sounds(group: np.ndarray) -> np.ndarray:
    """Which of ``(sources, time, channels)`` ``museval`` does not take for silence."""
    return group.sum(axis=2).any(axis=1)


def _median(ratios: np.ndarray) -> np.ndarray:
    """Median ``(sources,)`` over the finite ones of ``(sources, frames)``."""
    return np.array([np.median(kept) if len(kept := row[np.abs(row) < HIGHEST]) else np.nan for row in ratios])


def denoising_bss_eval(
    reference: np.ndarray, estimate: np.ndarray, sample_rate: int, mixture: np.ndarray | None = None
) -> BssEval:
    """BSSEval v4 of one estimate ``(time,)``, the noise ``mixture - reference`` being the other source.

    Each field has one value. Without the mixture there is no interference: SIR is NaN, and SAR counts noise as
    artefacts. SAR of the untouched mixture is infinite, which is NaN here.

    Raises EnhanceError for silence, and as :func:`bss_eval`.
    """
    for name, wave in (("reference", reference), ("estimate", estimate)):
        if not wave.any():
            raise EnhanceError("BSSEval is not defined", f"silent {name}, leave the clip out")
    if mixture is None:
        return bss_eval(reference[None, None], estimate[None, None], sample_rate)
    noise = mixture - reference
    if not noise.any():
        raise EnhanceError("BSSEval is not defined", "the mixture holds no noise")
    # What stands in for the estimate of the noise has no influence on the first source.
    both = bss_eval(np.stack([reference, noise])[:, None], np.stack([estimate, noise])[:, None], sample_rate)
    return BssEval(*(ratio[:1] for ratio in both))


def global_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """SDR (dB) of the MDX challenges, of a whole song ``(..., time)``: all channels and samples in one ratio.

    10·log10((Σs² + 1e-7) / (Σ(s − ŝ)² + 1e-7)). No filter, no frames; any
    gain counts as distortion. Identical signals: finite, by the offset. A silent estimate: 0.

    Raises EnhanceError for a silent reference, where the offset would decide, and for different shapes.
    """
    if reference.shape != estimate.shape:
        raise EnhanceError(f"SDR of shapes {reference.shape} and {estimate.shape}", "same channels and length")
    if not reference.any():
        raise EnhanceError("SDR is not defined", "silent reference, leave the song out")
    if not (np.isfinite(reference).all() and np.isfinite(estimate).all()):
        raise EnhanceError("SDR of a signal with NaN or infinity", "look for what made it")
    reference, estimate = reference.astype(np.float64), estimate.astype(np.float64)
    signal, distortion = (np.square(wave).sum() + MDX_OFFSET for wave in (reference, reference - estimate))
    return float(10 * np.log10(signal / distortion))
