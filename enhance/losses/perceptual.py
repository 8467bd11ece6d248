"""Losses after two perceptual measures: a differentiable PESQ and a differentiable STOI.

They follow the measures closely enough to be steered by, and leave out what has no gradient or matters only
for telephone lines: time alignment, filters, the removal of silent frames. The scores in tables always
come from the packages ``pesq`` and ``pystoi``.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from enhance.stft import stft

EPS = 1e-8
COLOURING = 2.0  # of power, 3 dB
LOWEST_POWER = 1e-12  # full scale is 1
LISTENING_LEVEL = 79.0  # dB SPL at which PESQ plays active speech
BARK_BANDS = 49  # of PESQ-WB, up to 8 kHz
SEGMENT, SEGMENT_STEP = 30, 5  # frames of STOI's segments, and from one to the next


def pesq_like(estimate: Tensor, target: Tensor, mixture: Tensor, sample_rate: int = 16000) -> Tensor:
    """PESQ's distance to the target, the mean over utterances ``(..., time)``: 0 is perfect, 4.5 is bad.

    The disturbances of ITU-T P.862 (section 10.2) as Martín-Doñas et al. 2018 made them a loss ("PMSQE",
    IEEE SPL 25(11)): both signals at the same level, spectra of 32 ms to Bark bands, the estimate's colouring
    and its slow changes of gain allowed for, to loudness (Zwicker); what is louder or quieter than the target by
    more than masking hides is the symmetric disturbance, what was added the asymmetric one; ``0.1 * d + 0.0309 * da``,
    frames and seconds joined by the norms of P.862. Utterances with a silent target count nothing. Blind to the level
    of the estimate: another loss has to see to that.
    """
    defined = target.square().mean(-1) > EPS
    reference = _bark_power(target, sample_rate)  # (..., bands, frames)
    degraded = _bark_power(estimate, sample_rate)
    reference = reference * _colouring(reference, degraded, sample_rate)
    degraded = degraded * _frame_gain(reference, degraded, sample_rate)
    loud_reference, loud_degraded = _loudness(reference, sample_rate), _loudness(degraded, sample_rate)
    difference = loud_degraded - loud_reference
    masked = 0.25 * torch.minimum(loud_degraded, loud_reference)
    disturbance = torch.relu(difference.abs() - masked)
    ratio = ((degraded + 50) / (reference + 50)).pow(1.2)  # what was added counts by how much it stands out
    asymmetric = disturbance * torch.where(ratio < 3, 0.0, ratio.clamp(max=12))
    width = _bark_widths(sample_rate).to(estimate).unsqueeze(-1)
    symmetric_frames = ((disturbance * width).square().sum(-2) * width.sum() + EPS).sqrt()
    asymmetric_frames = (asymmetric * width).sum(-2)
    weight = ((reference.sum(-2) + 1e5) / 1e7).pow(0.04)  # quiet frames count a little more
    d = _over_time((symmetric_frames / weight).clamp(max=45))
    da = _over_time((asymmetric_frames / weight).clamp(max=45))
    distance = torch.where(defined, 0.1 * d + 0.0309 * da, 0.0)
    return distance.sum() / defined.sum().clamp(min=1)


def _colouring(reference: Tensor, degraded: Tensor, sample_rate: int) -> Tensor:
    """What the target is to be multiplied by, ``(..., bands, 1)``, to sound as the estimate does on the whole.

    P.862, section 10.2.4: the ratio of the mean audible power in each band, of the frames that are not silent. At most
    ``COLOURING``, where P.862 allows 20 dB: to fade a band that is hard to clean is to cost something.
    """
    audible = 100 * _threshold(sample_rate).to(reference).unsqueeze(-1)
    active = (reference.sum(-2, keepdim=True) > 1e5).to(reference)
    frames = active.sum(-1, keepdim=True).clamp(min=1)
    means = [
        torch.where(power > audible, power * active, 0.0).sum(-1, keepdim=True) / frames
        for power in (reference, degraded)
    ]
    return ((means[1] + 1000) / (means[0] + 1000)).clamp(1 / COLOURING, COLOURING)


def _frame_gain(reference: Tensor, degraded: Tensor, sample_rate: int) -> Tensor:
    """What the estimate is to be multiplied by, ``(..., 1, frames)``, to be as loud as the target.

    P.862, section 10.2.5: the ratio of the audible power of each frame, smoothed over time, where P.862's filter is cut
    off after one frame.
    """
    threshold = _threshold(sample_rate).to(reference).unsqueeze(-1)
    sums = [torch.where(power > threshold, power, 0.0).sum(-2, keepdim=True) for power in (reference, degraded)]
    ratio = (sums[0] + 5e3) / (sums[1] + 5e3)
    previous = torch.cat((ratio[..., :1], ratio[..., :-1]), dim=-1)
    return (0.2 * previous + 0.8 * ratio).clamp(3e-4, 5)


def _over_time(frames: Tensor) -> Tensor:
    """P.862, equations 24 and 25: the norm of order 6 over 20 frames, then of order 2 over these."""
    span = min(20, frames.shape[-1])
    intervals = frames.unfold(-1, span, max(1, span // 2))  # (..., intervals, 20)
    worst = (intervals.pow(6).mean(-1) + EPS).pow(1 / 6)
    return (worst.square().mean(-1) + EPS).sqrt()


def _bark_power(wave: Tensor, sample_rate: int) -> Tensor:
    """Power in Bark bands ``(..., bands, frames)``, 10^(dB SPL / 10), at the listening level.

    Which is that of the band of telephones, 350 to 3250 Hz, as in P.862, section 10.1.
    """
    n_fft = sample_rate * 32 // 1000
    spectrum = torch.view_as_real(stft(wave, n_fft, n_fft // 2)).square().sum(-1)  # (..., F, frames)
    spectrum = spectrum * (2 / (0.375 * n_fft**2))  # 0.375: a Hann window's mean square
    frequencies = torch.arange(n_fft // 2 + 1, device=wave.device) * sample_rate / n_fft
    heard = ((frequencies > 350) & (frequencies < 3250)).to(spectrum)
    level = torch.matmul(heard, spectrum).mean(-1)[..., None, None]
    power = torch.matmul(_bark_bands(n_fft, sample_rate).to(spectrum), spectrum)
    return power * (10 ** (LISTENING_LEVEL / 10) / (level + LOWEST_POWER))


def _loudness(power: Tensor, sample_rate: int) -> Tensor:
    """Zwicker's law (P.862, equation 18) in about sone a Bark: zero under the threshold in quiet."""
    threshold = _threshold(sample_rate).to(power).unsqueeze(-1)
    exponent = 0.23
    loud = (threshold / 0.5).pow(exponent) * ((0.5 + 0.5 * power / threshold).pow(exponent) - 1)
    return 0.1866 * torch.relu(loud)


