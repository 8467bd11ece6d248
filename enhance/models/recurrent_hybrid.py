"""The hybrid with the compact model as its spectrogram module: the waveform module of hybrid.py is before or behind it.

Behind it, the waveform module corrects the compact model's estimate. It begins with a correction of zero.

Before it, its estimate is a further input of the compact model, which has masks for the mixture and for that estimate,
and sums what they leave. It begins with a mask of zero for the estimate.

So the compact model may be one that was trained alone (``init`` of a recipe takes a checkpoint for each module), and
training goes on from what that does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enhance.errors import EnhanceError
from enhance.models import compact
from enhance.models.compact import CompactUNet, StreamState
from enhance.models.hybrid import DILATIONS, WaveformUNet
from enhance.models.listening import checked, heard

PRESETS: dict[str, dict[str, Any]] = {
    "hybrid": {
        "waveform": {"widths": [32, 56, 80], "dilations": DILATIONS},
        "compact": {
            **compact.PRESETS["dcunet-m"],
            "blocks": 6,
            "hop": 128,
            "time_stride": 2,
            "floor": 0.01,
            "lookahead": 12,
            "listen": 0.0,
        },
        "listen": 3.0,
    },
}
ORDERS = ("waveform-spectrogram", "spectrogram-waveform")


@dataclass
class HybridState:
    """What a stream carries from chunk to chunk."""

    mixture: Tensor  # what the waveform module still looks at or waits for, ``(B, C, ·)``
    estimates: Tensor  # the same of its further inputs, ``(B, S, C, ·)``, of which there are none where it is first
    heard: Tensor  # its own estimates of the beginning, made while that was heard, as far as they are still to come
    start: int  # position in time of the first sample of the mixture and the estimates that are kept
    taken: int  # samples in all
    compact: StreamState | None


class RecurrentHybrid(nn.Module):
    """A waveform module and the compact model, in either order; ``(B, C, T)`` to ``(B, S, C, T)`` at 16 kHz.

    ``waveform`` and ``compact`` are the arguments of :class:`WaveformUNet` and of
    :class:`~enhance.models.compact.CompactUNet`; ``order`` is ``waveform-spectrogram`` or ``spectrogram-waveform``. It
    streams, but the waveform module looks as far ahead as it looks back, and looks at all of that again in each chunk:
    made for files, in chunks of seconds. Channels are independent. ``listen`` is that of the whole, not of its compact
    model. Raises EnhanceError for another order.
    """

    channels = 1

    def __init__(
        self,
        waveform: dict[str, Any],
        compact: dict[str, Any],
        order: str = "waveform-spectrogram",
        sample_rate: int = 16000,
        sources: Sequence[str] = ("speech",),
        consistent: bool = False,
        listen: float = 0.0,
    ) -> None:
        super().__init__()
        if order not in ORDERS:
            raise EnhanceError(f"RecurrentHybrid: order = {order!r}", f"give {' or '.join(ORDERS)}")
        self.order = order.split("-")
        common: dict[str, Any] = {"sample_rate": sample_rate, "sources": sources, "consistent": consistent}
        inputs = {name: 1 + place * len(sources) for place, name in enumerate(self.order)}
        self.waveform = WaveformUNet(**waveform, **common, inputs=inputs["waveform"])
        self.spectrogram = CompactUNet(**compact, **common, inputs=inputs["spectrogram"])
        self.sample_rate, self.sources = sample_rate, tuple(sources)
        self.block = math.lcm(self.spectrogram.block, self.waveform.align)
        self.left, self.right = (-(-reach // self.block) * self.block for reach in self.waveform.context)
        self.around = self.left + self.right  # of a chunk, what the waveform module looks at again
        self.latency = self.right + self.spectrogram.latency
        self.behind = 0 if self.corrects else self.right  # how much of what it is given `hear` has not heard yet
        self.listen = checked(listen)

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {name: getattr(self, name) for name in self.order}

    @property
    def corrects(self) -> bool:
        """Whether the waveform module is the last."""
        return self.order[-1] == "waveform"

    def forward(self, mixture: Tensor) -> Tensor:
        """Estimates ``(B, S, C, T)`` of a whole signal ``(B, C, T)``, T ≥ 1: the stream, without its delay."""
        return self.estimates(mixture)[-1]

    def estimates(self, mixture: Tensor, trained: str | None = None) -> list[Tensor]:
        """What each module makes of it, as :meth:`Hybrid.estimates`; after its end the mixture is silent.

        In training, whose segments are of the middle of a recording, no longer than for what is still to come.
        """
        length, late = mixture.shape[-1], self.spectrogram.latency
        ahead = 0 if self.training else self.right
        gradients = torch.is_grad_enabled()
        before = None if trained == self.order[0] == "waveform" else heard(self, mixture)
        inner = None if before is None else before.compact
        if self.corrects:
            seen = length + (0 if trained == "spectrogram" else ahead)  # by the waveform module
            padded = F.pad(mixture, (0, seen - length + self.spectrogram.following(seen)))
            with torch.set_grad_enabled(gradients and trained != "waveform"):
                first = self.spectrogram.stream(padded, inner)[0][..., late : late + seen]
            found = [first[..., :length]]
            if trained != "spectrogram":
                found.append(self.waveform(padded[..., :seen], first)[..., :length])
            return found
        seen = length + (0 if trained == "waveform" else self.spectrogram.following(length))  # by the compact model
        padded = F.pad(mixture, (0, seen - length + ahead))
        with torch.set_grad_enabled(gradients and trained != "spectrogram"):
            first = self.waveform(padded)[..., :seen]
        found = [first[..., :length]]
        if trained != "waveform":
            found.append(self.spectrogram.stream(padded[..., :seen], inner, first)[0][..., late : late + length])
        return found

    def restarted(self, state: HybridState) -> HybridState:
        """That state at the beginning of a signal, as :meth:`CompactUNet.restarted`."""
        inner = None if state.compact is None else self.spectrogram.restarted(state.compact)
        seen = state.heard[..., : -self.block]  # without what silence within the last block may have had a part in
        return HybridState(state.mixture[..., :0], state.estimates[..., :0], seen, 0, 0, inner)

    def hear(self, chunk: Tensor, state: HybridState | None) -> HybridState:
        """As :meth:`CompactUNet.hear`: the waveform module has no memory of its own."""
        state = state or self._beginning(chunk)
        if not self.corrects:
            return self._prepare(chunk, state, masked=False)[1]
        inner = self.spectrogram.hear(chunk, state.compact)
        return replace(state, taken=state.taken + chunk.shape[-1], compact=inner)

    def stream(self, chunk: Tensor, state: HybridState | None) -> tuple[Tensor, HybridState]:
        """The next ``(B, C, k * block)`` samples to as many of the estimates, ``latency`` samples earlier ones."""
        state = state or self._beginning(chunk)
        return self._correct(chunk, state) if self.corrects else self._prepare(chunk, state)

    def _beginning(self, chunk: Tensor) -> HybridState:
        nothing = chunk[..., :0]
        none = nothing[:, None].expand(-1, len(self.sources), -1, -1)
        return HybridState(nothing, none, none, 0, 0, None)

    def _correct(self, chunk: Tensor, state: HybridState) -> tuple[Tensor, HybridState]:
        """The compact model's estimates of the chunk, then the waveform module on those that it can see around."""
        length, start = chunk.shape[-1], state.start
        first, inner = self.spectrogram.stream(chunk, state.compact)
        taken = state.taken + length
        known, end = max(0, taken - self.spectrogram.latency), max(0, taken - self.latency)
        begin = max(0, taken - length - self.latency)
        mixture = torch.cat((state.mixture, chunk), dim=-1)
        new = known - start - state.estimates.shape[-1]  # at the beginning fewer: the first of them are of no time
        first = torch.cat((state.estimates, first[..., length - new :]), dim=-1)
        estimates = chunk.new_zeros(len(chunk), len(self.sources), *chunk.shape[1:])
        if end > begin:
            last = self.waveform(mixture[..., : known - start], first)
            estimates[..., length - (end - begin) :] = last[..., begin - start : end - start]
        seen = max(0, end - self.left - start) // self.waveform.align * self.waveform.align
        kept = mixture[..., seen:], first[..., seen:], state.heard
        return estimates, HybridState(*kept, start + seen, taken, inner)

    def _prepare(self, chunk: Tensor, state: HybridState, masked: bool = True) -> tuple[Tensor, HybridState]:
        """The waveform module on what it can see around, then the compact model: its estimates, or its memory alone."""
        length, start, heard = chunk.shape[-1], state.start, state.heard
        mixture = torch.cat((state.mixture, chunk), dim=-1)
        taken = state.taken + length
        begin, end = max(0, taken - length - self.right), taken - self.right  # what the second module hears now
        estimates, inner = chunk.new_zeros(len(chunk), len(self.sources), *chunk.shape[1:]), state.compact
        if end > 0:
            now = mixture[..., begin - start : end - start]
            known = min(heard.shape[-1], end - begin) if masked else 0
            first = heard[..., :known]
            if begin + known < end:
                around = max(start, begin + known - self.left)
                new = self.waveform(mixture[..., around - start :])[..., begin + known - around : end - around]
                first = torch.cat((first, new), dim=-1)
            if masked:
                estimates[..., begin - end :], inner = self.spectrogram.stream(now, inner, first)
                heard = heard[..., known:]
            else:
                inner, heard = self.spectrogram.hear(now, inner, first), torch.cat((heard, first), dim=-1)
        seen = max(0, end - self.left - start)
        return estimates, HybridState(mixture[..., seen:], state.estimates, heard, start + seen, taken, inner)
