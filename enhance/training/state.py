"""The state of a run: what a continuation needs to go on as if it had not stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enhance.errors import EnhanceError
from enhance.files import replacing


class Average:
    """Exponential moving average of a model's state: ``a = d * a + (1 - d) * w`` after each step.

    In the first steps the decay is smaller, ``(1 + step) / (10 + step)``, so that the random start is
    forgotten. Counters (integers) are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step ``step``, counted from zero."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1 - decay)
            else:
                self.weights[name].copy_(tensor)


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers and containers of them, atomically. EnhanceError if the folder or the disk refuses."""
    with replacing(path) as temporary:
        try:
            torch.save(dict(state), temporary)
        except RuntimeError as error:  # of its writer, where the disk is full
            raise OSError("PyTorch could not write all of it") from error


def load(path: Path) -> dict[str, Any]:
    """What :func:`save` wrote; nothing in the file is executed."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise EnhanceError(
            f"{path}: damaged ({error})", "start again from the checkpoint beside it, with --set init=…"
        ) from None


def to_device(state: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The tensors of ``state`` on ``device``."""
    return {name: tensor.to(device) for name, tensor in state.items()}
