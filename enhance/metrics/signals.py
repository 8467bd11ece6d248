"""What every metric asks of its signals, and the frames of the measures after Hu and Loizou."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from enhance.errors import EnhanceError

BLOCK = 512  # frames worked on at once: memory stays flat in the length of a clip
KEPT = 0.95  # of the frames, the best ones, are averaged in LLR and WSS


def check(what: str, *signals: np.ndarray) -> list[np.ndarray]:
    """The signals as float64, all ``(time,)``, full scale ±1.

    Raises EnhanceError, which begins with ``what``, where they are not one-dimensional, not of the same length,
    empty, not floats (whole numbers have another full scale), or hold a value that is not finite.
    """
    for signal in signals:
        if signal.ndim != 1:
            raise EnhanceError(f"{what} of an array of shape {signal.shape}", "score one channel at a time")
        if len(signal) != len(signals[0]):
            raise EnhanceError(f"{what} of signals of {len(signals[0])} and {len(signal)} samples", "align them first")
        if not len(signal):
            raise EnhanceError(f"{what} of an empty signal", "leave the clip out")
        if not np.issubdtype(signal.dtype, np.floating):
            raise EnhanceError(f"{what} of samples of type {signal.dtype}", "use floats, full scale from -1 to 1")
        if not np.isfinite(signal).all():
            raise EnhanceError(f"{what} of a signal with NaN or infinity", "look for what made it")
    return [signal.astype(np.float64) for signal in signals]


def check_sound(what: str, **signals: np.ndarray) -> None:
    """EnhanceError where one of the signals, given by its name, is silent throughout."""
    for name, signal in signals.items():
        if not signal.any():
            raise EnhanceError(f"{what} is not defined", f"silent {name}, leave the clip out")


def check_rate(what: str, sample_rate: int, allowed: tuple[int, ...]) -> None:
    """EnhanceError where the metric is not made for that rate (Hz)."""
    if sample_rate not in allowed:
        raise EnhanceError(f"{what} at {sample_rate} Hz", f"resample to {' or '.join(map(str, allowed))} Hz")


def frame_pairs(what: str, signals: list[np.ndarray], sample_rate: int) -> Iterator[list[np.ndarray]]:
    """Blocks of windowed frames ``(frames, samples)`` of each signal ``(time,)``, side by side.

    As in Hu and Loizou's ``composite.m``: 30 ms, a hop of a quarter of that, a Hann window without its zeros,
    and the last frame that would fit left away. Raises EnhanceError where that leaves none (under 37.5 ms).
    """
    length = round(0.03 * sample_rate)
    hop = length // 4
    count = (len(signals[0]) - length) // hop
    if count < 1:
        raise EnhanceError(f"{what} is not defined", "the clip is shorter than 37.5 ms")
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, length + 1) / (length + 1)))
    views = [np.lib.stride_tricks.sliding_window_view(signal, length)[::hop][:count] for signal in signals]
    for start in range(0, count, BLOCK):
        yield [view[start : start + BLOCK] * window for view in views]


def mean_of_best(distances: np.ndarray) -> float:
    """The mean of the lowest 95 % of ``(frames,)``: Hu and Loizou leave the worst frames out.

    Half a frame is rounded up, as by ``round`` in their MATLAB code. Python's ``round`` goes to the even number
    and keeps one frame fewer in one clip of forty: up to 0.01 lower LLR and 0.3 lower WSS of that clip.
    """
    kept = max(1, int(KEPT * len(distances) + 0.5))
    return float(np.sort(distances)[:kept].mean())
