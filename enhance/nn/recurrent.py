"""Blocks that look along time with memory, and along frequency without: what the compact model is made of.

Their feature maps are ``(frames, rows, bands, channels)``, contiguous, rows being batch x channels of audio.
In this order the LSTM's sequences, the layer norm and (as a channels-last view) the convolutions need no
copy, and on a CPU copies cost more than the arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LSTMState = tuple[Tensor, Tensor]  # hidden and cell, each (1, rows * bands, hidden)


class TimeFrequencyBlock(nn.Module):
    """An LSTM along time, shared by all bands, then an MLP across bands, shared by all channels and frames.

    Both are residual and preceded by a layer norm over channels. Causal: frame ``n`` sees frames up to
    ``n``. Maps ``(frames, rows, bands, channels)`` to the same shape.
    """

    def __init__(self, channels: int, bands: int, hidden: int) -> None:
        super().__init__()
        self.time_norm = nn.LayerNorm(channels)
        self.lstm = nn.LSTM(channels, hidden)
        self.time_out = nn.Linear(hidden, channels)
        self.band_norm = nn.LayerNorm(channels)
        self.band_mlp = nn.Sequential(nn.Linear(bands, 2 * bands), nn.GELU(), nn.Linear(2 * bands, bands))

    def forward(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        frames, rows, bands, channels = x.shape
        sequences = self.time_norm(x).reshape(frames, rows * bands, channels)
        hidden, state = self.lstm(sequences, state)  # (N, R * K, hidden)
        x = x + self.time_out(hidden).reshape(x.shape)
        mixed = self.band_mlp(self.band_norm(x).transpose(2, 3))  # (N, R, C, K)
        return x + mixed.transpose(2, 3), state


class BandConv(nn.Module):
    """Convolution over frequency, batch norm, PReLU: ``K`` bands to ``K / 2``, or transposed to ``2K``.

    Maps ``(frames, rows, K, inputs)`` to ``(frames, rows, K / 2 or 2K, outputs)``.
    """

    def __init__(self, inputs: int, outputs: int, *, up: bool = False) -> None:
        super().__init__()
        layer = nn.ConvTranspose2d if up else nn.Conv2d
        self.conv = layer(inputs, outputs, kernel_size=(1, 6), stride=(1, 2), padding=(0, 2), bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        frames, rows, bands, channels = x.shape
        image = x.reshape(frames * rows, 1, bands, channels).permute(0, 3, 1, 2)  # channels-last (N * R, C, 1, K)
        y = self.act(self.norm(self.conv(image)))
        return y.permute(0, 2, 3, 1).reshape(frames, rows, -1, y.shape[1])


def zero_state(blocks: int, rows: int, hidden: int, like: Tensor) -> list[LSTMState]:
    """LSTM states before the first frame: ``blocks`` pairs of zeros ``(1, rows, hidden)``."""
    zeros = torch.zeros(1, rows, hidden, dtype=like.dtype, device=like.device)
    return [(zeros, zeros) for _ in range(blocks)]
