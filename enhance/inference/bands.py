"""A file at one rate, a model at another: the split into bands, and the gain of the upper one.

``low`` is the input, resampled to the model's rate and back; ``high = input - low`` is what the model
never sees. Both are aligned with the input, so that ``low + high`` is the input again. The model's
estimate comes back in place of ``low``, and ``high`` follows with a slowly varying gain. Several sources share
``high`` out among themselves.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from enhance.inference.chunks import ContextChunks, Fifo, StreamChunks
from enhance.inference.resampler import Resampler

HOP_SECONDS = 0.005
ATTACK_SECONDS = 0.010  # time constant with which the gain rises
RELEASE_SECONDS = 0.080  # and falls
FLOOR = 1e-12  # mean square (-120 dB) below which the ratio of two energies is one


class UpperGain:
    """Gain of the upper band from what a model does to the octave below it.

    Every 5 ms the energies of input and output in the top octave that file and model have in common are
    compared (frames of 20 ms, Hann window). The gain is the square root of their ratio, so that the upper
    band loses as many dB as that octave; it is bounded to [0, 1], smoothed, and interpolated linearly.
    """

    def __init__(self, model_rate: int, file_rate: int, channels: int) -> None:
        self.channels = channels
        self.hop = round(HOP_SECONDS * model_rate)
        size = 4 * self.hop
        self.window = np.hanning(size + 1)[:-1].astype(np.float32)
        frequencies = np.fft.rfftfreq(size, 1 / model_rate)
        nyquist = min(model_rate, file_rate) / 2
        octave = np.flatnonzero((frequencies >= nyquist / 2) & (frequencies <= nyquist))
        self.octave = slice(int(octave[0]), int(octave[-1]) + 1)  # bins
        self.floor = FLOOR * size * size / 4  # in the units of `_energies`
        self.rise = 1 - math.exp(-self.hop / (ATTACK_SECONDS * model_rate))
        self.fall = 1 - math.exp(-self.hop / (RELEASE_SECONDS * model_rate))
        self.waiting = Fifo(2 * channels)  # frame 0 is centred on sample 0, hence the zeros:
        self.waiting.append(np.zeros((2 * channels, size // 2), dtype=np.float32))
        self.frames_per_sample = model_rate / file_rate / self.hop
        self.gains = np.ones((channels, 0), dtype=np.float32)  # of frames, from `first` on
        self.first = 0
        self.taken = 0  # samples at the model's rate
        self.given = 0  # and at the file's
        self.latest: list[float] = []

    def ready(self, taken: int) -> int:
        """Gains that can be given when so many samples of the model are there."""
        frames = max(0, (taken - len(self.window) // 2) // self.hop + 1)
        return math.floor((frames - 1) / self.frames_per_sample) + 1 if frames else 0

    def push(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """The next ``(channels, time)`` of a model's input and output to gains at the file's rate."""
        self.waiting.append(np.concatenate((before, after)))
        self.taken += before.shape[1]
        count = max(0, (len(self.waiting) - len(self.window)) // self.hop + 1)
        if count:
            self._frames(count)
        return self._interpolated(max(0, self.ready(self.taken) - self.given))

    def finish(self, length: int) -> np.ndarray:
        """The rest, up to ``length`` samples in all: the last gain is held."""
        if not self.gains.size:
            self.gains = np.ones((self.channels, 1), dtype=np.float32)
        return self._interpolated(length - self.given)

    def _frames(self, count: int) -> None:
        """Gains of the next ``count`` frames."""
        size = len(self.window)
        every = np.lib.stride_tricks.sliding_window_view(self.waiting.waiting, size, axis=1)
        frames = every[:, : count * self.hop : self.hop] * self.window  # (2C, count, size)
        spectra = torch.fft.rfft(torch.from_numpy(frames))[..., self.octave]
        energies = torch.view_as_real(spectra).square().sum((-1, -2)).numpy() + self.floor  # (2C, count)
        self.waiting.take(count * self.hop)
        ratio = energies[self.channels :] / energies[: self.channels]
        targets = np.sqrt(ratio).clip(max=1)
        self.gains = np.concatenate((self.gains, self._smoothed(targets)), axis=1)

    def _smoothed(self, targets: np.ndarray) -> np.ndarray:
        if not self.latest:
            self.latest = targets[:, 0].tolist()
        smoothed = np.empty(targets.shape, dtype=np.float32)
        for channel, row in enumerate(targets.tolist()):
            gain = self.latest[channel]
            for frame, target in enumerate(row):
                gain += (target - gain) * (self.rise if target > gain else self.fall)
                smoothed[channel, frame] = gain
            self.latest[channel] = gain
        return smoothed

    def _interpolated(self, count: int) -> np.ndarray:
        if not count:
            return np.empty((self.channels, 0), dtype=np.float32)
        position = (self.given + np.arange(count)) * self.frames_per_sample - self.first
        grid = np.arange(self.gains.shape[1])
        result = np.empty((self.channels, count), dtype=np.float32)
        for channel in range(self.channels):
            result[channel] = np.interp(position, grid, self.gains[channel])
        self.given += count
        passed = math.floor(self.given * self.frames_per_sample) - self.first
        done = min(passed, self.gains.shape[1] - 1)  # the last gain is still needed
        self.gains = self.gains[:, done:]
        self.first += done
        return result


class Bands:
    """A model at its own rate inside a file at another: ``(channels, time)`` blocks at the file's rate.

    ``push`` and ``finish`` give pairs of input and clean signal, sample by sample; of several sources their estimates,
    ``(sources * channels, time)``.
    """

    def __init__(self, chunks: ContextChunks | StreamChunks, model_rate: int, file_rate: int, channels: int) -> None:
        self.chunks = chunks
        self.channels = channels
        self.sources = len(chunks.nothing) // channels
        self.down = Resampler(file_rate, model_rate, channels)
        self.up = Resampler(model_rate, file_rate, (1 + self.sources) * channels)  # the model's input and output
        self.gain = UpperGain(model_rate, file_rate, self.sources * channels)
        self.inputs = Fifo(channels)  # at the file's rate
        self.lows = Fifo(channels)  # at the model's rate
        self.pairs = Fifo((1 + self.sources) * channels)  # at the file's rate
        self.gains = Fifo(self.sources * channels)
        self.taken = 0

    def ready(self, taken: int) -> int:
        """Samples of both that can be given when so many are there (for a model that streams)."""
        assert isinstance(self.chunks, StreamChunks)
        clean = self.chunks.ready(self.down.ready(taken))
        return min(taken, self.up.ready(clean), self.gain.ready(clean))

    def push(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next block to the next pair of input and clean signal."""
        self.taken += wave.shape[1]
        self.inputs.append(wave)
        low = self.down.push(wave)
        self._matched(low, self.chunks.push(low))
        return self._pair(min(len(self.pairs), len(self.gains), len(self.inputs)))

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The rest of both."""
        low = self.down.finish()
        self._matched(low, self.chunks.push(low))
        self._matched(low[:, :0], self.chunks.finish())
        self.pairs.append(self.up.finish())
        self.gains.append(self.gain.finish(self.taken))
        return self._pair(len(self.inputs))

    def _matched(self, low: np.ndarray, clean: np.ndarray) -> None:
        """Bring the model's output and the input that belongs to it up to the file's rate."""
        self.lows.append(low)
        same = self.lows.take(clean.shape[1])
        self.pairs.append(self.up.push(np.concatenate((same, clean))))
        self.gains.append(self.gain.push(np.tile(same, (self.sources, 1)), clean))

    def _pair(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        wave = self.inputs.take(count)
        low, clean = np.split(self.pairs.take(count), [self.channels])
        return wave, clean + self._shares(self.gains.take(count)) * np.tile(wave - low, (self.sources, 1))

    def _shares(self, gains: np.ndarray) -> np.ndarray:
        """The gain of a single estimate; of several sources their shares in the energy, which sum to one."""
        if self.sources == 1:
            return gains
        energies = np.square(gains).reshape(self.sources, self.channels, -1) + np.float32(1e-6)
        return (energies / energies.sum(axis=0)).reshape(gains.shape)
