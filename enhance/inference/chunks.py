"""A model over a signal that arrives in blocks: equal to one pass over the whole, in flat memory.

A model with a declared ``context`` sees each chunk with that much on either side; a model that streams
carries its state. Waveforms here are numpy float32 ``(channels, time)`` at the model's rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enhance.errors import EnhanceError
from enhance.models.listening import needed, remembered

CHUNK_SECONDS = 4.0  # of audio that a model gets at once, all channels together
LEAST = 0.5  # of these, of one channel: of many channels, few are heard at a time


class Fifo:
    """Samples ``(channels, time)`` that wait for their partners."""

    def __init__(self, channels: int) -> None:
        self.waiting = np.zeros((channels, 0), dtype=np.float32)

    def __len__(self) -> int:
        return self.waiting.shape[1]

    def append(self, wave: np.ndarray) -> None:
        self.waiting = np.concatenate((self.waiting, wave), axis=1) if len(self) else wave

    def take(self, count: int) -> np.ndarray:
        """The first ``count`` samples, removed from what waits."""
        taken, self.waiting = self.waiting[:, :count], self.waiting[:, count:]
        return taken


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Denormal numbers as zeros: in the silence after a sound, recurrent layers would crawl along them."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def check_denoiser(model: nn.Module, channels: int, what: str) -> None:
    """EnhanceError, beginning with ``what``, unless ``model`` gives one estimate and takes these channels."""
    sources: tuple[str, ...] = model.sources  # pyright: ignore[reportAssignmentType]
    if len(sources) != 1:
        raise EnhanceError(f"{what}: the model separates {', '.join(sources)}", "take one that denoises")
    check_channels(model, channels, what)


def check_channels(model: nn.Module, channels: int, what: str) -> None:
    """EnhanceError, beginning with ``what``, unless ``model`` takes these channels: one goes through any model."""
    if model.channels not in (1, channels) and channels != 1:
        what = f"{what}: has {channels} channels, the model wants {model.channels}"
        raise EnhanceError(what, f"mix it to {model.channels} or to mono, or take another model")


class Chunked:
    """Blocks of a mixture in, blocks of the estimates out: what both kinds of model share.

    A chunk has ``seconds`` of audio, all channels together, or the least that the model takes: ``around`` are the
    samples that it looks at again on both sides of each chunk. Of so many channels that this would be more, ``rows``
    at a time are heard, so that memory does not grow with their number. Where the model wants several channels and
    there is one, it is in all of them, and the estimates are the means of theirs.
    """

    def __init__(
        self, model: nn.Module, channels: int, device: torch.device, seconds: float = CHUNK_SECONDS, around: int = 0
    ) -> None:
        self.model: Any = model
        self.device = device
        self.joint = model.channels != 1
        self.mono = self.joint and channels == 1
        samples = seconds * self.model.sample_rate
        least = max(LEAST / CHUNK_SECONDS * samples, around, 1)
        self.rows = max(1, min(channels, int(samples / least)))
        together = self.model.channels if self.mono else channels if self.joint else self.rows
        self.samples = max(round(samples / together), around)  # wanted in a chunk
        self.nothing = np.zeros((len(self.model.sources) * channels, 0), dtype=np.float32)
        self.waiting = Fifo(channels)
        self.taken: int = 0
        self.given: int = 0

    def _tensor(self, wave: np.ndarray) -> Tensor:
        """``(channels, time)`` as a mixture: ``(1, C, T)`` if joint, else ``(C, 1, T)``."""
        tensor = torch.from_numpy(np.ascontiguousarray(wave)).to(self.device)
        if self.mono:
            tensor = tensor.repeat(self.model.channels, 1)
        return tensor[None] if self.joint else tensor[:, None]

    def _parts(self, wave: np.ndarray) -> tuple[Tensor, ...]:
        """:meth:`_tensor`, in as many rows as are heard at a time."""
        tensor = self._tensor(wave)
        return (tensor,) if self.joint else tensor.split(self.rows)

    def _array(self, estimates: Tensor) -> np.ndarray:
        """Estimates ``(B, S, C, T)`` as ``(sources * channels, time)``, all channels of a source together."""
        waves = estimates[0] if self.joint else estimates[:, :, 0].transpose(0, 1)  # (S, channels, T)
        if self.mono:
            waves = waves.mean(1, keepdim=True)
        return waves.flatten(0, 1).float().cpu().numpy()


class ContextChunks(Chunked):
    """A model whose output depends on no more than ``context`` samples of its input on either side.

    Chunks begin on the grid of the model's frames (``align``), and their edges, where they differ from
    a whole pass, are cut off.
    """

    def __init__(self, model: nn.Module, channels: int, device: torch.device, seconds: float = CHUNK_SECONDS) -> None:
        context: tuple[int, int] = model.context  # pyright: ignore[reportAssignmentType]
        self.left, self.right = context
        super().__init__(model, channels, device, seconds, self.left + self.right)
        self.align = getattr(model, "align", 1)
        self.step = self.samples
        self.start = 0  # position in the signal of the first sample that waits

    def push(self, wave: np.ndarray) -> np.ndarray:
        """The next ``(channels, time)`` of the mixture to what can be said of the estimate."""
        self.waiting.append(wave)
        self.taken += wave.shape[1]
        done = [self.nothing]
        while self.taken - self.given >= self.step + self.right:
            done.append(self._chunk(self.step))
        return np.concatenate(done, axis=1)

    def finish(self) -> np.ndarray:
        """The rest of the estimate."""
        return self._chunk(self.taken - self.given) if self.taken > self.given else self.nothing

    def _chunk(self, count: int) -> np.ndarray:
        """The next ``count`` samples of the estimate."""
        offset = self.given - self.start
        with torch.inference_mode(), flushed_denormals():
            seen = self._parts(self.waiting.waiting[:, : offset + count + self.right])
            estimates = torch.cat([self.model(part) for part in seen])
        self.given += count
        following = max(0, self.given - self.left) // self.align * self.align
        self.waiting.take(following - self.start)
        self.start = following
        return self._array(estimates[..., offset : offset + count])


class StreamChunks(Chunked):
    """A model that carries its state from chunk to chunk; its delay is taken off.

    It hears the first ``listen`` seconds once before it begins, by default as many as it was trained to.
    """

    def __init__(
        self,
        model: nn.Module,
        channels: int,
        device: torch.device,
        seconds: float = CHUNK_SECONDS,
        listen: float | None = None,
    ) -> None:
        super().__init__(model, channels, device, seconds, getattr(model, "around", 0))
        self.block = self.model.block
        self.step = max(1, round(self.samples / self.block)) * self.block
        self.delay = self.model.latency  # samples to be thrown away before the first of the estimate
        seconds = getattr(model, "listen", 0.0) if listen is None else listen
        self.listen = seconds if hasattr(model, "restarted") else 0.0
        self.hears = needed(model, self.listen)
        self.begun = not self.hears
        self.states: list[Any] = [None] * (1 if self.joint else -(-channels // self.rows))

    def ready(self, taken: int) -> int:
        """Samples of the estimate that can be given when so many of the mixture are there."""
        return max(0, taken // self.step * self.step - self.model.latency) if taken >= self.hears else 0

    def push(self, wave: np.ndarray) -> np.ndarray:
        """The next ``(channels, time)`` of the mixture to what can be said of the estimate."""
        self.waiting.append(wave)
        self.taken += wave.shape[1]
        done = [self.nothing]
        if not self.begun and self.taken >= self.hears:
            self._begin()
        while self.begun and len(self.waiting) >= self.step:
            done.append(self._chunk(self.waiting.take(self.step)))
        return np.concatenate(done, axis=1)

    def finish(self) -> np.ndarray:
        """The rest of the estimate: zeros push it out of the model."""
        if not self.begun:
            self._begin()
        waited = self.push(self.waiting.waiting[:, :0])  # for the model to begin
        rest = self.taken - self.given
        last = self.waiting.take(len(self.waiting))
        length = last.shape[1] + self.model.latency
        padding = -(-length // self.block) * self.block - last.shape[1]
        return np.concatenate((waited, self._chunk(np.pad(last, ((0, 0), (0, padding))))[:, :rest]), axis=1)

    def _begin(self) -> None:
        first = self.waiting.waiting[:, : self.hears]
        with torch.inference_mode(), flushed_denormals():
            self.states = [remembered(self.model, part, self.listen, self.step) for part in self._parts(first)]
        self.begun = True

    def _chunk(self, wave: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), flushed_denormals():
            done = [self.model.stream(*part) for part in zip(self._parts(wave), self.states, strict=True)]
        self.states = [state for _, state in done]
        estimates = torch.cat([estimates for estimates, _ in done])
        skipped = min(self.delay, wave.shape[1])
        self.delay -= skipped
        self.given += wave.shape[1] - skipped
        return self._array(estimates[..., skipped:])


def chunked(
    model: nn.Module,
    channels: int,
    device: torch.device,
    seconds: float = CHUNK_SECONDS,
    listen: float | None = None,
) -> ContextChunks | StreamChunks:
    """``push`` and ``finish`` for a model in evaluation mode on ``device``, by the reach that it declares.

    ``listen`` is for a model with memory: :class:`StreamChunks`.
    """
    if hasattr(model, "stream"):
        return StreamChunks(model, channels, device, seconds, listen)
    return ContextChunks(model, channels, device, seconds)
