"""Models with known answers, and signals, for the tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Gain(nn.Module):
    """Times a number; by default the input itself."""

    sources = ("speech",)
    context = (0, 0)

    def __init__(self, gain: float = 1.0, sample_rate: int = 16000, channels: int = 1) -> None:
        super().__init__()
        self.gain, self.sample_rate, self.channels = gain, sample_rate, channels

    def forward(self, mixture: Tensor) -> Tensor:
        return self.gain * mixture[:, None]


class Shares(nn.Module):
    """A separator that gives each of its sources a share of the mixture."""

    context = (0, 0)

    def __init__(self, shares: dict[str, float], sample_rate: int = 16000, channels: int = 1) -> None:
        super().__init__()
        self.sources, self.shares = tuple(shares), tuple(shares.values())
        self.sample_rate, self.channels = sample_rate, channels

    def forward(self, mixture: Tensor) -> Tensor:
        return torch.stack([share * mixture for share in self.shares], dim=1)


class Fir(nn.Module):
    """A filter that looks ``left`` samples back and ``right`` ahead, with a grid of frames like an STFT's.

    Every ``align``-th sample has another sign, so that a chunk off the grid would be noticed.
    """

    sources = ("speech",)
    channels = 1

    def __init__(self, left: int = 700, right: int = 300, align: int = 64, sample_rate: int = 16000) -> None:
        super().__init__()
        self.context, self.align, self.sample_rate = (left, right), align, sample_rate
        taps = torch.randn(left + right + 1, generator=torch.Generator().manual_seed(0))
        self.taps = nn.Parameter(taps / taps.norm())

    def forward(self, mixture: Tensor) -> Tensor:
        left, right = self.context
        filtered = F.conv1d(
            F.pad(mixture, (left, right)).reshape(-1, 1, mixture.shape[-1] + left + right),
            self.taps[None, None],
        ).reshape(mixture.shape)
        sign = torch.ones(mixture.shape[-1])
        sign[:: self.align] = -1
        return (filtered * sign)[:, None]


class Recurrent(nn.Module):
    """A leaky integrator that comes ``latency`` samples late: state from chunk to chunk."""

    sources = ("speech",)
    channels = 1
    block = 32
    latency = 48

    def __init__(self, sample_rate: int = 16000, leak: float = 0.9) -> None:
        super().__init__()
        self.sample_rate, self.leak = sample_rate, leak

    def forward(self, mixture: Tensor) -> Tensor:
        length = mixture.shape[-1]
        late, _ = self.stream(F.pad(mixture, (0, self.latency + -(length + self.latency) % self.block)), None)
        return late[..., self.latency : self.latency + length]

    def stream(self, chunk: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        assert chunk.shape[-1] % self.block == 0
        level, waiting = state or (
            torch.zeros(chunk.shape[:-1]),
            torch.zeros(*chunk.shape[:-1], self.latency),
        )
        samples = []
        for sample in chunk.unbind(-1):
            level = self.leak * level + (1 - self.leak) * sample
            samples.append(level)
        line = torch.cat((waiting, torch.stack(samples, dim=-1)), dim=-1)
        return line[..., : chunk.shape[-1]][:, None], (level, line[..., chunk.shape[-1] :])


class Late(nn.Module):
    """Half the input, ``latency`` samples late, in blocks of ``block``: a stream that costs nothing."""

    sources = ("speech",)

    def __init__(self, block: int = 256, latency: int = 256, sample_rate: int = 16000, channels: int = 1) -> None:
        super().__init__()
        self.block, self.latency, self.sample_rate, self.channels = block, latency, sample_rate, channels

    def forward(self, mixture: Tensor) -> Tensor:
        return 0.5 * mixture[:, None]

    def stream(self, chunk: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        assert chunk.shape[-1] % self.block == 0
        before = torch.zeros(*chunk.shape[:-1], self.latency) if state is None else state
        line = torch.cat((before, chunk), dim=-1)
        return 0.5 * line[..., : chunk.shape[-1]][:, None], line[..., chunk.shape[-1] :]


def noise(seconds: float, sample_rate: int, channels: int = 1, level: float = 0.1, seed: int = 0) -> np.ndarray:
    """White noise ``(channels, time)``, float32."""
    frames = round(seconds * sample_rate)
    return (level * np.random.default_rng(seed).standard_normal((channels, frames))).astype(np.float32)


def difference_db(a: np.ndarray, b: np.ndarray) -> float:
    """Power of the difference below the power of ``b``, in dB."""
    return float(10 * np.log10((np.mean((np.float64(a) - b) ** 2) + 1e-30) / np.mean(np.float64(b) ** 2)))
