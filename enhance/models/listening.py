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


def to_listen(model: Any, mixture: Tensor) -> Tensor:
    """What a model that streams hears of ``(B, C, T)`` before it begins, in whole blocks and silent behind its end."""
    first = mixture[..., : round(model.listen * model.sample_rate)]
    return F.pad(first, (0, -first.shape[-1] % model.block))


def heard(model: Any, mixture: Tensor) -> Any | None:
    """The state in which a model that streams begins with ``(B, C, T)``; ``None`` where its memory is empty.

    In training that is so for half of the calls. No gradient goes into what is remembered.
    """
    if not model.listen or (model.training and torch.rand(()) < COLD):
        return None
    with torch.no_grad():
        _, state = model.stream(to_listen(model, mixture), None)
    return model.restarted(state)
