"""Shrinking a compact model: the blocks and hidden units that matter least are left out, the rest keeps its weights.

What is left is no longer quite the same function, but close where the larger model did not use all it had; training
goes on from there. Importance is magnitude (Li et al. 2017, "Pruning filters for efficient ConvNets", arXiv 1608.08710,
section 3.1): of a unit, the norm of the weights that hear it, of a block, that of the last layers of its two residual
branches.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from enhance.models.compact import CompactUNet
from enhance.nn.recurrent import TimeFrequencyBlock


def shrink(small: CompactUNet, large: CompactUNet) -> None:
    """Put the most important blocks and LSTM units of ``large`` into ``small``, which is the same but for their number.

    Raises ValueError where the two differ in anything else, or where ``small`` has more of either.
    """
    for name in ("n_fft", "block", "sample_rate", "sources"):
        if getattr(large, name) != getattr(small, name):
            raise ValueError(f"{name} differs")
    for name in ("compression", "bound", "mask", "lookahead", "time_stride"):
        if getattr(large.net, name) != getattr(small.net, name):
            raise ValueError(f"{name} differs")
    if len(small.net.blocks) > len(large.net.blocks) or small.net.hidden > large.net.hidden:
        raise ValueError("the smaller model has more blocks or units than the larger one")
    blocks = _largest(torch.stack([_importance(block) for block in large.net.blocks]), len(small.net.blocks))
    weights = large.state_dict()
    kept = {}
    for name, tensor in small.state_dict().items():
        place = re.fullmatch(r"net\.blocks\.(\d+)\.(.*)", name)
        if place:
            number, part = blocks[int(place[1])], place[2]
            block = large.net.blocks[number]
            assert isinstance(block, TimeFrequencyBlock)
            units = _largest(block.time_out.weight.norm(dim=0), small.net.hidden)
            found = _narrowed(part, weights[f"net.blocks.{number}.{part}"], units, large.net.hidden)
        else:
            found = weights[name]
        if found.shape != tensor.shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)} in the smaller model, {tuple(found.shape)} in the other")
        kept[name] = found
    small.load_state_dict(kept)


def _importance(block: nn.Module) -> Tensor:
    assert isinstance(block, TimeFrequencyBlock)
    last = block.band_mlp[-1]
    assert isinstance(last, nn.Linear)
    return torch.stack((block.time_out.weight.norm(), last.weight.norm())).norm()


def _largest(importance: Tensor, count: int) -> list[int]:
    """Places of the ``count`` largest, in their order."""
    return sorted(importance.topk(count).indices.tolist())


def _narrowed(part: str, tensor: Tensor, units: list[int], hidden: int) -> Tensor:
    """A block's weight with these of its ``hidden`` units only; the four gates of an LSTM lie one after the other."""
    if len(units) == hidden:
        return tensor
    if part == "time_out.weight":
        return tensor[:, units]
    if part.startswith("lstm."):
        if len(tensor) != 4 * hidden:
            raise ValueError("hidden differs, and the recurrence is not an LSTM")
        rows = tensor[[gate * hidden + unit for gate in range(4) for unit in units]]
        return rows[:, units] if "weight_hh" in part else rows
    return tensor
