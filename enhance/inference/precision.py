"""A model in bfloat16: faster where the processor has it, and a little less exact."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from enhance.errors import EnhanceError
from enhance.nn.precision import PRECISIONS, has_bfloat16

COMPUTING = ("stream", "hear")  # besides `forward`: what a model may have that runs its network


def check_precision(precision: str, device: torch.device) -> None:
    """EnhanceError for an unknown precision, and for one that the device does not have."""
    if precision not in PRECISIONS:
        raise EnhanceError(f"--precision {precision}: unknown", f"take one of {', '.join(PRECISIONS)}")
    if precision == "bf16-mixed" and not has_bfloat16(device.type):
        what = f"--precision {precision}: the {device.type} device has no bfloat16 arithmetic"
        raise EnhanceError(what, "take 32-true, the default")


def with_precision(model: nn.Module, precision: str) -> nn.Module:
    """The model, or what computes as it does in another precision; of a blend, each of its models."""
    from enhance.inference.blend import Blend  # which imports what imports this

    if precision == "32-true":
        return model
    if isinstance(model, Blend):
        return Blend({name: MixedPrecision(part) for name, part in model.models.items()}, model.weights)
    return MixedPrecision(model)


class MixedPrecision(nn.Module):
    """A model under autocast to bfloat16, with all that it declares."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._computed(self.model, *inputs)

    def __getattr__(self, name: str) -> Any:
        model = super().__getattr__("model")
        if name == "model":
            return model
        found = getattr(model, name)
        return partial(self._computed, found) if name in COMPUTING else found

    def _computed(self, function: Callable[..., Any], wave: Tensor, *others: Any) -> Any:
        with torch.autocast(wave.device.type, torch.bfloat16):
            return function(wave, *others)
