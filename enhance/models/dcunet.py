"""Deep Complex U-Net: Choi et al., "Phase-aware speech enhancement with deep complex U-Net", ICLR 2019.

mixture x → STFT X → U-Net output O → mask M → M · X → inverse STFT. Strided convolutions go down, strided
transposed convolutions come up, skips are concatenated; every convolution but the last is followed by
batch normalisation and a leaky ReLU on real and imaginary parts. Layers are those of figures 7 to 10 of
the paper. What it leaves open: padding of half a kernel, slope 0.01, a centred unnormalised STFT.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enhance.errors import EnhanceError
from enhance.nn.complex import ComplexBatchNorm2d, ComplexConv2d, ComplexConvTranspose2d
from enhance.nn.consistency import check_consistent, mixture_consistent
from enhance.nn.masks import bdss, bdt, ubd
from enhance.stft import istft, stft


class Layer(NamedTuple):
    """One encoder: kernel and stride over (frequency, time), channels of the complex and the real network."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    channels: int
    real_channels: int | None


DCUNET_10 = (
    Layer((7, 5), (2, 2), 32, 45),
    Layer((7, 5), (2, 2), 64, 90),
    Layer((5, 3), (2, 2), 64, 90),
    Layer((5, 3), (2, 2), 64, 90),
    Layer((5, 3), (2, 1), 64, 90),
)

DCUNET_16 = (
    Layer((7, 5), (2, 2), 32, 45),
    Layer((7, 5), (2, 1), 32, 45),
    Layer((7, 5), (2, 2), 64, 90),
    Layer((5, 3), (2, 1), 64, 90),
    Layer((5, 3), (2, 2), 64, 90),
    Layer((5, 3), (2, 1), 64, 90),
    Layer((5, 3), (2, 2), 64, 90),
    Layer((5, 3), (2, 1), 64, 90),
)

DCUNET_20 = (
    Layer((7, 1), (1, 1), 32, 45),
    Layer((1, 7), (1, 1), 32, 45),
    Layer((7, 5), (2, 2), 64, 90),
    Layer((7, 5), (2, 1), 64, 90),
    Layer((5, 3), (2, 2), 64, 90),
    Layer((5, 3), (2, 1), 64, 90),
    Layer((5, 3), (2, 2), 64, 90),
    Layer((5, 3), (2, 1), 64, 90),
    Layer((5, 3), (2, 2), 64, 90),
    Layer((5, 3), (2, 1), 90, 180),  # 180 as printed; 127 real ones would weigh as much as 90 complex
)

LARGE_CHANNELS = (45, 45, 90, 90, 90, 90, 90, 90, 90, 128)
LARGE_DCUNET_20 = tuple(
    layer._replace(channels=channels, real_channels=None)
    for layer, channels in zip(DCUNET_20, LARGE_CHANNELS, strict=True)
)

PAPER = {
    "dcunet-10": DCUNET_10,
    "dcunet-16": DCUNET_16,
    "dcunet-20": DCUNET_20,
    "large-dcunet-20": LARGE_DCUNET_20,
}

# Not of the paper: small kernels, a short reach in time, sizes for 512 points. What hybrid.py is made of.
COMPACT = (
    Layer((7, 3), (4, 2), 16, None),
    Layer((3, 3), (2, 2), 24, None),
    Layer((3, 3), (2, 1), 48, None),
    Layer((3, 3), (2, 1), 72, None),
    Layer((3, 3), (2, 2), 128, None),
)

ENCODERS = {**PAPER, "compact": COMPACT}

# Channels of the decoders, first to last but one, where they do not mirror the encoders.
DECODER_CHANNELS = {"large-dcunet-20": (90,) * 9}

PRESETS = {name: {"layers": name} for name in PAPER}


MASKS = {"bdt": bdt, "bdss": bdss, "ubd": ubd}
KINDS = ("cRMCn", "cRMRn", "RMRn")
NORMS = ("whitening", "split")


