"""Weighted SDR loss (Choi et al. 2019, section 3.3)."""

from __future__ import annotations

from torch import Tensor

EPS = 1e-8


def wsdr(estimate: Tensor, target: Tensor, mixture: Tensor) -> Tensor:
    """wSDR of shape ``()``: the mean over utterances ``(..., time)``, in [-1, 1]; -1 is perfect.

    With the noise ``z = mixture - target`` and its estimate likewise,
    ``alpha * D(target, estimate) + (1 - alpha) * D(z, z estimate)``, where ``D(a, b) = -<a, b> / (|a| |b|)``
    and ``alpha`` is the target's share of the energy. Both terms are zero where their signal is silent.
    """
    noise, noise_estimate = mixture - target, mixture - estimate
    target_energy = target.square().sum(-1)
    noise_energy = noise.square().sum(-1)
    alpha = target_energy / (target_energy + noise_energy + EPS)
    loss = alpha * _negative_cosine(target, estimate) + (1 - alpha) * _negative_cosine(noise, noise_estimate)
    return loss.mean()


def _negative_cosine(a: Tensor, b: Tensor) -> Tensor:
    # The root of each energy plus EPS, not of the product: the gradient stays finite at zero.
    norms = (a.square().sum(-1) + EPS).sqrt() * (b.square().sum(-1) + EPS).sqrt()
    return -(a * b).sum(-1) / norms
