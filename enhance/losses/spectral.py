"""Losses on spectra, and the two plain mean squared errors that the DCUnet paper compares wSDR with."""

from __future__ import annotations

import torch
from torch import Tensor

from enhance.stft import stft

EPS = 1e-8


def compressed_spectrum(
    estimate: Tensor,
    target: Tensor,
    mixture: Tensor,
    n_fft: int = 512,
    hop: int = 256,
    power: float = 0.3,
    complex_weight: float = 0.3,
    missing: float = 1.0,
) -> Tensor:
    """Mean squared error between power-compressed spectra, of modulus and of complex value.

    ``(1 - w) * (|S|^p - |Ŝ|^p)^2 + w * ||S|^p e^(i arg S) - |Ŝ|^p e^(i arg Ŝ)|^2``, the mean over bins;
    Braun and Tashev 2020 (arXiv 2009.12286, equation 2). Where the modulus is below the target's its squared error
    counts ``missing`` times: speech that is taken away is worse than noise that is left (after Wang et al. 2020,
    "VoiceFilter-Lite", arXiv 2009.04323, section 3.2). Signals ``(..., time)`` are first divided by the
    RMS of the mixture, so that quiet recordings count as much as loud ones.
    """
    gain = mixture.square().mean(-1, keepdim=True).add(EPS).rsqrt()
    estimate_c, estimate_m = _compress(stft(estimate * gain, n_fft, hop), power)
    target_c, target_m = _compress(stft(target * gain, n_fft, hop), power)
    modulus = (estimate_m - target_m).square().mean()
    if missing != 1:
        modulus = modulus + (missing - 1) * torch.relu(target_m - estimate_m).square().mean()
    value = torch.view_as_real(estimate_c - target_c).square().sum(-1).mean()
    return (1 - complex_weight) * modulus + complex_weight * value


def _compress(spectrum: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """The spectrum with its modulus raised to ``power``, and that modulus; smooth at zero."""
    modulus = (torch.view_as_real(spectrum).square().sum(-1) + EPS).sqrt()
    compressed = modulus.pow(power)
    return spectrum * (compressed / modulus), compressed


def multi_resolution_stft(
    estimate: Tensor, target: Tensor, mixture: Tensor, windows: tuple[int, ...] = (512, 1024, 2048)
) -> Tensor:
    """Spectral convergence plus log-modulus distance, the mean over windows with a hop of a quarter.

    Yamamoto et al. 2020 (arXiv 1910.11480, equations 3 to 6), on ``(..., time)``. Targets that are silent
    are compared through their modulus relative to the mixture's, so that the loss stays finite.
    """
    gain = mixture.square().mean(-1, keepdim=True).add(EPS).rsqrt()
    total = estimate.new_zeros(())
    for n_fft in windows:
        e = _modulus(stft(estimate * gain, n_fft, n_fft // 4))
        t = _modulus(stft(target * gain, n_fft, n_fft // 4))
        reference = _modulus(stft(mixture * gain, n_fft, n_fft // 4))
        norm = torch.maximum(t.square().sum((-2, -1)), 1e-2 * reference.square().sum((-2, -1)))
        convergence = ((e - t).square().sum((-2, -1)) / (norm + EPS) + EPS).sqrt().mean()
        distance = (torch.log(e + 1e-2) - torch.log(t + 1e-2)).abs().mean()
        total = total + convergence + distance
    return total / len(windows)


def _modulus(spectrum: Tensor) -> Tensor:
    return (torch.view_as_real(spectrum).square().sum(-1) + EPS).sqrt()


def spectrogram_mse(estimate: Tensor, target: Tensor, mixture: Tensor, n_fft: int = 1024, hop: int = 256) -> Tensor:
    """Mean squared error of complex spectra (the "Spec" loss of Choi et al. 2019, table 2)."""
    difference = stft(estimate - target, n_fft, hop)
    return torch.view_as_real(difference).square().sum(-1).mean()


def waveform_mse(estimate: Tensor, target: Tensor, mixture: Tensor) -> Tensor:
    """Mean squared error of waveforms (the "Wav" loss of Choi et al. 2019, table 2)."""
    return (estimate - target).square().mean()