class DCUNet(nn.Module):
    """Deep Complex U-Net and its real-valued counterparts.

    ``layers``
        a name of ``ENCODERS``,
    ``mask``
        ``bdt``, ``bdss`` or ``ubd`` (``RMRn`` has a magnitude mask instead: a sigmoid),
    ``kind``
        ``cRMCn``, complex mask and complex network; ``cRMRn``, complex mask from a real network that sees
        real and imaginary part as two channels; ``RMRn``, magnitude mask from a real network on magnitudes,
    ``norm``
        ``whitening`` after Trabelsi et al., or ``split``: real and imaginary parts normalised on their own
        (the real networks have real batch normalisation in any case),
    ``widths``
        channels of the encoders, complex ones if the network is, in place of the table's,
    ``compression``
        the network sees spectra whose modulus is raised to this power; the mask is for the plain ones,
    ``inputs``
        number of signals, as a later member of a cascade has them: the mixture, then estimates of it. Each
        gets a mask for each source, and what is masked for a source is summed,
    ``sources``, ``consistent``
        names of the estimates, and whether those of several sources are to sum to the mixture.

    A part of a signal gives the same output as the whole if it reaches ``context`` samples beyond what is
    kept of it, or to the edge of the signal where that is nearer, and if it begins at a multiple of
    ``align`` samples (one hop times the strides over time): elsewhere the strides would see other frames.

    Raises EnhanceError for an unknown name, and for the real-valued twin of large-dcunet-20, whose channels
    the paper does not give (nor has the compact table any: give ``widths``).
    """

    channels = 1

    def __init__(
        self,
        layers: str = "dcunet-20",
        mask: str = "bdt",
        kind: str = "cRMCn",
        norm: str = "whitening",
        n_fft: int = 1024,
        hop: int = 256,
        sample_rate: int = 16000,
        widths: Sequence[int] | None = None,
        compression: float = 1.0,
        inputs: int = 1,
        sources: Sequence[str] = ("speech",),
        consistent: bool = False,
    ) -> None:
        super().__init__()
        check_consistent(consistent, sources)
        require("layers", layers, ENCODERS)
        require("mask", mask, MASKS)
        require("kind", kind, KINDS)
        require("norm", norm, NORMS)
        self.encoder_layers = ENCODERS[layers]
        self.kind, self.mask_function = kind, MASKS[mask]
        self.n_fft, self.hop, self.sample_rate = n_fft, hop, sample_rate
        self.compression = compression
        self.sources, self.consistent = tuple(sources), consistent
        self.strides = (
            math.prod(layer.stride[0] for layer in self.encoder_layers),
            math.prod(layer.stride[1] for layer in self.encoder_layers),
        )
        self.align = hop * self.strides[1]
        self.context = context(self.encoder_layers, n_fft, hop)

        down, up = channel_counts(layers, kind, widths, inputs, len(sources))
        self.encoders = nn.ModuleList()
        for layer, (c_in, c_out) in zip(self.encoder_layers, pairwise(down), strict=True):
            self.encoders.append(block(layer, c_in, c_out, kind, norm))
        self.decoders = nn.ModuleList()
        skips = (0, *reversed(down[1:-1]))
        fed = (c_in + skip for c_in, skip in zip((down[-1], *up[:-1]), skips, strict=True))
        for layer, c_in, c_out in zip(reversed(self.encoder_layers), fed, up, strict=True):
            last = len(self.decoders) == len(up) - 1
            self.decoders.append(block(layer, c_in, c_out, kind, norm, transposed=True, last=last))

    def forward(self, mixture: Tensor, *estimates: Tensor) -> Tensor:
        """``(B, C, T)`` to ``(B, S, C, T)``, T ≥ 1; channels are independent of one another.

        ``estimates``, ``(B, ?, C, T)`` each, are the further ``inputs``.
        """
        batch, channels, length = mixture.shape
        signals = torch.cat([mixture[:, None], *estimates], dim=1).transpose(1, 2)  # (B, C, inputs, T)
        spectra = stft(signals.reshape(batch * channels, -1, length), self.n_fft, self.hop)  # complex (BC, I, F, N)
        seen = self.compress(spectra)
        if self.kind == "RMRn":
            masks = self.unet(seen.abs()).sigmoid()  # (BC, SI, F, N)
        else:
            parts = torch.cat([seen.real, seen.imag], dim=1)  # (BC, 2I, F, N)
            masks = torch.complex(*self.mask_function(*self.unet(parts).chunk(2, dim=1)))
        masked = spectra[:, None] * masks.unflatten(1, (len(self.sources), -1))  # (BC, S, I, F, N)
        wave = istft(masked.sum(2), self.n_fft, self.hop, length)  # (BC, S, T)
        wave = wave.unflatten(0, (batch, channels)).transpose(1, 2)  # (B, S, C, T)
        return mixture_consistent(wave, mixture) if self.consistent else wave

    def compress(self, spectra: Tensor) -> Tensor:
        """The modulus raised to ``compression``, the phase kept; smooth at zero, where an estimate may be silent."""
        if self.compression == 1:
            return spectra
        power = torch.view_as_real(spectra).square().sum(-1) + 1e-8
        return spectra * power.pow((self.compression - 1) / 2)

    def unet(self, x: Tensor) -> Tensor:
        """Output O of the network, of the shape and type of its input ``(B, c, F, N)``."""
        dtype, (bins, frames) = x.dtype, x.shape[-2:]
        # Sizes (n − 1) divisible by the strides come back exactly; the padding is trimmed from the mask.
        x = F.pad(x, (0, -(frames - 1) % self.strides[1], 0, -(bins - 1) % self.strides[0]))
        skips = []
        for encoder in self.encoders:
            x = encoder(x)  # (B, 2C, F / stride, N / stride)
            skips.append(x)
        skips.pop()  # the first decoder gets the last encoder's output alone
        x = self.decoders[0](x)
        for decoder in self.decoders[1:]:
            x = decoder(self.concatenate(x, skips.pop()))  # (B, 2C, F · stride, N · stride)
        return x[..., :bins, :frames].to(dtype)  # wide again after an autocast network

    def concatenate(self, x: Tensor, skip: Tensor) -> Tensor:
        """Both maps along channels; of complex ones the real parts of both come first."""
        if self.kind != "cRMCn":
            return torch.cat([x, skip], dim=1)
        (x_re, x_im), (skip_re, skip_im) = x.chunk(2, dim=1), skip.chunk(2, dim=1)
        return torch.cat([x_re, skip_re, x_im, skip_im], dim=1)


