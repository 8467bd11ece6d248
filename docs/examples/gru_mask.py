"""A GRU that looks at one spectrum after the other and says how much of each bin is speech."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enhance.stft import frames_to_spectra, spectra_to_frames, sqrt_hann

PRESETS: dict[str, dict[str, Any]] = {"gru-mask": {"hidden": 64}}

State = tuple[Tensor, Tensor, Tensor]  # input still needed, output still incomplete, the GRU's memory


class GruMask(nn.Module):
    """A streaming denoiser: mixture ``(B, C, T)`` to ``(B, 1, C, T)``, channels independent."""

    channels = 1

    def __init__(
        self,
        hidden: int,
        n_fft: int = 512,
        sample_rate: int = 16000,
        sources: tuple[str, ...] = ("speech",),
    ) -> None:
        super().__init__()
        self.sample_rate, self.sources = sample_rate, tuple(sources)
        self.block = self.latency = n_fft // 2  # samples: the hop, and half a window that is still to come
        self.gru = nn.GRU(n_fft // 2 + 1, hidden)
        self.head = nn.Linear(hidden, n_fft // 2 + 1)
        self.window: Tensor
        self.register_buffer("window", sqrt_hann(n_fft), persistent=False)

    def forward(self, mixture: Tensor) -> Tensor:
        """Estimates ``(B, 1, C, T)`` of a whole signal ``(B, C, T)``: the stream, without its delay."""
        length = mixture.shape[-1]
        late, _ = self.stream(F.pad(mixture, (0, -length % self.block + self.latency)), None)
        return late[..., self.latency : self.latency + length]

    def stream(self, chunk: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next ``(B, C, k * block)`` samples to as many of the estimate, ``latency`` samples earlier ones."""
        batch, channels, length = chunk.shape
        x = chunk.reshape(batch * channels, length)  # (R, k * block)
        if state is None:
            edge = x.new_zeros(x.shape[0], self.block)
            state = edge, edge, x.new_zeros(1, x.shape[0], self.gru.hidden_size)
        history, overlap, memory = state
        x = torch.cat((history, x), dim=-1)  # (R, block + k * block)
        spectra = frames_to_spectra(x, self.window, self.block).permute(2, 0, 1)  # (k, R, F)
        features, memory = self.gru((spectra.abs() + 1e-5).log(), memory)  # (k, R, hidden)
        masked = spectra * torch.sigmoid(self.head(features))
        y = spectra_to_frames(masked.permute(1, 2, 0), self.window, self.block)  # (R, block + k * block)
        y = torch.cat((y[:, : self.block] + overlap, y[:, self.block :]), dim=-1)
        estimates = y[:, :length].reshape(batch, 1, channels, length)
        return estimates, (x[:, length:], y[:, length:], memory)
