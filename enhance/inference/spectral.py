"""Estimates made anew from the spectra of the mixture and themselves, as a rule says, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from enhance.inference.chunks import Fifo
from enhance.stft import frames_to_spectra, spectra_to_frames

Rule = Callable[[Tensor], Tensor]
Pairs = Iterable[tuple[np.ndarray, np.ndarray]]


class SpectralStage:
    """Blocks of a mixture and its estimates to the same with the estimates filtered, sample-aligned.

    ``rule`` makes of the spectra of mixture and estimates, complex ``(1 + sources, C, F, frames)``, those of the new
    estimates, ``(sources, C, F, frames)``. A frame has about ``frame_seconds``, the nearest power of two. A file is cut
    into chunks of ``chunk_seconds``, counted from its beginning; the last has half to one and a half of that, or is all
    that there is. What a rule takes from a whole chunk is then of that much, and memory does not grow with the length.
    """

    def __init__(
        self, rule: Rule, sources: int, channels: int, sample_rate: int, frame_seconds: float, chunk_seconds: float
    ) -> None:
        self.rule = rule
        self.sources, self.channels = sources, channels
        size = 1 << max(2, round(math.log2(frame_seconds * sample_rate)))
        self.hop = size // 4
        self.window = torch.hann_window(size) * math.sqrt(2 / 3)  # its square sums to one
        self.step = round(chunk_seconds * sample_rate / self.hop)  # frames of a chunk
        self.lead = size - self.hop  # samples before the first that the first frame holds
        self.inputs = Fifo(channels)
        self.waiting = Fifo((1 + sources) * channels)
        self.waiting.append(np.zeros(((1 + sources) * channels, self.lead), dtype=np.float32))
        self.tail = np.zeros((sources * channels, self.lead), dtype=np.float32)  # to be added to the next chunk
        self.skipped = self.lead  # samples to be thrown away before the first

    def push(self, wave: np.ndarray, estimates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next pair to what can be said."""
        self.inputs.append(wave)
        self.waiting.append(np.concatenate((wave, estimates)))
        done = [self.tail[:, :0]]
        while len(self.waiting) >= self.lead + self.step * 3 // 2 * self.hop:
            done.append(self._chunk(self.step))
        return self._pair(np.concatenate(done, axis=1))

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The rest of both."""
        frames = -(-len(self.waiting) // self.hop)
        missing = self.lead + frames * self.hop - len(self.waiting)
        self.waiting.append(np.zeros((len(self.waiting.waiting), missing), dtype=np.float32))
        return self._pair(self._chunk(frames))

    def _chunk(self, frames: int) -> np.ndarray:
        """The estimates of the next frames, as far as no later one adds to them."""
        rows = torch.from_numpy(self.waiting.waiting[:, : self.lead + frames * self.hop])
        # One row at a time: frames take four times the memory of their signal.
        spectra = torch.stack([frames_to_spectra(row, self.window, self.hop) for row in rows])
        estimates = self.rule(spectra.unflatten(0, (-1, self.channels))).flatten(0, 1)
        waves = torch.stack([spectra_to_frames(row, self.window, self.hop) for row in estimates]).numpy()
        waves[:, : self.lead] += self.tail
        self.waiting.take(frames * self.hop)
        done, self.tail = np.split(waves, [frames * self.hop], axis=1)
        skipped = min(self.skipped, done.shape[1])
        self.skipped -= skipped
        return done[:, skipped:]

    def _pair(self, estimates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = min(estimates.shape[1], len(self.inputs))
        return self.inputs.take(count), estimates[:, :count]


def through(stage: SpectralStage, pairs: Pairs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same pairs of mixture and estimates, these filtered; in blocks of another size."""
    for wave, estimates in pairs:
        yield stage.push(wave, estimates)
    yield stage.finish()