def _bark_edges(sample_rate: int) -> Tensor:
    """Edges of the bands in Hz, equally wide on Traunmüller's scale, from about 40 Hz."""
    top = 26.81 / (1 + 1960 / (sample_rate / 2)) - 0.53
    z = torch.linspace(0.0, top, BARK_BANDS + 1, dtype=torch.float64)
    return (1960 / (26.81 / (z + 0.53) - 1)).clamp(min=0)


@cache
def _bark_bands(n_fft: int, sample_rate: int) -> Tensor:
    """The share of each bin in each band, ``(bands, n_fft / 2 + 1)``; a bin is as wide as its spacing."""
    edges = _bark_edges(sample_rate)
    spacing = sample_rate / n_fft
    centres = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * spacing
    low = torch.maximum(edges[:-1, None], centres[None] - spacing / 2)
    high = torch.minimum(edges[1:, None], centres[None] + spacing / 2)
    return ((high - low).clamp(min=0) / spacing).float()


@cache
def _bark_widths(sample_rate: int) -> Tensor:
    top = 26.81 / (1 + 1960 / (sample_rate / 2)) - 0.53
    return torch.full((BARK_BANDS,), top / BARK_BANDS)


@cache
def _threshold(sample_rate: int) -> Tensor:
    """Threshold of hearing in quiet at the bands' centres, as power (Terhardt 1979)."""
    edges = _bark_edges(sample_rate)
    khz = ((edges[1:] + edges[:-1]) / 2000).clamp(min=0.05)
    db = 3.64 * khz.pow(-0.8) - 6.5 * torch.exp(-0.6 * (khz - 3.3).square()) + 1e-3 * khz.pow(4)
    return (10 ** (db / 10)).float()


