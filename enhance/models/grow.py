"""Growing a compact model: a larger one that computes, before its first update, what the smaller one did."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from enhance.models.compact import CompactUNet
from enhance.nn.recurrent import TimeFrequencyBlock


def grow(large: CompactUNet, small: CompactUNet) -> None:
    """Put the function of ``small`` into ``large``, which has more of hidden, blocks, lookahead or sources.

    New LSTM units keep their random input weights, but nothing hears them yet: the weights from them are zero,
    as are the last layers of new blocks, which are residual (after Chen et al. 2016, "Net2Net", arXiv
    1511.05641). Gradients reach those zeros first, then what is behind them. With more lookahead the function begins
    as many frames of silence earlier. With a larger ``time_stride``, and a ``hop`` that is as much smaller, its blocks
    hear what they did, and the function is nearly kept: there are frames in between. Sources are known by their names:
    new ones begin as in a new model, as do further inputs, and ``consistent`` may differ. Raises ValueError where the
    two differ in anything else.
    """
    for name in ("n_fft", "block", "sample_rate", "channels"):
        if getattr(large, name) != getattr(small, name):
            raise ValueError(f"{name} differs")
    for name in ("compression", "bound", "mask", "floor"):
        if getattr(large.net, name) != getattr(small.net, name):
            raise ValueError(f"{name} differs")
    if large.net.time_stride < small.net.time_stride:
        raise ValueError("time_stride is smaller")
    if large.net.inputs != small.net.inputs and (large.channels > 1 or small.net.inputs > 1):
        raise ValueError("inputs differ")
    if not set(small.sources) <= set(large.sources):
        raise ValueError("a source of the smaller model is missing")
    weights = small.state_dict()
    grown = {}
    for name, tensor in large.state_dict().items():
        if name.startswith("net.head."):
            grown[name] = tensor.clone()
            rows = grown[name].unflatten(0, (len(large.sources), -1))  # views: what is written there is in `grown`
            for number, source in enumerate(small.sources):
                old = weights[name].unflatten(0, (len(small.sources), -1))[number]
                into = rows[large.sources.index(source), : len(old)]
                into[..., : old.shape[-1]] = old
        elif name in weights:
            grown[name] = _widened(name, tensor, weights[name])
        elif name == "net.ahead.weight":
            grown[name] = torch.zeros_like(tensor)
        elif re.fullmatch(r"net\.blocks\.\d+\..*", name):
            grown[name] = tensor
        else:
            raise ValueError(f"{name} has no counterpart in the smaller model")
    if len(weights.keys() - grown.keys()):
        raise ValueError("the smaller model has more parts than the larger one")
    large.load_state_dict(grown)
    for block in list(large.net.blocks)[len(small.net.blocks) :]:
        assert isinstance(block, TimeFrequencyBlock)
        for last in (block.time_out, block.band_mlp[-1]):
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


def _widened(name: str, large: Tensor, small: Tensor) -> Tensor:
    """``small`` in the place of the first hidden units of ``large``, with zeros from the new to the old ones."""
    if large.shape == small.shape:
        return small
    grown = large.clone()
    if ".lstm." in name:
        if "project" in name:
            raise ValueError("hidden differs, and the recurrence is not an LSTM")
        old, new = small.shape[0] // 4, large.shape[0] // 4
        for gate in range(4):
            rows = grown[gate * new : gate * new + old]
            if "weight_hh" in name:
                rows.zero_()
                rows[:, :old] = small[gate * old : gate * old + old]
            else:
                rows.copy_(small[gate * old : gate * old + old])
        return grown
    if name.endswith(("time_out.weight", "ahead.weight", "encoders.0.conv.weight")) and small.shape[1] < large.shape[1]:
        return torch.cat((small, torch.zeros_like(large[:, small.shape[1] :])), dim=1)
    raise ValueError(f"{name} is {tuple(small.shape)} in the smaller model, {tuple(large.shape)} in the larger one")
