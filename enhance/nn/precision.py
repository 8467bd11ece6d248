"""Which arithmetic a processor has for a network."""

from __future__ import annotations

from typing import Literal, get_args

import torch

Precision = Literal["32-true", "bf16-mixed"]  # all in float32; products of bfloat16, sums and the rest in float32
PRECISIONS: tuple[str, ...] = get_args(Precision)


def has_bfloat16(device: str) -> bool:
    """Whether a kind of device computes in bfloat16; on a CPU without it, oneDNN has no LSTM for that."""
    if device == "cpu":
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return device != "cuda" or torch.cuda.is_bf16_supported()
