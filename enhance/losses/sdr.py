"""Signal-to-distortion ratios as losses, in dB."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-8


def neg_si_sdr(estimate: Tensor, target: Tensor, mixture: Tensor) -> Tensor:
    """Negative scale-invariant SDR in dB, the mean over utterances ``(..., time)``.

    Le Roux et al. 2019 (arXiv 1811.02508), without removal of the mean. Utterances with a silent target,
    for which it is not defined, are left out; with no other the loss is zero.
    """
    scale = (estimate * target).sum(-1, keepdim=True) / (target.square().sum(-1, keepdim=True) + EPS)
    projection = scale * target
    ratio = (projection.square().sum(-1) + EPS) / ((estimate - projection).square().sum(-1) + EPS)
    defined = target.square().sum(-1) > EPS
    values = torch.where(defined, -10 * torch.log10(ratio), 0.0)
    return values.sum() / defined.sum().clamp(min=1)


def neg_snr(estimate: Tensor, target: Tensor, mixture: Tensor, floor_db: float = -30.0) -> Tensor:
    """Thresholded negative SNR in dB relative to the mixture, the mean over utterances ``(..., time)``.

    ``10 log10(|target - estimate|^2 / |mixture|^2 + floor)``: what is left of the error once it is
    ``floor_db`` under the mixture counts little, and a silent target (pure noise) is as welcome as any other.
    After the threshold of Wisdom et al. 2020 (arXiv 2006.12701, equation 2), with the mixture's energy in
    place of the target's, so that it stays defined without speech.
    """
    error = (target - estimate).square().sum(-1)
    ratio = error / (mixture.square().sum(-1) + EPS) + 10 ** (floor_db / 10)
    return (10 * torch.log10(ratio)).mean()
