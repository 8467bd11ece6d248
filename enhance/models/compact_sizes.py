"""What sizes a :class:`~enhance.models.compact.CompactUNet` can have."""

from __future__ import annotations

from enhance.errors import EnhanceError


def check_sizes(convolutions: int, hidden: int, n_fft: int, hop: int, time_stride: int, floor: float) -> None:
    """EnhanceError, saying what to give, for the first of them that no such network can have."""
    if not 0 <= floor < 1:
        raise EnhanceError(f"CompactUNet: floor = {floor}", "give a share of the mixture: 0 or more, and below 1")
    if not _whole(hidden):
        raise EnhanceError(f"CompactUNet: hidden = {hidden!r}", "give a whole number above zero")
    halved = 2 ** (convolutions + 1)
    if not _whole(n_fft) or n_fft % halved:
        hint = f"give a multiple of {halved}: {convolutions} convolutions halve n_fft / 2 bins"
        raise EnhanceError(f"CompactUNet: n_fft = {n_fft!r}", hint)
    if not _whole(hop) or n_fft % hop or hop > n_fft // 2:
        raise EnhanceError(f"CompactUNet: hop = {hop!r}", f"give a half of n_fft = {n_fft}, or a smaller part")
    if not _whole(time_stride):
        raise EnhanceError(f"CompactUNet: time_stride = {time_stride!r}", "give 1, or 2 for every other frame")


def _whole(value: object) -> bool:
    """Whether it is a whole number above zero: a recipe may give anything."""
    return isinstance(value, int) and value > 0
