"""Log-likelihood ratio of linear predictors (Quackenbush et al. 1988; Hu and Loizou 2008, equation 3)."""

from __future__ import annotations

import numpy as np

from enhance.metrics.signals import check, check_rate, check_sound, frame_pairs, mean_of_best

EPS = np.finfo(np.float64).eps


def llr(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Log-likelihood ratio of ``(time,)`` at 8 or 16 kHz: 0 for the same spectral envelopes, greater is worse.

    Mean over the best 95 % of the frames of ``log(a_p R_c a_pᵀ / a_c R_c a_cᵀ)``: how much worse the predictor
    of the processed frame predicts the clean frame than the clean one's own. Order 16 at 16 kHz, 10 at 8 kHz.
    Not capped at 2 per frame, as inside the composite measures (the measure on its own often is). The gain of
    a signal has no influence; a very small constant, added as in ``composite.m``, lets digital silence have
    a predictor.

    Raises EnhanceError where either signal is silent, for other rates and for less than 37.5 ms.
    """
    check_rate("LLR", sample_rate, (8000, 16000))
    reference, estimate = check("LLR", reference, estimate)
    check_sound("LLR", reference=reference, estimate=estimate)
    order = 10 if sample_rate < 10000 else 16
    ratios = []
    for clean, other in frame_pairs("LLR", [reference + EPS, estimate + EPS], sample_rate):
        correlation = autocorrelation(clean, order)
        own, processed = predictor(correlation), predictor(autocorrelation(other, order))
        ratios.append(residual(processed, correlation) / residual(own, correlation))
    # The frame's own predictor is the best there is: less than one is rounding.
    return mean_of_best(np.log(np.maximum(np.concatenate(ratios), 1.0)))


def autocorrelation(frames: np.ndarray, order: int) -> np.ndarray:
    """Lags 0 to ``order`` of ``(frames, samples)``: ``(frames, order + 1)``."""
    length = frames.shape[1]
    lags = [np.einsum("fn,fn->f", frames[:, : length - lag], frames[:, lag:]) for lag in range(order + 1)]
    return np.stack(lags, axis=1)


def predictor(correlation: np.ndarray) -> np.ndarray:
    """Prediction error filters ``(frames, order + 1)``, first coefficient 1, from such autocorrelations.

    Levinson-Durbin over all frames at once. Where the error reaches rounding, the remaining coefficients are 0.
    """
    filters = np.zeros_like(correlation)
    filters[:, 0] = 1.0
    error = correlation[:, 0].copy()
    for step in range(1, correlation.shape[1]):
        missed = np.einsum("fk,fk->f", filters[:, :step], correlation[:, step:0:-1])
        reflection = np.where(error > EPS * correlation[:, 0], -missed / np.maximum(error, np.finfo(float).tiny), 0.0)
        filters[:, 1 : step + 1] += reflection[:, None] * filters[:, step - 1 :: -1][:, :step]
        error *= 1.0 - np.square(reflection)
    return filters


def residual(filters: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """The energy ``a R aᵀ`` ``(frames,)`` that a filter leaves, at least rounding of the frame's own."""
    own = autocorrelation(filters, correlation.shape[1] - 1)
    energy = own[:, 0] * correlation[:, 0] + 2 * np.einsum("fk,fk->f", own[:, 1:], correlation[:, 1:])
    return np.maximum(energy, EPS * correlation[:, 0])