def stoi_like(estimate: Tensor, target: Tensor, mixture: Tensor, sample_rate: int = 16000) -> Tensor:
    """One minus STOI, the mean over utterances ``(..., time)``, between 0 and about 1.

    Taal et al. 2011 (IEEE TASLP 19(7), equations 1 to 6): frames more than 40 dB under the loudest left
    out, third-octave bands from 150 Hz, segments of 384 ms, the estimate scaled and clipped at -15 dB,
    correlation. At the rate of the signals, with windows of 32 ms and every fifth segment. Utterances
    with less than 384 ms of speech count nothing.
    """
    gain = target.square().mean(-1, keepdim=True).add(EPS).rsqrt()
    n_fft, hop = sample_rate * 32 // 1000, round(sample_rate * 0.0128)
    bands = _third_octaves(n_fft, sample_rate).to(target)
    reference = _powers(target * gain, n_fft, hop)  # (..., F, frames)
    energy = reference.sum(-2)
    active = (energy > 1e-4 * energy.amax(-1, keepdim=True)) & (energy > EPS)
    order = (~active).to(torch.uint8).argsort(dim=-1, stable=True).unsqueeze(-2)  # active frames first, in their order
    count = active.sum(-1)
    reference = _octave_segments(reference, order, bands)  # (..., 15, segments, 30)
    degraded = _octave_segments(_powers(estimate * gain, n_fft, hop), order, bands)
    starts = torch.arange(reference.shape[-2], device=target.device) * SEGMENT_STEP
    whole = (starts + SEGMENT <= count.unsqueeze(-1)).to(target)  # segments of active frames only
    scale = ((reference.square().sum(-1, keepdim=True) + EPS) / (degraded.square().sum(-1, keepdim=True) + EPS)).sqrt()
    clipped = torch.minimum(degraded * scale, reference * (1 + 10 ** (15 / 20)))
    correlation = _correlation(reference, clipped).mean(-2)  # (..., segments)
    defined = whole.sum(-1) > 0
    score = (correlation * whole).sum(-1) / whole.sum(-1).clamp(min=1)
    return torch.where(defined, 1 - score, 0.0).sum() / defined.sum().clamp(min=1)


def _powers(wave: Tensor, n_fft: int, hop: int) -> Tensor:
    return torch.view_as_real(stft(wave, n_fft, hop)).square().sum(-1)


def _octave_segments(power: Tensor, order: Tensor, bands: Tensor) -> Tensor:
    """Modulus in third octaves of the frames in that order, cut into segments: ``(..., 15, segments, 30)``."""
    modulus = (torch.matmul(bands, power) + EPS).sqrt()  # (..., 15, frames)
    modulus = modulus.gather(-1, order.expand_as(modulus))
    return F.pad(modulus, (0, max(0, SEGMENT - modulus.shape[-1]))).unfold(-1, SEGMENT, SEGMENT_STEP)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a = a - a.mean(-1, keepdim=True)
    b = b - b.mean(-1, keepdim=True)
    norms = ((a.square().sum(-1) + EPS) * (b.square().sum(-1) + EPS)).sqrt()
    return (a * b).sum(-1) / norms


@cache
def _third_octaves(n_fft: int, sample_rate: int) -> Tensor:
    """Which bins belong to each of STOI's 15 bands, ``(15, n_fft / 2 + 1)``."""
    frequencies = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    centres = 150 * 2 ** (torch.arange(15, dtype=torch.float64) / 3)
    low, high = centres * 2 ** (-1 / 6), centres * 2 ** (1 / 6)
    return ((frequencies >= low[:, None]) & (frequencies < high[:, None])).float()
