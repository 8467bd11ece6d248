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
        return remembered(model, mixture, model.listen)


def needed(model: Any, seconds: float) -> int:
    """Samples of the beginning that are to be there for a model to hear so many seconds of it."""
    return round(seconds * model.sample_rate) + getattr(model, "behind", 0) if seconds else 0


def remembered(model: Any, beginning: Tensor, seconds: float, step: int | None = None) -> Any | None:
    """The state at the start of a signal of a model that streams and has heard so many seconds of it before.

    Of ``beginning``, ``(B, C, T)``, it takes what is :func:`needed`, or all there is and silence after it, in whole
    blocks: ``step`` samples at once, or all of them.
    """
    length = min(beginning.shape[-1], round(seconds * model.sample_rate))
    if not length:
        return None
    taken = beginning[..., : needed(model, seconds)]
    blocks = length + -length % model.block + getattr(model, "behind", 0)
    padded = F.pad(taken, (0, blocks - taken.shape[-1]))
    state = None
    for part in padded.split(step or padded.shape[-1], dim=-1):
        state = model.hear(part, state)
    return model.restarted(state)