def require(argument: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise EnhanceError(f"DCUNet: {argument} = {value!r}", f"choose from {', '.join(known)}")


def channel_counts(
    layers: str, kind: str, widths: Sequence[int] | None = None, inputs: int = 1, sources: int = 1
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels from the input through the encoders, and of the decoders: complex ones if the network is."""
    first = 2 * inputs if kind == "cRMRn" else inputs
    last = first * sources
    if widths is not None:
        return (first, *widths), (*reversed(widths[:-1]), last)
    if kind == "cRMCn":
        counts = [layer.channels for layer in ENCODERS[layers]]
    else:
        counts = [layer.real_channels for layer in ENCODERS[layers] if layer.real_channels]
        if not counts:
            raise EnhanceError(f"DCUNet: no {kind} of {layers}", "take other layers, or kind = 'cRMCn'")
    return (first, *counts), (*DECODER_CHANNELS.get(layers, reversed(counts[:-1])), last)


def block(
    layer: Layer, c_in: int, c_out: int, kind: str, norm: str, transposed: bool = False, last: bool = False
) -> nn.Sequential:
    """Convolution, batch normalisation, leaky ReLU; the last block is a convolution with a bias alone."""
    is_complex = kind == "cRMCn"
    if is_complex:
        conv = ComplexConvTranspose2d if transposed else ComplexConv2d
    else:
        conv = nn.ConvTranspose2d if transposed else nn.Conv2d
    padding = (layer.kernel[0] // 2, layer.kernel[1] // 2)
    convolution = conv(c_in, c_out, layer.kernel, layer.stride, padding, bias=last)
    if last:
        return nn.Sequential(convolution)
    if is_complex and norm == "whitening":
        normalisation = ComplexBatchNorm2d(c_out)
    else:
        normalisation = nn.BatchNorm2d(2 * c_out if is_complex else c_out)
    return nn.Sequential(convolution, normalisation, nn.LeakyReLU(0.01))


def frames_behind(layers: tuple[Layer, ...], frame: int) -> tuple[int, int]:
    """First and last input frame that output ``frame`` of the U-Net depends on, edges disregarded."""
    needed = [(frame, frame)]  # at the decoders' outputs, from the last decoder inwards
    for layer in layers:
        half, stride = layer.kernel[1] // 2, layer.stride[1]
        first, last = needed[-1]
        needed.append((-((half - first) // stride), (last + half) // stride))  # ceil, floor
    first, last = needed.pop()
    for layer, (skip_first, skip_last) in zip(reversed(layers), reversed(needed), strict=True):
        half, stride = layer.kernel[1] // 2, layer.stride[1]
        first, last = first * stride - half, last * stride + half
        first, last = min(first, skip_first), max(last, skip_last)
    return first, last


def context(layers: tuple[Layer, ...], n_fft: int, hop: int) -> tuple[int, int]:
    """Samples before and after an output sample that it may depend on, where the strides are worst placed."""
    left = right = 0
    for frame in range(math.prod(layer.stride[1] for layer in layers)):
        first, last = frames_behind(layers, frame)
        left, right = max(left, frame - first), max(right, last - frame)
    # The first value of a periodic Hann window is zero: a frame reaches n_fft / 2 − 1 samples to either side.
    ends = 2 * (n_fft // 2 - 1)  # to the centre of the synthesis frame, and from that of the analysis frame
    return ends + hop * left, ends + hop * right
