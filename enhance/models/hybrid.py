"""The hybrid: a module on the waveform and a module on the spectrogram, one after the other.

After Kim et al. 2018, "Multi-domain processing via hybrid denoising networks for speech enhancement" (MDPhD,
arXiv 1812.08914): each of the two removes the noise that it is good at. The paper's layers are not known to us,
so both modules are our own choice:

* the spectrogram module is the Deep Complex U-Net of dcunet.py in a compact size;
* the waveform module is a U-Net of dilated, gated convolutions over the raw signal, below. Strides come early,
  since on a CPU the time goes where the rate is high.

They are composed in any order; the second one sees the mixture and the estimate of the first. One module alone
is a cascade too: that is what a hybrid is to be compared with, at equal size and cost. In recurrent_hybrid.py the
spectrogram module is the compact model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enhance.errors import EnhanceError
from enhance.models.dcunet import DCUNet
from enhance.nn.consistency import check_consistent, mixture_consistent

SPECTROGRAM = {"layers": "compact", "norm": "split", "n_fft": 512, "hop": 128, "compression": 0.3}
DILATIONS = [[1], [1], [1, 2, 4, 8, 16, 32]]

# The two modules of `hybrid-dcunet` cost the same, and so do it, `waveform` and `spectrogram`, for a CPU; `hybrid-l`
# wants a GPU to be trained.
PRESETS: dict[str, dict[str, Any]] = {
    "hybrid-dcunet": {
        "order": "waveform-spectrogram",
        "waveform": {"widths": [40, 56, 64], "dilations": DILATIONS},
        "spectrogram": {**SPECTROGRAM, "widths": [12, 16, 28, 56, 88]},
    },
    "hybrid-l": {
        "order": "waveform-spectrogram",
        "waveform": {"widths": [64, 128, 256], "dilations": [[1], [1, 2], 2 * [1, 2, 4, 8, 16, 32]]},
        "spectrogram": {**SPECTROGRAM, "widths": [24, 48, 96, 256, 512]},
    },
    "waveform": {"order": "waveform", "waveform": {"widths": [64, 72, 88], "dilations": DILATIONS}},
    "spectrogram": {"order": "spectrogram", "spectrogram": {**SPECTROGRAM, "widths": [16, 24, 48, 72, 128]}},
}


class GatedBlock(nn.Module):
    """Normalised, convolved with a dilation, gated, mixed, and added to its input: ``(R, width, 1, N)``, kept."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, 2 * width, (1, 3), padding=(0, dilation), dilation=(1, dilation))
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(F.glu(self.conv(self.norm(x)), dim=1))


def gated_blocks(width: int, dilations: list[int]) -> nn.Sequential:
    return nn.Sequential(*(GatedBlock(width, dilation) for dilation in dilations))


