"""One signal through a separator, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from enhance.errors import EnhanceError
from enhance.inference.bands import Bands
from enhance.inference.chunks import chunked
from enhance.inference.denoise import SameRate

RESIDUAL = "residual"  # what is left of the input without the other parts


def separated(
    blocks: Iterable[np.ndarray],
    model: nn.Module,
    sample_rate: int,
    channels: int,
    device: torch.device,
    parts: Sequence[str],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks ``(channels, time)`` at ``sample_rate`` to pairs of input and parts, sample-aligned.

    ``parts`` are sources of the model and, if wanted, ``residual``: the input less all others of them. They come as
    ``(parts * channels, time)``, in that order, and have together exactly the frames of the input. The model's rate
    may differ. EnhanceError if the model gives NaN.
    """
    rate: int = model.sample_rate  # pyright: ignore[reportAssignmentType]
    if rate == sample_rate:
        stages = SameRate(model, channels, device)
    else:
        stages = Bands(chunked(model, channels, device), rate, sample_rate, channels)
    sources: tuple[str, ...] = model.sources  # pyright: ignore[reportAssignmentType]
    for block in blocks:
        yield _chosen(*stages.push(block), sources, parts)
    yield _chosen(*stages.finish(), sources, parts)


def _chosen(
    wave: np.ndarray, estimates: np.ndarray, sources: Sequence[str], parts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    if not np.isfinite(estimates).all():
        raise EnhanceError("the model's output is not finite", "try --device cpu, or train the model again")
    found = dict(zip(sources, np.split(estimates, len(sources)), strict=True))
    if RESIDUAL in parts:
        found[RESIDUAL] = wave - np.sum([found[name] for name in parts if name != RESIDUAL], axis=0)
    return wave, np.concatenate([found[name] for name in parts])


def choose_parts(model: nn.Module, wanted: Sequence[str], residual: bool) -> list[str]:
    """Names of the parts to write: the wanted sources, or all of the model's, and ``residual``.

    EnhanceError for a source that the model does not give.
    """
    sources: tuple[str, ...] = model.sources  # pyright: ignore[reportAssignmentType]
    for name in wanted:
        if name not in sources:
            raise EnhanceError(f"--sources {name}: the model has no such source", f"it gives {', '.join(sources)}")
    return [*(dict.fromkeys(wanted) or sources), *([RESIDUAL] if residual else [])]
