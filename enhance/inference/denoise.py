"""One signal through a denoiser, block by block, and the Python API on top of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from enhance.errors import EnhanceError
from enhance.inference.bands import Bands
from enhance.inference.chunks import (
    CHUNK_SECONDS,
    ContextChunks,
    Fifo,
    StreamChunks,
    check_denoiser,
    chunked,
)
from enhance.inference.device import find_device
from enhance.inference.level import gains, peaks_of
from enhance.inference.linked import linked_masks
from enhance.inference.precision import check_precision, with_precision
from enhance.inference.spectral import through
from enhance.inference.tasks import check_listen
from enhance.models.checkpoint import DEFAULT, load_model

Wave = TypeVar("Wave", np.ndarray, Tensor)
RATES = (1000, 768000)  # of a recording, in Hz
MOST_CHANNELS = 64  # of a wave with fewer samples than channels; beyond, time and channels are the wrong way round


class SameRate:
    """A model at the rate of the file: pairs of input and clean signal, as :class:`Bands` gives them."""

    def __init__(self, chunks: ContextChunks | StreamChunks, channels: int) -> None:
        self.chunks = chunks
        self.inputs = Fifo(channels)

    def push(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.inputs.append(wave)
        clean = self.chunks.push(wave)
        return self.inputs.take(clean.shape[1]), clean

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        return self.inputs.take(len(self.inputs)), self.chunks.finish()


def chain(
    model: nn.Module,
    sample_rate: int,
    channels: int,
    device: torch.device,
    seconds: float = CHUNK_SECONDS,
    listen: float | None = None,
) -> SameRate | Bands:
    """``push`` and ``finish`` for blocks ``(channels, time)`` at ``sample_rate``, whatever the model's rate.

    The model gets chunks of ``seconds``, all channels together, and hears the first ``listen`` seconds once before.
    """
    chunks = chunked(model, channels, device, seconds, listen)
    rate: int = model.sample_rate  # pyright: ignore[reportAssignmentType]
    return SameRate(chunks, channels) if rate == sample_rate else Bands(chunks, rate, sample_rate, channels)


def denoised(
    blocks: Iterable[np.ndarray],
    model: nn.Module,
    sample_rate: int,
    channels: int,
    device: torch.device,
    strength: float,
    linked: bool = False,
    listen: float | None = None,
    name: str = "the wave",
    gain: np.ndarray | float = 1.0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks ``(channels, time)`` at ``sample_rate`` to pairs of input and output blocks, sample-aligned.

    Together the pairs have exactly the frames of the input. ``output = (1 - strength) * input + strength *
    clean``. The model's rate may differ. Channels that the model hears one at a time share one mask where they are
    ``linked``: :mod:`enhance.inference.linked`. A model with memory hears the first ``listen`` seconds before it
    begins, by default as many as it was trained to. It hears all ``gain`` times as loud, ``(channels, 1)``, of
    :mod:`enhance.inference.level`. EnhanceError, beginning with ``name``, if the model gives NaN.
    """
    gain = np.asarray(gain, dtype=np.float32)
    stages = chain(model, sample_rate, channels, device, listen=listen)

    def cleaned() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for block in blocks:
            yield stages.push(gain * block)
        yield stages.finish()

    pairs = cleaned()
    if linked and channels > 1 and model.channels == 1:
        pairs = through(linked_masks(1, channels, sample_rate), pairs)
    for wave, clean in pairs:
        yield mixed(wave / gain, clean / gain, strength, name)


def mixed(
    wave: np.ndarray, clean: np.ndarray, strength: float, name: str = "the wave"
) -> tuple[np.ndarray, np.ndarray]:
    """The input, and the output that ``strength`` makes of both; EnhanceError if the model gave NaN."""
    check_finite(clean, name)
    return wave, np.float32(1 - strength) * wave + np.float32(strength) * clean


def check_finite(estimates: np.ndarray, name: str) -> None:
    """EnhanceError, beginning with ``name``, unless all of what the model gave are numbers."""
    if not np.isfinite(estimates).all():
        what = f"{name}: the model's output is not finite"
        raise EnhanceError(what, "try --device cpu, or lower the samples if they are far above full scale")


def check_rate(sample_rate: object, name: str = "the wave") -> None:
    """EnhanceError, beginning with ``name``, unless it is a whole number of Hz that can be resampled."""
    lowest, highest = RATES
    if not isinstance(sample_rate, int | np.integer) or not lowest <= sample_rate <= highest:
        what = f"{name}: a sample rate of {sample_rate}"
        raise EnhanceError(what, f"give one in Hz, a whole number from {lowest} to {highest}")


def check_strength(strength: float) -> None:
    """EnhanceError outside 0 to 1."""
    if not 0 <= strength <= 1:
        raise EnhanceError(f"strength {strength:g}", "give a number from 0 (none) to 1 (all of the effect)")