class WaveformUNet(nn.Module):
    """U-Net over the raw signal: a correction to the last estimate, at a rate lowered by ``strides`` (even).

    As the first module of a cascade it corrects the mixture, of which each of several sources has an equal share.

    Level 0 is a learned filter bank of ``widths[0]`` bands; each further level has a lower rate and more
    channels. On its way down and up, each level has gated blocks with ``dilations``; the last one, the
    bottleneck, has them once. Skips are added. A new network leaves its input alone.

    The signals are divided by the RMS of the mixture around each frame (``2 * LEVEL + 1`` frames), and the
    correction is multiplied by it: recordings may be quiet or loud.
    """

    channels = 1
    LEVEL = 64  # frames of `align` samples on either side
    FLOOR = 1e-5  # of the RMS
    SILENCE = 1e-7  # and less than this around is silence, of which the correction is silence

    def __init__(
        self,
        widths: list[int],
        dilations: list[list[int]],
        strides: tuple[int, ...] = (8, 4, 2),
        inputs: int = 1,
        sample_rate: int = 16000,
        sources: Sequence[str] = ("speech",),
        consistent: bool = False,
    ) -> None:
        super().__init__()
        check_consistent(consistent, sources)
        self.sample_rate = sample_rate
        self.sources, self.consistent = tuple(sources), consistent
        self.strides, self.dilations = tuple(strides), dilations
        self.align = math.prod(strides)
        self.context = self.reach()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for (outer, inner), stride in zip(pairwise((inputs, *widths)), self.strides, strict=True):
            resampling = ((1, 2 * stride), (1, stride), (0, stride // 2))  # kernel, stride, padding
            self.down.append(nn.Conv2d(outer, inner, *resampling))
            self.up.append(nn.ConvTranspose2d(inner, outer if len(self.up) else len(sources), *resampling))
        levels = list(zip(widths, dilations, strict=True))
        self.encoders = nn.ModuleList(gated_blocks(*level) for level in levels)
        self.decoders = nn.ModuleList(gated_blocks(*level) for level in levels[:-1])
        for parameter in self.up[0].parameters():
            nn.init.zeros_(parameter)

    def forward(self, mixture: Tensor, *estimates: Tensor) -> Tensor:
        """``(B, C, T)`` to ``(B, S, C, T)``, T ≥ 1; ``estimates``, ``(B, S, C, T)`` each, are further inputs."""
        batch, channels, length = mixture.shape
        signals = torch.cat([mixture[:, None], *estimates], dim=1).transpose(1, 2)  # (B, C, I, T)
        x = F.pad(signals.reshape(batch * channels, -1, length), (0, -length % self.align))
        level = self.level(x[:, :1])
        count = len(self.sources)
        correction = self.unet(x / level) * torch.where(level > math.hypot(self.FLOOR, self.SILENCE), level, 0.0)
        x = (x[:, -count:] if estimates else x / count) + correction  # (BC, S, T)
        wave = x[..., :length].unflatten(0, (batch, channels)).transpose(1, 2)
        return mixture_consistent(wave, mixture) if self.consistent else wave

    def level(self, mixture: Tensor) -> Tensor:
        """The RMS around each frame, ``(R, 1, T)`` to the same shape."""
        power = F.avg_pool1d(mixture.square(), self.align)  # (R, 1, N)
        power = F.avg_pool1d(power, 2 * self.LEVEL + 1, 1, self.LEVEL, count_include_pad=False)
        return (power + self.FLOOR**2).sqrt().repeat_interleave(self.align, dim=-1)

    def unet(self, x: Tensor) -> Tensor:
        """``(R, inputs, T)``, T a multiple of ``align``, to ``(R, S, T)``.

        As images one pixel high, with the channels last in memory: convolutions of a CPU are faster so.
        """
        x = x[:, :, None].contiguous(memory_format=torch.channels_last)
        skips = []
        for down, encoder in zip(self.down, self.encoders, strict=True):
            x = encoder(down(x))  # (R, width, 1, N)
            skips.append(x)
        x = skips.pop()
        for up, decoder in reversed(list(zip(list(self.up)[1:], self.decoders, strict=True))):
            x = decoder(up(x) + skips.pop())
        return self.up[0](x)[:, :, 0]

    def reach(self) -> tuple[int, int]:
        """Samples before and after an output sample that it may depend on, where the strides are worst placed.

        The skips reach no further than what goes through the bottleneck.
        """
        left = right = 0
        for sample in range(self.align):
            first = last = sample
            for stride, level in zip(self.strides, self.dilations, strict=True):
                # A transposed convolution of kernel 2s, stride s and padding s/2 gives sample t the frames
                # from (t - 3s/2 + 1) / s to (t + s/2) / s.
                first, last = -((3 * stride // 2 - 1 - first) // stride), (last + stride // 2) // stride
                first, last = first - sum(level), last + sum(level)
            for stride, level in zip(reversed(self.strides), reversed((*self.dilations[:-1], [])), strict=True):
                first, last = first - sum(level), last + sum(level)
                first, last = first * stride - stride // 2, last * stride + 3 * stride // 2 - 1
            first = (first // self.align - self.LEVEL) * self.align
            last = (last // self.align + self.LEVEL + 1) * self.align - 1
            left, right = max(left, sample - first), max(right, last - sample)
        return left, right


MODULES: dict[str, type[Any]] = {"waveform": WaveformUNet, "spectrogram": DCUNet}


class Hybrid(nn.Module):
    """A cascade of modules, each given the mixture and the estimates of those before it.

    ``order``
        names of modules joined by hyphens: ``waveform-spectrogram``, ``spectrogram-waveform``, or one alone,
    ``waveform``, ``spectrogram``
        the arguments of :class:`WaveformUNet` and of :class:`~enhance.models.dcunet.DCUNet`,
    ``sources``, ``consistent``
        names of the estimates that each module gives, and whether those of several sources are to sum to the mixture.

    Its reach, ``context`` and ``align``, is what theirs come to.
    """

    channels = 1

    def __init__(
        self,
        order: str = "waveform-spectrogram",
        waveform: dict[str, Any] | None = None,
        spectrogram: dict[str, Any] | None = None,
        sample_rate: int = 16000,
        sources: Sequence[str] = ("speech",),
        consistent: bool = False,
    ) -> None:
        super().__init__()
        names = order.split("-")
        if not set(names) <= set(MODULES) or len(set(names)) < len(names):
            raise EnhanceError(f"Hybrid: order = {order!r}", f"names of {', '.join(MODULES)}, joined by hyphens")
        arguments = {"waveform": waveform or {}, "spectrogram": spectrogram or {}}
        parts: dict[str, Any] = {
            name: MODULES[name](
                **arguments[name],
                inputs=1 + earlier * len(sources),
                sample_rate=sample_rate,
                sources=sources,
                consistent=consistent,
            )
            for earlier, name in enumerate(names)
        }
        self.sample_rate, self.sources = sample_rate, tuple(sources)
        self.parts = nn.ModuleDict(parts)
        self.align = math.lcm(*(part.align for part in parts.values()))
        self.context = tuple(sum(ends) for ends in zip(*(part.context for part in parts.values()), strict=True))

    def forward(self, mixture: Tensor) -> Tensor:
        """Estimates ``(B, S, C, T)`` of ``(B, C, T)``, T ≥ 1; channels are independent of one another."""
        return self.estimates(mixture)[-1]

    def estimates(self, mixture: Tensor, trained: str | None = None) -> list[Tensor]:
        """What each module makes of it, in their order, ``(B, S, C, T)`` each: the last one is the result.

        With the name of a module that is ``trained`` alone, its estimate is the last, and those before it are given.
        """
        found: list[Tensor] = []
        for name, part in self.parts.items():
            with torch.set_grad_enabled(torch.is_grad_enabled() and trained in (None, name)):
                found.append(part(mixture, *found))
            if name == trained:
                break
        return found
