"""Where a model runs."""

from __future__ import annotations

import torch

from enhance.errors import EnhanceError

DEVICES = ("auto", "cpu", "cuda", "mps")


def find_device(name: str) -> torch.device:
    """``auto`` is the first there is of CUDA, MPS and CPU; EnhanceError for a device that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, available in there.items() if available))
    if name not in there:
        raise EnhanceError(f"--device {name}: unknown", f"take one of {', '.join(DEVICES)}")
    if not there[name]:
        raise EnhanceError(f"--device {name}: there is none on this machine", "take cpu or auto")
    return torch.device(name)
