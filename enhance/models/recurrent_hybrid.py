"""The hybrid with the compact model as its spectrogram module, and behind it the waveform module of hybrid.py.

The first module may be one that was trained alone (``init`` of a recipe takes its checkpoint): a new waveform module
leaves its estimate as it is, so that training goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enhance.errors import EnhanceError
from enhance.models import compact
from enhance.models.compact import CompactUNet, StreamState
from enhance.models.hybrid import DILATIONS, WaveformUNet

PRESETS: dict[str, dict[str, Any]] = {
    "hybrid": {
        "compact": {**compact.PRESETS["dcunet-m"], "floor": 0.01},
        "waveform": {"widths": [40, 56, 64], "dilations": DILATIONS},
    },
}


@dataclass
class HybridState:
    """What a stream carries from chunk to chunk: ``(B, 1 + S, C, ·)`` are the mixture and the first estimates."""

    compact: StreamState
    mixture: Tensor  # its last samples, ``(B, 1, C, ·)``, whose estimates are not out yet
    signals: Tensor  # what the waveform module still looks at
    start: int  # position in time of the first of these; samples before the beginning have negative ones
    taken: int  # samples in all


class RecurrentHybrid(nn.Module):
    """The compact model, then a waveform module that sees the mixture and its estimates; ``(B, C, T)`` at 16 kHz.

    ``compact`` and ``waveform`` are the arguments of :class:`~enhance.models.compact.CompactUNet` and of
    :class:`WaveformUNet`. It streams, but the waveform module looks as far ahead as it looks back, and looks at all of
    that again in each chunk: made for files, in chunks of seconds. Channels are independent.
    """

    channels = 1

    def __init__(
        self,
        compact: dict[str, Any],
        waveform: dict[str, Any],
        sample_rate: int = 16000,
        sources: Sequence[str] = ("speech",),
        consistent: bool = False,
    ) -> None:
        super().__init__()
        common: dict[str, Any] = {"sample_rate": sample_rate, "sources": sources, "consistent": consistent}
        self.spectrogram = CompactUNet(**compact, **common)
        self.waveform = WaveformUNet(**waveform, inputs=1 + len(sources), **common)
        self.sample_rate, self.sources = sample_rate, tuple(sources)
        self.block = math.lcm(self.spectrogram.block, self.waveform.align)
        if self.spectrogram.latency % self.waveform.align:
            raise EnhanceError(
                f"RecurrentHybrid: the strides' product, {self.waveform.align}, does not divide the compact model's "
                f"latency, {self.spectrogram.latency}",
                "give shorter strides",
            )
        self.left, self.right = (-(-reach // self.block) * self.block for reach in self.waveform.context)
        self.latency = self.spectrogram.latency + self.right

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {"spectrogram": self.spectrogram, "waveform": self.waveform}

    def forward(self, mixture: Tensor) -> Tensor:
        """Estimates ``(B, S, C, T)`` of a whole signal ``(B, C, T)``, T ≥ 1: the stream, without its delay."""
        return self.estimates(mixture)[-1]

    def estimates(self, mixture: Tensor, trained: str | None = None) -> list[Tensor]:
        """What each module makes of it, as :meth:`Hybrid.estimates`; after its end the mixture is silent.

        Not in training, whose segments are of the middle of a recording: there the waveform module sees no further.
        """
        length = mixture.shape[-1]
        padded = mixture if self.training else F.pad(mixture, (0, self.right))
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained != "waveform"):
            found = [self.spectrogram(padded)]
        if trained != "spectrogram":
            found.append(self.waveform(padded, found[0]))
        return [estimates[..., :length] for estimates in found]

    def stream(self, chunk: Tensor, state: HybridState | None) -> tuple[Tensor, HybridState]:
        """The next ``(B, C, k * block)`` samples to as many of the estimates, ``latency`` samples earlier ones."""
        batch, channels, length = chunk.shape
        late = self.spectrogram.latency
        estimates, inner = self.spectrogram.stream(chunk, state.compact if state else None)
        if state is None:
            nothing = chunk.new_zeros(batch, 1, channels, late)
            state = HybridState(
                inner, nothing, estimates.new_zeros(batch, 1 + len(self.sources), channels, 0), -late, 0
            )
        mixture = torch.cat((state.mixture, chunk[:, None]), dim=-1)
        signals = torch.cat((state.signals, torch.cat((mixture[..., :length], estimates), dim=1)), dim=-1)
        before = min(max(0, -state.start), signals.shape[-1])  # of the beginning: nothing
        signals, start = signals[..., before:], state.start + before
        taken = state.taken + length
        begin, end = taken - length - self.latency, taken - self.latency  # what is asked for
        output = estimates.new_zeros(estimates.shape)
        if end > 0:
            whole = self.waveform(signals[:, 0], signals[:, 1:])
            output[..., max(0, -begin) :] = whole[..., max(0, begin) - start : end - start]
        seen = max(0, end - self.left - start)
        following = HybridState(inner, mixture[..., length:], signals[..., seen:], start + seen, taken)
        return output, following
