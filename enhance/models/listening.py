"""Hearing the beginning of a recording before it starts: a recurrent model's memory is then no longer empty.

A model with memory knows nothing of a noise, a voice or an instrument in the first seconds. Where the recording is
a file it can hear those once, forget where it was in the signal, keep what it remembers, and begin.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from enhance.errors import EnhanceError

COLD = 0.5  # share of the training steps that begin with an empty memory, as a model does that is used live


def checked(seconds: float) -> float:
    """EnhanceError unless ``seconds`` to listen to is a number of 0 or more."""
    if not 0 <= seconds < float("inf"):
        raise EnhanceError(f"listen = {seconds}", "give the seconds of the beginning that are heard first, 0 for none")
    return seconds


def heard(model: Any, mixture: Tensor) -> Any | None:
    """The state in which a model that streams begins with ``(B, C, T)``; ``None`` where its memory is empty.

    In training that is so for half of the calls. No gradient goes into what is remembered.
    """
    if not model.listen or (model.training and torch.rand(()) < COLD):
        return None
    with torch.no_grad():
        return remembered(model, mixture[..., : round(model.listen * model.sample_rate)])


def remembered(model: Any, first: Tensor, step: int | None = None) -> Any | None:
    """The state at the beginning of a signal of a model that streams and has heard ``first``, ``(B, C, T)``, before.

    It hears it in whole blocks, the last one filled up with silence: ``step`` samples at once, or all of them.
    """
    if not first.shape[-1]:
        return None
    padded = F.pad(first, (0, -first.shape[-1] % model.block))
    state = None
    for part in padded.split(step or padded.shape[-1], dim=-1):
        state = model.hear(part, state)
    return model.restarted(state)
