"""Training losses: each maps ``(estimate, target, mixture)`` to a scalar, lower is better.

Waveforms are ``(batch, ..., time)``, float32; training gives estimates and targets as ``(batch, sources, channels,
time)`` and the mixture as ``(batch, 1, channels, time)``. A recipe names a loss and gives it a weight;
:func:`create` turns the name and its options into a callable.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from enhance.errors import EnhanceError
from enhance.losses.perceptual import pesq_like, stoi_like
from enhance.losses.sdr import neg_si_sdr, neg_snr
from enhance.losses.spectral import compressed_spectrum, multi_resolution_stft, spectrogram_mse, waveform_mse
from enhance.losses.subsets import source_subsets
from enhance.losses.wsdr import wsdr

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "wsdr": wsdr,
    "si_sdr": neg_si_sdr,
    "snr": neg_snr,
    "compressed_spectrum": compressed_spectrum,
    "multi_resolution_stft": multi_resolution_stft,
    "spectrogram_mse": spectrogram_mse,
    "waveform_mse": waveform_mse,
    "pesq_like": pesq_like,
    "stoi_like": stoi_like,
    "source_subsets": source_subsets,
}


def create(name: str, rate: int | None = None, **options: Any) -> Loss:
    """The loss of that name with its options bound; EnhanceError for an unknown name or option.

    ``rate`` (Hz) of the signals is for those losses that depend on it, 16 kHz unless given.
    """
    if name not in LOSSES:
        raise EnhanceError(f"unknown loss {name!r}", f"known are {', '.join(LOSSES)}")
    known = list(inspect.signature(LOSSES[name]).parameters)[3:]
    for option in options:
        if option not in known:
            hint = f"it takes {', '.join(known) or 'none'}"
            raise EnhanceError(f"loss {name!r} has no option {option!r}", hint)
    if rate is not None and "sample_rate" in known:
        options = {"sample_rate": rate, **options}
    return partial(LOSSES[name], **options)
