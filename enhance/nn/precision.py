"""Which arithmetic a processor has for a network."""

from __future__ import annotations

import platform
from typing import Literal, get_args

import torch

Precision = Literal["32-true", "bf16-mixed"]  # float32; or layers in bfloat16, and spectra, masks, estimates in float32
PRECISIONS: tuple[str, ...] = get_args(Precision)


def has_bfloat16(device: str) -> bool:
    """Whether a kind of device computes in bfloat16 by itself, and not by way of float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return True
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False  # oneDNN has no LSTM for it there
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
