"""Short-time Fourier transforms: the centred one of the papers and the causal one for streaming.

Shapes: waveforms ``(batch, channels, time)``, spectra complex ``(batch, channels, freq, frames)``.
Neither transform is normalised: a spectrum is the plain DFT of the windowed frame.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def stft(wave: Tensor, n_fft: int, hop: int) -> Tensor:
    """Centred STFT with a periodic Hann window.

    ``wave`` is ``(..., time)`` with at least one sample; the result is complex,
    ``(..., n_fft // 2 + 1, time // hop + 1)``. Frame ``n`` is centred on sample ``n * hop``. The edges
    are reflected, or padded with zeros where the signal is too short to be reflected.
    """
    half = n_fft // 2
    flat = wave.reshape(-1, wave.shape[-1])  # (rows, T)
    mode = "reflect" if wave.shape[-1] > half else "constant"
    padded = F.pad(flat[:, None], (half, half), mode=mode)[:, 0]  # (rows, T + n_fft)
    window = torch.hann_window(n_fft, dtype=wave.dtype, device=wave.device)
    spectrum = torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True)
    return spectrum.reshape(*wave.shape[:-1], *spectrum.shape[-2:])


def istft(spectrum: Tensor, n_fft: int, hop: int, length: int) -> Tensor:
    """Inverse of :func:`stft`: least-squares overlap-add, ``(..., F, frames)`` to ``(..., length)``.

    Written out because :func:`torch.istft` looks at the window's values, which are not there on the meta
    device, where costs are counted.
    """
    half = n_fft // 2
    window = torch.hann_window(n_fft, dtype=spectrum.real.dtype, device=spectrum.device)
    wave = spectra_to_frames(spectrum, window, hop)[..., half : half + length]
    weight = F.fold(
        window.square()[None, :, None].expand(1, n_fft, spectrum.shape[-1]),
        (1, n_fft + (spectrum.shape[-1] - 1) * hop),
        kernel_size=(1, n_fft),
        stride=(1, hop),
    )  # (1, 1, 1, time): the sum of squared windows
    return wave / weight[0, 0, 0, half : half + length]


def sqrt_hann(n_fft: int) -> Tensor:
    """Square root of the periodic Hann window: with ``hop = n_fft / 2`` its square sums to one."""
    return torch.hann_window(n_fft, dtype=torch.float64).sqrt().float()


def frames_to_spectra(wave: Tensor, window: Tensor, hop: int) -> Tensor:
    """Spectra of the frames that fit into ``wave``, without padding.

    ``wave`` is ``(..., n_fft + (frames - 1) * hop)``; the result is complex, ``(..., F, frames)``.
    Frame ``n`` begins at sample ``n * hop``.
    """
    frames = wave.unfold(-1, window.shape[0], hop) * window  # (..., frames, n_fft)
    return torch.fft.rfft(frames).transpose(-1, -2)


def spectra_to_frames(spectra: Tensor, window: Tensor, hop: int) -> Tensor:
    """Windowed overlap-add of the frames, without cutting the edges.

    ``spectra`` is complex ``(..., F, frames)``; the result is ``(..., n_fft + (frames - 1) * hop)``.
    Where the squared window sums to one, it undoes :func:`frames_to_spectra` but for the first and last
    ``n_fft - hop`` samples, which lack their neighbours.
    """
    n_fft = window.shape[0]
    frames = torch.fft.irfft(spectra.transpose(-1, -2), n=n_fft) * window  # (..., frames, n_fft)
    count = frames.shape[-2]
    length = n_fft + (count - 1) * hop
    columns = frames.reshape(-1, count, n_fft).transpose(1, 2)  # (rows, n_fft, frames)
    wave = F.fold(columns, (1, length), kernel_size=(1, n_fft), stride=(1, hop))
    return wave.reshape(*spectra.shape[:-2], length)
