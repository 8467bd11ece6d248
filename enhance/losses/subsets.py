"""The loss over subsets of sources (Danna-Sep; Yu and Cheuk 2021, arXiv 2112.03752), and targets without an order."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from enhance.losses.wsdr import wsdr
from enhance.stft import stft


def source_subsets(
    estimate: Tensor, target: Tensor, mixture: Tensor, n_fft: int = 4096, hop: int = 1024, time_weight: float = 10.0
) -> Tensor:
    """Errors of the sums over every proper subset of the sources, in frequency and in time.

    The mean over subsets of the squared error of complex spectra, over bins, plus ``time_weight`` times one plus the
    mean over subsets of wSDR, in which all other sources together are the noise. Signals are ``(batch, sources,
    channels, time)``, the mixture ``(batch, 1, channels, time)``. One source alone is its own and only subset.
    """
    chosen = subsets(estimate.shape[1]).to(estimate)  # (subsets, sources)
    difference = stft(estimate - target, n_fft, hop)  # (B, S, C, F, N)
    errors = torch.einsum("us,bscfn->bucfn", chosen.to(difference), difference)
    frequency = torch.view_as_real(errors).square().sum(-1).mean()
    estimates, targets = (torch.einsum("us,bsct->buct", chosen, waves) for waves in (estimate, target))
    return frequency + time_weight * (1 + wsdr(estimates, targets, mixture))


def subsets(sources: int) -> Tensor:
    """Which sources belong to each proper, non-empty subset, ``(subsets, sources)``, zeros and ones."""
    sizes = range(1, max(2, sources))
    chosen = [choice for size in sizes for choice in combinations(range(sources), size)]
    return torch.tensor([[float(source in choice) for source in range(sources)] for choice in chosen])


@torch.no_grad()
def best_order(estimate: Tensor, target: Tensor) -> Tensor:
    """Which target belongs to each estimate, ``(batch, sources)``: the order of the highest mean SI-SDR.

    For sources without names, such as two speakers (permutation-invariant training, Kolbæk et al. 2017, arXiv
    1703.06284, section IV; one order for a whole utterance). Signals are ``(batch, sources, channels, time)``; every
    pair of an estimate and a target is compared, and the assignment is solved (Hungarian method), not searched.
    """
    from scipy.optimize import linear_sum_assignment

    estimates, targets = (waves.double().flatten(2) for waves in (estimate, target))  # (B, S, CT)
    products = estimates @ targets.transpose(1, 2)  # (B, estimates, targets)
    energy = estimates.square().sum(-1)[:, :, None] * targets.square().sum(-1)[:, None]
    cosine = products.square() / energy.clamp(min=1e-30)
    ratios = 10 * torch.log10(cosine.clamp(min=1e-12) / (1 - cosine).clamp(min=1e-12))
    ratios = torch.nan_to_num(ratios).cpu().numpy()  # of an estimate that is no number any order will do
    orders = [linear_sum_assignment(matrix, maximize=True)[1].tolist() for matrix in ratios]
    return torch.tensor(orders, device=estimate.device)
