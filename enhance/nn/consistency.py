"""Mixture consistency: estimates that sum to what they were taken from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from enhance.errors import EnhanceError


def check_consistent(consistent: bool, sources: Sequence[str]) -> None:
    """EnhanceError where the only source would have to be the mixture."""
    if consistent and len(sources) < 2:
        raise EnhanceError("consistent = true with one source", "its estimate would be the mixture: name more sources")


def mixture_consistent(estimates: Tensor, mixture: Tensor) -> Tensor:
    """The nearest estimates that sum to the mixture: what they lack is shared out equally.

    ``estimates`` are ``(B, S, ...)``, ``mixture`` is ``(B, ...)``. The projection of Wisdom et al. 2019
    ("Differentiable consistency constraints for improved deep speech enhancement", arXiv 1811.08521), equal weights.
    """
    missing = mixture - estimates.sum(1)
    return estimates + missing.unsqueeze(1) / estimates.shape[1]
