"""Masks: from a network's output O to a complex mask M, both as (re, im) parts of any one shape."""

from __future__ import annotations

import torch
from torch import Tensor


def polar(re: Tensor, im: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Bounded in modulus, with the phase of O: M = bound · tanh(|O|) · O/|O|; 0 at O = 0."""
    modulus = (re.square() + im.square() + 1e-12).sqrt()  # the constant keeps the gradient finite at O = 0
    gain = bound * modulus.tanh() / modulus
    return gain * re, gain * im


def bdt(re: Tensor, im: Tensor) -> tuple[Tensor, Tensor]:
    """Bounded by tanh, the proposal of Choi et al. 2019: M = tanh(|O|) · O/|O|, inside the unit disc."""
    return polar(re, im, 1.0)


def bdss(re: Tensor, im: Tensor) -> tuple[Tensor, Tensor]:
    """Bounded by sigmoids: M = σ(Re O) + iσ(Im O), which turns the phase by 0 to 90 degrees only."""
    return re.sigmoid(), im.sigmoid()


def ubd(re: Tensor, im: Tensor) -> tuple[Tensor, Tensor]:
    """Unbounded: M = O."""
    return re, im


def magnitude(re: Tensor, im: Tensor) -> tuple[Tensor, Tensor]:
    """Real: M = σ(Re O), which keeps the phase."""
    return re.sigmoid(), torch.zeros_like(im)
