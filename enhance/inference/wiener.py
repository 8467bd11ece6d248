"""One iteration of multichannel Wiener filtering: estimates made anew from the mixture, by level and direction.

The local Gaussian model of Duong, Vincent and Gribonval 2010 ("Under-determined reverberant audio source separation
using a full-rank spatial covariance model"), its parameters from a network's estimates as in Nugraha, Liutkus and
Vincent 2016 ("Multichannel audio source separation with deep neural networks"): in frequency ``f`` and frame ``t`` the
channels of source ``j`` are a complex Gaussian vector with the covariance ``v_j(f, t) R_j(f)``. An iteration of
expectation-maximisation, which begins with the second step because there are estimates ``y_j`` already:

- Maximisation: ``v_j = |y_j|² / C``, the mean power of the ``C`` channels, and ``R_j = Σ_t y_j y_jᴴ / Σ_t v_j``, the
  spatial covariance, in which a frame weighs as much as it is loud.
- Expectation: ``y_j = v_j R_j (Σ_k v_k R_k)⁻¹ x``, the mean of the source where the mixture is ``x``.

For one channel ``R_j = 1``: that is the ratio mask ``v_j / Σ_k v_k``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from enhance.inference.spectral import SpectralStage

FRAME_SECONDS = 0.1
CHUNK_SECONDS = 10.0  # of audio that spatial covariances are taken from: sources move
SPREAD = 1e-6  # of the power in a bin that comes from everywhere: a matrix that can be inverted
TINY = 1e-30  # power of nothing at all, shared out equally
SLICE = 128  # frequencies at a time, in double precision


def wiener_filter(sources: int, channels: int, sample_rate: int) -> SpectralStage:
    """The filter as a stage; its estimates sum to the mixture, whatever those that it is given sum to."""
    return SpectralStage(filtered, sources, channels, sample_rate, FRAME_SECONDS, CHUNK_SECONDS)


def filtered(spectra: Tensor) -> Tensor:
    """Spectra of mixture and estimates, complex ``(1 + sources, C, F, frames)``, to those of new estimates.

    Those are ``(sources, C, F, frames)``, in the place of the old ones.
    """
    for part in spectra.split(SLICE, dim=2):
        part[1:] = _filtered(part.to(torch.complex128))
    return spectra[1:]


def _filtered(spectra: Tensor) -> Tensor:
    mixture, estimates = spectra[0].transpose(0, 1), spectra[1:].transpose(1, 2)  # (F, C, N), (S, F, C, N)
    sources, _, channels, _ = estimates.shape
    power = (estimates.real.square() + estimates.imag.square()).mean(2)  # v: (S, F, N)
    products = estimates @ estimates.mH  # (S, F, C, C)
    spatial = products / (power.sum(-1)[..., None, None] + TINY)  # R
    spread = SPREAD * power.sum(0) + TINY  # (F, N)
    covariance = torch.einsum("sfn,sfcd->fncd", power.to(spatial.dtype), spatial)
    covariance = covariance + spread[..., None, None] * torch.eye(channels, dtype=torch.float64)
    weighted = torch.linalg.solve(covariance, mixture.transpose(1, 2)).transpose(1, 2)  # Σ⁻¹ x: (F, C, N)
    found = power[:, :, None] * (spatial @ weighted) + spread[:, None] * weighted / sources  # (S, F, C, N)
    return found.transpose(1, 2)
