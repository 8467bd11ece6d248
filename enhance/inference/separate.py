"""One signal through a separator, block by block, and the Python API on top of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from enhance.errors import EnhanceError
from enhance.inference.blend import NAMELESS, Blend, Blended, sources_of
from enhance.inference.chunks import check_channels
from enhance.inference.denoise import Wave, chain, check_finite, check_rate, in_use, like, samples_of, two_seconds
from enhance.inference.device import find_device
from enhance.inference.level import gains, peaks_of
from enhance.inference.linked import linked_masks
from enhance.inference.precision import check_precision, with_precision
from enhance.inference.spectral import through
from enhance.inference.tasks import check_listen
from enhance.inference.wiener import wiener_filter
from enhance.models.checkpoint import load_model

DEFAULT = "separator-m"
RESIDUAL = "residual"  # what is left of the input without the other parts


def separated(
    blocks: Iterable[np.ndarray],
    model: nn.Module,
    sample_rate: int,
    channels: int,
    device: torch.device,
    parts: Sequence[str],
    wiener: bool = False,
    independent: bool = False,
    listen: float | None = None,
    name: str = "the wave",
    gain: np.ndarray | float = 1.0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks ``(channels, time)`` at ``sample_rate`` to pairs of input and parts, sample-aligned.

    ``parts`` are sources of the model and, if wanted, ``residual``: the input less all others of them. They come as
    ``(parts * channels, time)``, in that order, and have together exactly the frames of the input. The model's rate
    may differ. Channels that the model hears one at a time share one mask a source, :mod:`enhance.inference.linked`,
    unless they are ``independent``. With ``wiener`` the estimates are filtered once more:
    :mod:`enhance.inference.wiener`. ``listen`` and ``gain`` are as in :func:`~enhance.inference.denoise.denoised`.
    EnhanceError, beginning with ``name``, if the model gives NaN.
    """
    gain = np.broadcast_to(np.asarray(gain, dtype=np.float32), (channels, 1))
    if isinstance(model, Blend):
        stages = Blended(model, sample_rate, channels, device, listen)
    else:
        stages = chain(model, sample_rate, channels, device, listen=listen)
    sources = sources_of(model)

    def estimated() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for block in blocks:
            yield stages.push(gain * block)
        yield stages.finish()

    pairs = estimated()
    if channels > 1 and not independent and model.channels == 1:
        if any(NAMELESS.fullmatch(source) for source in sources):
            what = f"{name}: has {channels} channels, and in each the talkers would have an order of their own"
            raise EnhanceError(what, "mix it to mono, or add --independent if the channels are no picture of one scene")
        pairs = through(linked_masks(len(sources), channels, sample_rate), pairs)
    if wiener:
        pairs = through(wiener_filter(len(sources), channels, sample_rate), pairs)
    for wave, estimates in pairs:
        check_finite(estimates, name)
        yield _chosen(wave / gain, estimates / np.tile(gain, (len(sources), 1)), sources, parts)


def _chosen(
    wave: np.ndarray, estimates: np.ndarray, sources: Sequence[str], parts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    found = dict(zip(sources, np.split(estimates, len(sources)), strict=True))
    if RESIDUAL in parts:
        found[RESIDUAL] = wave - np.sum([found[name] for name in parts if name != RESIDUAL], axis=0)
    return wave, np.concatenate([found[name] for name in parts])


def separate(
    wave: Wave,
    sample_rate: int,
    model: str | Path | nn.Module | None = None,
    device: str = "auto",
    wiener: bool = False,
    independent: bool = False,
    listen: float | None = None,
    precision: str = "32-true",
) -> dict[str, Wave]:
    """The sources of a recording, by name.

    ``wave`` is a numpy array or a torch tensor of floats, full scale ±1, ``(time,)`` or ``(channels, time)``;
    ``sample_rate`` in Hz is any. Each source has its type, shape, dtype and device. ``model`` is a name, a checkpoint
    or a model, as in :func:`enhance.denoise`; ``None`` is the default separator. ``wiener`` adds an iteration of
    multichannel Wiener filtering over all channels, after which the sources sum to the recording. Channels that the
    model hears one at a time share one mask a source (:mod:`enhance.inference.linked`), unless ``independent``.
    ``listen`` and ``precision`` are as in :func:`enhance.denoise`.

    A single channel goes through a model of several as all of them. Raises EnhanceError for integers, NaN, ``(time,
    channels)``, more than two dimensions, a rate that is no whole number from 1000 to 768000, an unknown model or
    device, channels that the model does not take, ``wiener`` with a model of one source, ``listen`` outside 0 to 600,
    or a precision that the device does not have.
    """
    check_rate(sample_rate)
    check_listen(listen)
    where = find_device(device)
    check_precision(precision, where)
    array = samples_of(wave)
    if array.ndim > 2:
        raise EnhanceError(f"a wave of shape {array.shape}", "give one recording: (time,) or (channels, time)")
    network = with_precision(model if isinstance(model, nn.Module) else load_model(model or DEFAULT), precision)
    sources = sources_of(network)
    if wiener:
        check_wiener(network, independent)
    if array.size == 0:
        return {name: like(wave, array) for name in sources}
    signal = np.atleast_2d(array)
    check_channels(network, len(signal), "the wave")
    with in_use(network, where):
        blocks = two_seconds(signal, sample_rate)
        gain = gains(peaks_of(signal), heard_together(network, wiener, independent))
        ways = wiener, independent, listen, "the wave", gain
        pairs = separated(blocks, network, sample_rate, len(signal), where, sources, *ways)
        estimates = np.concatenate([parts for _, parts in pairs], axis=1)
    parts = np.split(estimates, len(sources))
    return {name: like(wave, part.reshape(array.shape)) for name, part in zip(sources, parts, strict=True)}


def heard_together(model: nn.Module, wiener: bool, independent: bool) -> bool:
    """Do the channels of a recording depend on one another?"""
    return bool(model.channels != 1) or wiener or not independent


def check_wiener(model: nn.Module, independent: bool) -> None:
    """EnhanceError unless there are sources among which a mixture can be shared out, by all channels together."""
    sources = sources_of(model)
    if independent:
        raise EnhanceError("--wiener and --independent", "choose one: the filter takes the channels as one scene")
    if len(sources) < 2:
        raise EnhanceError(f"--wiener: the model gives {', '.join(sources)} alone", "take one that gives more sources")


def choose_parts(model: nn.Module, wanted: Sequence[str], residual: bool) -> list[str]:
    """Names of the parts to write: the wanted sources, or all of the model's, and ``residual``.

    EnhanceError for a source that the model does not give.
    """
    sources = sources_of(model)
    for name in wanted:
        if name not in sources:
            raise EnhanceError(f"--sources {name}: the model has no such source", f"it gives {', '.join(sources)}")
    return [*(dict.fromkeys(wanted) or sources), *([RESIDUAL] if residual else [])]
