"""Blocks that look along time with memory, and along frequency without: what the compact model is made of.

Their feature maps are ``(frames, rows, bands, channels)``, contiguous, rows being batch x channels of audio.
In this order the LSTM's sequences, the layer norm and (as a channels-last view) the convolutions need no
copy, and on a CPU copies cost more than the arithmetic.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enhance.errors import EnhanceError

Recurrence = Literal["lstm", "mingru"]
State = tuple[Tensor, Tensor]  # of an LSTM hidden and cell, of a MinGRU hidden twice; each (1, rows * bands, hidden)


class TimeFrequencyBlock(nn.Module):
    """A recurrence along time, shared by all bands, then an MLP across bands, shared by all channels and frames.

    Both are residual and preceded by a layer norm over channels. Causal: frame ``n`` sees frames up to
    ``n``. Maps ``(frames, rows, bands, channels)`` to the same shape. EnhanceError for another recurrence.
    """

    def __init__(self, channels: int, bands: int, hidden: int, recurrence: Recurrence) -> None:
        super().__init__()
        if recurrence not in get_args(Recurrence):
            raise EnhanceError(f"recurrence = {recurrence!r}", f"choose from {', '.join(get_args(Recurrence))}")
        self.time_norm = nn.LayerNorm(channels)
        self.lstm = nn.LSTM(channels, hidden) if recurrence == "lstm" else MinGRU(channels, hidden)
        self.time_out = nn.Linear(hidden, channels)
        self.band_norm = nn.LayerNorm(channels)
        self.band_mlp = nn.Sequential(nn.Linear(bands, 2 * bands), nn.GELU(), nn.Linear(2 * bands, bands))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, state = self.lstm(self._sequences(x), state)  # (N, R * K, hidden)
        return self._mixed(x, hidden), state

    # A compiler leaves the LSTM out: what is before and behind it are functions, each then compiled whole.

    def _sequences(self, x: Tensor) -> Tensor:
        return self.time_norm(x).flatten(1, 2)  # (N, R * K, C)

    def _mixed(self, x: Tensor, hidden: Tensor) -> Tensor:
        x = x + self.time_out(hidden).reshape(x.shape)
        mixed = self.band_mlp(self.band_norm(x).transpose(2, 3))  # (N, R, C, K)
        return x + mixed.transpose(2, 3)


class MinGRU(nn.Module):
    """A recurrence whose gates look at the input alone, so that all its products are computed for all frames at once.

    ``h[n] = (1 - z[n]) h[n - 1] + z[n] c[n]`` with ``z = sigmoid(W_z x)`` and ``c = W_c x`` (Feng et al. 2024, "Were
    RNNs all we needed?", arXiv 2410.01201, section 3.1), and an output gate: ``h * silu(W_g x)``. Takes and gives what
    :class:`torch.nn.LSTM` does.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, 3 * hidden)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        gate, candidate, output = self.project(x).float().chunk(3, dim=-1)  # (N, rows, hidden)
        update = torch.sigmoid(gate)
        hidden = linear_recurrence(1 - update, update * candidate, state[0][0])
        last = hidden[-1:]
        return hidden * F.silu(output), (last, last)


@torch.library.custom_op("enhance::linear_recurrence", mutates_args=())
def linear_recurrence(decay: Tensor, increment: Tensor, first: Tensor) -> Tensor:
    """``h[n] = decay[n] * h[n - 1] + increment[n]`` with ``h[-1] = first``: ``(N, rows, hidden)``, frame by frame.

    One operator to the compiler, which would otherwise unroll the loop.
    """
    states = torch.empty_like(increment)
    previous = first
    for n in range(len(increment)):
        previous = torch.addcmul(increment[n], decay[n], previous, out=states[n])
    return states


@linear_recurrence.register_fake
def _(decay: Tensor, increment: Tensor, first: Tensor) -> Tensor:
    return torch.empty_like(increment)


@torch.library.custom_op("enhance::linear_recurrence_gradient", mutates_args=())
def _gradient(decay: Tensor, gradient: Tensor) -> Tensor:
    """The recurrence backwards in time: the gradient with respect to ``increment``."""
    total = torch.empty_like(gradient)
    following = total[-1].copy_(gradient[-1])
    for n in range(len(gradient) - 2, -1, -1):
        following = torch.addcmul(gradient[n], decay[n + 1], following, out=total[n])
    return total


@_gradient.register_fake
def _(decay: Tensor, gradient: Tensor) -> Tensor:
    return torch.empty_like(gradient)


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    decay, _, first = inputs
    ctx.save_for_backward(decay, first, output)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    decay, first, states = ctx.saved_tensors
    increment = _gradient(decay, gradient.contiguous())
    previous = torch.cat((first[None], states[:-1]))
    return increment * previous, increment, increment[0] * decay[0]


linear_recurrence.register_autograd(_backward, setup_context=_remember)


class RowConv(nn.Module):
    """A matrix for each of the ``frames`` in a row, and their sum: ``(N, R, K, C)`` to ``N - frames + 1`` of them.

    The row convolution of Amodei et al. 2016, "Deep Speech 2", arXiv 1512.02595, section 3.7. It begins with zero.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.weight = nn.Parameter(torch.zeros(channels, frames * channels))  # of each frame its channels in a row

    def forward(self, x: Tensor) -> Tensor:
        # As a convolution: a product with all of these frames would need them copied beside each other.
        weight = self.weight.unflatten(1, (self.frames, -1)).transpose(1, 2)[..., None]  # (C, C, frames, 1)
        image = x.flatten(1, 2).permute(2, 0, 1)[None]  # (1, C, N, R * K), channels last
        return F.conv2d(image, weight)[0].permute(1, 2, 0).unflatten(1, x.shape[1:3])


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
        y = self.act(self.norm(self.conv(image)) if self.training else self._normalised(image))
        return y.permute(0, 2, 3, 1).reshape(frames, rows, -1, y.shape[1])

    def _normalised(self, image: Tensor) -> Tensor:
        """Convolution and batch norm with its kept statistics, as one convolution."""
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        scale = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
        bias = self.norm.bias - self.norm.running_mean * scale
        if isinstance(self.conv, nn.ConvTranspose2d):
            weight = self.conv.weight * scale[:, None, None]
            return F.conv_transpose2d(image, weight, bias, stride=(1, 2), padding=(0, 2))
        weight = self.conv.weight * scale[:, None, None, None]
        return F.conv2d(image, weight, bias, stride=(1, 2), padding=(0, 2))


def zero_state(blocks: int, rows: int, hidden: int, like: Tensor) -> list[State]:
    """States before the first frame: ``blocks`` pairs of zeros ``(1, rows, hidden)``."""
    zeros = torch.zeros(1, rows, hidden, dtype=like.dtype, device=like.device)
    return [(zeros, zeros) for _ in range(blocks)]
