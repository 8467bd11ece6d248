"""One iteration of multichannel Wiener filtering: estimates made anew from the mixture, by level and direction.

The local Gaussian model of Duong, Vincent and Gribonval 2010 ("Under-determined reverberant audio source separation
using a full-rank spatial covariance model"), its parameters from a network's estimates as in Nugraha, Liutkus and
Vincent 2016 ("Multichannel audio source separation with deep neural networks"): in frequency ``f`` and frame ``t`` the
channels of source ``j`` are a complex Gaussian vector with the covariance ``v_j(f, t) R_j(f)``. An iteration of
expectation-maximisation, which begins with the second step because there are estimates ``y_j`` already:

- Maximisation: ``v_j = |y_j|² / C``, the mean power of the ``C`` channels, and ``R_j = Σ_t y_j y_jᴴ / Σ_t v_j``, the
  spatial covariance, in which a frame weighs as much as it is loud.
- Expectation: ``y_j = v_j R_j (Σ_k v_k R_k)⁻¹ x``, the mean of the source where the mixture is ``x``.

For one channel ``R_j = 1``: that is the ratio mask ``v_j / Σ_k v_k``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from enhance.inference.chunks import Fifo
from enhance.stft import frames_to_spectra, spectra_to_frames

FRAME_SECONDS = 0.1  # about: the nearest power of two
CHUNK_SECONDS = 10.0  # of audio that spatial covariances are taken from
SPREAD = 1e-6  # of the power in a bin that comes from everywhere: a matrix that can be inverted
TINY = 1e-30  # power of nothing at all, shared out equally
SLICE = 128  # frequencies at a time, in double precision


class Wiener:
    """Blocks of a mixture and its estimates to the same with the estimates filtered, sample-aligned.

    The estimates ``(sources * channels, time)`` sum to the mixture ``(channels, time)``, whatever they were before. A
    file is cut into chunks of ten seconds, counted from its beginning; the last has five to fifteen, or all that there
    is. Each has spatial covariances of its own: sources move, and memory must not grow with the length.
    """

    def __init__(self, sources: int, channels: int, sample_rate: int) -> None:
        self.sources, self.channels = sources, channels
        size = 1 << max(2, round(math.log2(FRAME_SECONDS * sample_rate)))
        self.hop = size // 4
        self.window = torch.hann_window(size) * math.sqrt(2 / 3)  # its square sums to one
        self.step = round(CHUNK_SECONDS * sample_rate / self.hop)  # frames of a chunk
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
        estimates = filtered(spectra.unflatten(0, (-1, self.channels))).flatten(0, 1)
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


def refined(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], sources: int, channels: int, sample_rate: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same pairs of mixture and estimates, these filtered; in blocks of another size."""
    wiener = Wiener(sources, channels, sample_rate)
    for wave, estimates in pairs:
        yield wiener.push(wave, estimates)
    yield wiener.finish()


def filtered(spectra: Tensor) -> Tensor:
    """Spectra of mixture and estimates, complex ``(1 + sources, C, F, frames)``, to those of new estimates.

    Those are ``(sources, C, F, frames)``, in the place of the old ones.
    """
    for part in spectra.split(SLICE, dim=2):
        part[1:] = _filtered(part.to(torch.complex128))
    return spectra[1:]


def _filtered(spectra: Tensor) -> Tensor:
    mixture, estimates = spectra[0].transpose(0, 1), spectra[1:].transpose(1, 2)  # (F, C, N), (S, F, C, N)
    sources, _, channels, _ = estimates.shape
    power = (estimates.real.square() + estimates.imag.square()).mean(2)  # v: (S, F, N)
    products = estimates @ estimates.mH  # (S, F, C, C)
    spatial = products / (power.sum(-1)[..., None, None] + TINY)  # R
    spread = SPREAD * power.sum(0) + TINY  # (F, N)
    covariance = torch.einsum("sfn,sfcd->fncd", power.to(spatial.dtype), spatial)
    covariance = covariance + spread[..., None, None] * torch.eye(channels, dtype=torch.float64)
    weighted = torch.linalg.solve(covariance, mixture.transpose(1, 2)).transpose(1, 2)  # Σ⁻¹ x: (F, C, N)
    found = power[:, :, None] * (spatial @ weighted) + spread[:, None] * weighted / sources  # (S, F, C, N)
    return found.transpose(1, 2)
