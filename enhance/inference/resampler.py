"""A streaming resampler with a short reach: what a model at another rate than the signal's looks through.

A windowed-sinc filter as long as its transition needs and no longer. (soxr computes in blocks of a Fourier transform
and keeps more back.) `benchmarks/runtimes.py` prints the delay that `enhance live` has with it.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from enhance.inference.chunks import Fifo

ATTENUATION = 100.0  # dB, of what is beyond the lower of the two Nyquist frequencies
PASSBAND = 0.9125  # of that frequency; the transition lies between
PERIOD = 64  # outputs of a row of the matrix product, at least
ROWS = 8  # of a product: always as many, since another number may be rounded in another way
LARGEST_MATRIX = 1 << 22  # weights; beyond, rates have no common period worth a matrix
SLICE = 4096  # outputs at a time where there is no matrix


class Filter(NamedTuple):
    """The weights of a conversion: a period of ``inputs`` samples becomes one of ``outputs``."""

    reach: int  # input samples that an output looks ahead, and back
    inputs: int
    outputs: int
    taps: np.ndarray  # (phases, 2 * reach)
    length: int  # input samples that a row of outputs depends on
    matrices: list[tuple[int, np.ndarray]]  # first of these samples, and weights (samples, outputs): side by side a row


@functools.lru_cache(maxsize=16)
def design(from_rate: int, to_rate: int) -> Filter:
    """A Kaiser-windowed sinc for that conversion (Oppenheim and Schafer, section 7.5), float32.

    Output ``n`` is centred on input ``n * inputs / outputs``.
    """
    common = math.gcd(from_rate, to_rate)
    up, down = to_rate // common, from_rate // common
    nyquist = min(1.0, to_rate / from_rate)  # the lower one, in units of the input's
    transition = (1 - PASSBAND) * nyquist * math.pi  # rad per input sample
    reach = math.ceil((ATTENUATION - 8) / (2.285 * transition) / 2)
    first = np.arange(up)[:, None] * down % up / up + reach - 1  # from the first tap's sample to the centre
    distance = first - np.arange(2 * reach)  # (phases, taps)
    cutoff = nyquist * (1 + PASSBAND) / 2
    window = np.i0(0.1102 * (ATTENUATION - 8.7) * np.sqrt((1 - (distance / reach) ** 2).clip(min=0)))
    taps = np.sinc(cutoff * distance) * window
    taps /= taps.sum(axis=1, keepdims=True)
    repeat = -(-PERIOD // up)
    inputs, outputs = repeat * down, repeat * up
    starts = np.arange(outputs) * down // up
    length = int(starts[-1]) + 2 * reach
    matrices = []
    if outputs * length <= LARGEST_MATRIX:
        matrix = np.zeros((length, outputs), dtype=np.float32)
        matrix[starts[:, None] + np.arange(2 * reach), np.arange(outputs)[:, None]] = taps[np.arange(outputs) % up]
        parts = 2 if inputs > reach else 1  # of a long period, each half has zeros where the other has weights
        for columns in np.array_split(np.arange(outputs), parts):
            begin, end = starts[columns[0]], starts[columns[-1]] + 2 * reach
            matrices.append((int(begin), np.ascontiguousarray(matrix[begin:end, columns])))
    return Filter(reach, inputs, outputs, taps.astype(np.float32), length, matrices)


class Resampler:
    """``(channels, time)`` block by block to another rate, without delay: ceil(n * to_rate / from_rate) in all."""

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        self.filter = design(from_rate, to_rate)
        self.from_rate, self.to_rate = from_rate, to_rate
        self.taken = self.given = 0
        self.waiting = Fifo(channels)
        self.waiting.append(np.zeros((channels, self.filter.reach - 1), dtype=np.float32))
        self.first = 1 - self.filter.reach  # position in the input of the first sample that waits

    def ready(self, taken: int) -> int:
        """Samples of the output that can be given when so many of the input are there."""
        return max(0, -(-(taken - self.filter.reach) * self.to_rate // self.from_rate))

    def push(self, wave: np.ndarray) -> np.ndarray:
        """The next ``(channels, time)`` to as much as can be said of the output."""
        self.waiting.append(wave)
        self.taken += wave.shape[1]
        return self._until(self.ready(self.taken))

    def finish(self) -> np.ndarray:
        """The rest of the output."""
        reach = self.filter.reach
        self.waiting.append(np.zeros((len(self.waiting.waiting), reach), dtype=np.float32))
        return self._until(self.ready(self.taken + reach))

    def _until(self, count: int) -> np.ndarray:
        """The outputs up to ``count`` in all; what no later one needs is dropped."""
        if count <= self.given:
            return self.waiting.waiting[:, :0]
        output = self._by_rows(count) if self.filter.matrices else self._by_phases(count)
        self.given = count
        needed = count // self.filter.outputs * self.filter.inputs + 1 - self.filter.reach
        self.waiting.take(needed - self.first)
        self.first = needed
        return output

    def _by_rows(self, count: int) -> np.ndarray:
        """Whole periods, each times the matrices: what is missing of the last is zero, and not given."""
        inputs, outputs, length = self.filter.inputs, self.filter.outputs, self.filter.length
        begin, end = self.given // outputs, -(-count // outputs)  # periods; what waits begins with the first
        needed = (end - begin - 1) * inputs + length
        wave = self.waiting.waiting[:, :needed]
        if wave.shape[1] < needed:
            wave = np.pad(wave, ((0, 0), (0, needed - wave.shape[1])))
        rows = np.lib.stride_tricks.sliding_window_view(wave, length, axis=1)[:, ::inputs].reshape(-1, length)
        batches = np.pad(rows, ((0, -len(rows) % ROWS), (0, 0))).reshape(-1, ROWS, length)
        parts = [batches[..., first : first + len(matrix)] @ matrix for first, matrix in self.filter.matrices]
        output = np.concatenate(parts, axis=2).reshape(-1, outputs)[: len(rows)].reshape(len(wave), -1)
        return output[:, self.given - begin * outputs : count - begin * outputs]

    def _by_phases(self, count: int) -> np.ndarray:
        """Each output with the taps of its own phase."""
        taps = self.filter.taps
        windows = np.lib.stride_tricks.sliding_window_view(self.waiting.waiting, taps.shape[1], axis=1)
        parts = []
        for begin in range(self.given, count, SLICE):
            number = np.arange(begin, min(begin + SLICE, count))
            starts = number * self.from_rate // self.to_rate + 1 - self.filter.reach - self.first
            parts.append(np.einsum("cnk,nk->cn", windows[:, starts], taps[number % len(taps)]))
        return np.concatenate(parts, axis=1)
