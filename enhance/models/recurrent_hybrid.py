"""The hybrid with the compact model as its spectrogram module, and before it the waveform module of hybrid.py.

The second module has masks for the mixture and for the first one's estimate, and sums what they leave. It may be one
that was trained alone (``init`` of a recipe takes a checkpoint for each module): it begins with a mask of zero for the
estimate, so that training goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enhance.models import compact
from enhance.models.compact import CompactUNet, StreamState
from enhance.models.hybrid import DILATIONS, WaveformUNet
from enhance.models.listening import checked, heard

PRESETS: dict[str, dict[str, Any]] = {
    "hybrid": {
        "waveform": {"widths": [64, 72, 88], "dilations": DILATIONS},
        "compact": {**compact.PRESETS["dcunet-m"], "floor": 0.01, "lookahead": 12, "listen": 0.0},
        "listen": 4.0,
    },
}


@dataclass
class HybridState:
    """What a stream carries from chunk to chunk."""

    mixture: Tensor  # what the waveform module still looks at, ``(B, C, ·)``
    start: int  # position in time of the first of these
    taken: int  # samples in all
    compact: StreamState | None


class RecurrentHybrid(nn.Module):
    """A waveform module, then the compact model that sees the mixture and its estimates; ``(B, C, T)`` at 16 kHz.

    ``waveform`` and ``compact`` are the arguments of :class:`WaveformUNet` and of
    :class:`~enhance.models.compact.CompactUNet`. It streams, but the waveform module looks as far ahead as it looks
    back, and looks at all of that again in each chunk: made for files, in chunks of seconds. Channels are independent.
    ``listen`` is that of the whole, not of its compact model.
    """

    channels = 1

    def __init__(
        self,
        waveform: dict[str, Any],
        compact: dict[str, Any],
        sample_rate: int = 16000,
        sources: Sequence[str] = ("speech",),
        consistent: bool = False,
        listen: float = 0.0,
    ) -> None:
        super().__init__()
        common: dict[str, Any] = {"sample_rate": sample_rate, "sources": sources, "consistent": consistent}
        self.waveform = WaveformUNet(**waveform, **common)
        self.spectrogram = CompactUNet(**compact, inputs=1 + len(sources), **common)
        self.sample_rate, self.sources = sample_rate, tuple(sources)
        self.block = math.lcm(self.spectrogram.block, self.waveform.align)
        self.left, self.right = (-(-reach // self.block) * self.block for reach in self.waveform.context)
        self.latency = self.right + self.spectrogram.latency
        self.listen = checked(listen)

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {"waveform": self.waveform, "spectrogram": self.spectrogram}

    def forward(self, mixture: Tensor) -> Tensor:
        """Estimates ``(B, S, C, T)`` of a whole signal ``(B, C, T)``, T ≥ 1: the stream, without its delay."""
        return self.estimates(mixture)[-1]

    def estimates(self, mixture: Tensor, trained: str | None = None) -> list[Tensor]:
        """What each module makes of it, as :meth:`Hybrid.estimates`; after its end the mixture is silent.

        In training, whose segments are of the middle of a recording, for as long as the second module hears ahead.
        """
        length, late = mixture.shape[-1], self.spectrogram.latency
        taken = length + (0 if trained == "waveform" else self.spectrogram.following(length))
        padded = F.pad(mixture, (0, taken - length + (0 if self.training else self.right)))
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained != "spectrogram"):
            first = self.waveform(padded)[..., :taken]
        found = [first[..., :length]]
        if trained != "waveform":
            state = None if (before := heard(self, mixture)) is None else before.compact
            last, _ = self.spectrogram.stream(padded[..., :taken], state, first)
            found.append(last[..., late : late + length])
        return found

    def restarted(self, state: HybridState) -> HybridState:
        """That state at the beginning of a signal, as :meth:`CompactUNet.restarted`."""
        inner = None if state.compact is None else self.spectrogram.restarted(state.compact)
        return HybridState(state.mixture[..., :0], 0, 0, inner)

    def stream(self, chunk: Tensor, state: HybridState | None) -> tuple[Tensor, HybridState]:
        """The next ``(B, C, k * block)`` samples to as many of the estimates, ``latency`` samples earlier ones."""
        if state is None:
            state = HybridState(chunk[..., :0], 0, 0, None)
        length, start = chunk.shape[-1], state.start
        mixture = torch.cat((state.mixture, chunk), dim=-1)
        taken = state.taken + length
        begin, end = max(0, taken - length - self.right), taken - self.right  # what the second module hears now
        estimates, inner = chunk.new_zeros(len(chunk), len(self.sources), *chunk.shape[1:]), state.compact
        if end > 0:
            now = slice(begin - start, end - start)
            first = self.waveform(mixture)[..., now]
            estimates[..., begin - end :], inner = self.spectrogram.stream(mixture[..., now], inner, first)
        seen = max(0, end - self.left - start)
        return estimates, HybridState(mixture[..., seen:], start + seen, taken, inner)