def denoise(
    wave: Wave,
    sample_rate: int,
    model: str | Path | nn.Module | None = None,
    strength: float = 1.0,
    device: str = "auto",
    linked: bool = False,
    listen: float | None = None,
    precision: str = "32-true",
) -> Wave:
    """Remove noise from speech.

    ``wave`` is a numpy array or a torch tensor of floats, full scale ±1, ``(time,)`` or ``(..., channels,
    time)``; ``sample_rate`` in Hz is any. The result has the same type, shape, dtype and device. ``model`` is
    the name of a shipped model, the path of a checkpoint, or a model from :func:`enhance.load_model` (which
    is then used on ``device`` and in evaluation mode, and given back as it was); ``None`` is the default
    model. ``strength`` from 0 to 1 mixes input and result. Channels are cleaned one by one unless they are ``linked``:
    then they share one mask, and a stereo picture stays as it is. A model with memory hears the first ``listen``
    seconds once before it begins (:mod:`enhance.models.listening`); ``None`` is what it was trained for, 0 begins at
    once. The network computes in float32, with the ``precision`` ``bf16-mixed`` in bfloat16: faster on processors that
    have it, and less exact.

    A single channel goes through a model of several as all of them. Raises EnhanceError for integers, NaN, ``(time,
    channels)``, a rate that is no whole number from 1000 to 768000, an unknown model or device, channels that the model
    does not take, a strength outside 0 to 1, ``listen`` outside 0 to 600, or a precision that the device does not have.
    """
    check_rate(sample_rate)
    check_strength(strength)
    check_listen(listen)
    where = find_device(device)
    check_precision(precision, where)
    array = samples_of(wave)
    if array.size == 0:
        return wave
    network = with_precision(model if isinstance(model, nn.Module) else load_model(model or DEFAULT), precision)
    return like(wave, _whole(array, sample_rate, network, strength, where, linked, listen))


def samples_of(wave: np.ndarray | Tensor) -> np.ndarray:
    """A wave that somebody gave as float32: ``(time,)`` or ``(..., channels, time)``, full scale ±1.

    EnhanceError for integers, NaN, a single number, and for what can only be ``(time, channels)``.
    """
    if not (wave.is_floating_point() if isinstance(wave, Tensor) else np.issubdtype(wave.dtype, np.floating)):
        raise EnhanceError(f"samples of type {wave.dtype}", "convert them to floats, full scale ±1")
    shape = tuple(wave.shape)
    if not shape:
        raise EnhanceError("the wave is a single number", "give (time,) or (channels, time)")
    if len(shape) > 1 and shape[-1] and shape[-2] > max(shape[-1], MOST_CHANNELS):
        what = f"the wave has {shape[-2]} channels of {shape[-1]} sample{'s' if shape[-1] > 1 else ''}"
        raise EnhanceError(what, "give (channels, time): the transpose of what soundfile.read gives")
    array = wave.detach().float().cpu().numpy() if isinstance(wave, Tensor) else wave.astype(np.float32)
    if not np.isfinite(array).all():
        raise EnhanceError("the wave holds NaN or infinity", "repair it first")
    return array


def like(wave: Wave, array: np.ndarray) -> Wave:
    """``array`` with the type, dtype and device of ``wave``."""
    if isinstance(wave, Tensor):
        return torch.from_numpy(array).to(wave)
    return array.astype(wave.dtype)


def _whole(
    array: np.ndarray,
    sample_rate: int,
    model: nn.Module,
    strength: float,
    device: torch.device,
    linked: bool,
    listen: float | None,
) -> np.ndarray:
    """``(..., time)`` to the same. Independent channels are one batch, joint ones go signal by signal."""
    joint = (linked or model.channels != 1) and array.ndim > 1
    signals = array.reshape(-1, array.shape[-2] if joint else math.prod(array.shape[:-1]), array.shape[-1])
    check_denoiser(model, signals.shape[1] if model.channels != 1 else 1, "the wave")
    rows = []
    with in_use(model, device):
        for signal in signals:
            blocks = two_seconds(signal, sample_rate)
            gain = gains(peaks_of(signal), together=bool(joint))
            ways = strength, linked, listen, "the wave", gain
            pairs = denoised(blocks, model, sample_rate, len(signal), device, *ways)
            rows.append(np.concatenate([output for _, output in pairs], axis=1))
    return np.stack(rows).reshape(array.shape)


@contextmanager
def in_use(model: nn.Module, device: torch.device) -> Iterator[None]:
    """The model on ``device`` and in evaluation mode, given back as it was."""
    modes = {module: module.training for module in model.modules()}
    home = next((weight.device for weight in model.parameters()), device)
    model.eval().to(device)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        model.to(home)


def two_seconds(wave: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
    """A whole signal ``(channels, time)`` in blocks of two seconds."""
    for start in range(0, wave.shape[-1], 2 * sample_rate):
        yield wave[:, start : start + 2 * sample_rate]
