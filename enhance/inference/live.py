"""A signal that never waits: as many samples out as in, a constant delay later, and how long that takes.

Raw samples from one pipe to another are here, microphones and speakers in `sound_card.py`.
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import nn

from enhance.errors import EnhanceError
from enhance.inference.bands import Bands
from enhance.inference.chunks import Fifo, check_denoiser
from enhance.inference.denoise import SameRate, chain, check_strength, mixed

LOUDEST = 1e6  # of full scale: what is louder is no sound
# ffmpeg's and ALSA's names of raw samples -> their type, and what full scale is
FORMATS = {"s16le": ("<i2", 2.0**15), "s32le": ("<i4", 2.0**31), "f32le": ("<f4", 1.0)}


def check_streaming(model: nn.Module, what: str) -> None:
    """EnhanceError, beginning with ``what``, unless the model carries a state from chunk to chunk."""
    if not hasattr(model, "stream"):
        raise EnhanceError(f"{what}: does not stream, it hears seconds ahead", "take one that does, such as dcunet-s")


class Live:
    """A denoiser on blocks ``(channels, block)`` at ``sample_rate``: each gives one that is ``delay`` older.

    ``block`` is as long as the model's own, rounded down to whole samples; ``delay``, in samples, the least
    with which no output is ever missing. After it the output is that of :func:`enhance.denoise` with ``listen=0``,
    sample by sample. It computes on one thread of the CPU: blocks are too short for more. ``model`` is in evaluation
    mode. EnhanceError for a model that does not stream, does not denoise or wants other channels.
    """

    def __init__(self, model: nn.Module, sample_rate: int, channels: int, strength: float = 1.0) -> None:
        check_strength(strength)
        check_streaming(model, "the model")
        check_denoiser(model, channels, "the input")
        torch.set_num_threads(1)
        self.model: Any = model
        self.sample_rate, self.channels, self.strength = sample_rate, channels, strength
        self.block = max(1, self.model.block * sample_rate // self.model.sample_rate)
        self._chain().push(self._zeros(sample_rate // 4))  # the first blocks of a process are slow
        self.chain = self._chain()
        self.delay = self._delay()
        self.output = Fifo(channels)
        self.output.append(self._zeros(self.delay))
        self.taken = 0

    def push(self, wave: np.ndarray) -> np.ndarray:
        """The next ``(channels, block)`` to as much of the output; EnhanceError if it is not finite."""
        self._denoise(wave)
        return self.output.take(self.block)

    def finish(self, rest: np.ndarray) -> np.ndarray:
        """The last ``(channels, fewer than block)`` to all that is still to come: as much, and the delay."""
        self._denoise(rest)
        self.output.append(mixed(*self.chain.finish(), self.strength)[1])
        return self.output.take(len(self.output))

    def _denoise(self, wave: np.ndarray) -> None:
        sound = (np.abs(wave) < LOUDEST).all(axis=0)  # which NaN is not
        if not sound.all():
            number = self.taken + int(np.argmin(sound))
            what = f"the input: sample {number} (at {number / self.sample_rate:.3f} s) is NaN or far over full scale"
            raise EnhanceError(what, "is --format right?")
        self.taken += wave.shape[1]
        self.output.append(mixed(*self.chain.push(wave), self.strength)[1])

    def _zeros(self, frames: int) -> np.ndarray:
        return np.zeros((self.channels, frames), dtype=np.float32)

    def _chain(self) -> SameRate | Bands:
        return chain(self.model, self.sample_rate, self.channels, torch.device("cpu"), seconds=0, listen=0)

    def _delay(self) -> int:
        """The largest lag of output behind input, over one period of all the grids that samples wait for."""
        model, stages = self.model, self.chain
        if isinstance(stages, SameRate):
            return model.latency
        grid = math.lcm(model.block, stages.gain.hop) * self.sample_rate  # in samples here, times the model's rate
        period = math.lcm(self.block, grid // math.gcd(grid, model.sample_rate))
        filled = self.sample_rate + self.sample_rate * model.latency // model.sample_rate
        first = -(-filled // self.block) * self.block
        return max(taken - stages.ready(taken) for taken in range(first, first + period, self.block))


@dataclass(frozen=True)
class Report:
    """How a live run went."""

    sample_rate: int  # Hz
    channels: int
    delay_ms: float  # from input to output, not counting the block that is being filled
    block_ms: float
    blocks: int
    median_ms: float  # of the processing time of a block
    p99_ms: float  # 99 of 100 blocks took no longer
    late: int  # blocks that took longer than they last
    dropped: int  # times that a device lost samples, or had none to play

    def __str__(self) -> str:
        return (
            f"{self.blocks} blocks of {self.block_ms:.1f} ms: median {self.median_ms:.2f} ms, "
            f"99 % within {self.p99_ms:.2f} ms, {self.late} late, {self.dropped} dropped"
        )


class Meter:
    """Processing time, block by block."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.times = array("d")  # seconds
        self.dropped = 0

    @contextmanager
    def block(self) -> Iterator[None]:
        """Measures what is done inside."""
        began = time.perf_counter()
        yield
        self.times.append(time.perf_counter() - began)

    def report(self) -> Report:
        """Of all blocks so far."""
        live = self.live
        length = live.block / live.sample_rate
        times = np.array(self.times or [0.0])
        return Report(
            sample_rate=live.sample_rate,
            channels=live.channels,
            delay_ms=1000 * live.delay / live.sample_rate,
            block_ms=1000 * length,
            blocks=len(self.times),
            median_ms=float(1000 * np.median(times)),
            p99_ms=float(1000 * np.percentile(times, 99)),
            late=int(np.count_nonzero(times > length)),
            dropped=self.dropped,
        )


class Pcm:
    """Raw interleaved samples to float32 ``(channels, time)`` and back."""

    def __init__(self, name: str, channels: int) -> None:
        if name not in FORMATS:
            raise EnhanceError(f"--format {name}: unknown", f"take one of {', '.join(FORMATS)}")
        self.type, self.scale = np.dtype(FORMATS[name][0]), FORMATS[name][1]
        self.channels = channels
        self.frame = self.type.itemsize * channels  # bytes

    def decode(self, data: bytes) -> np.ndarray:
        """Whole frames as ``(channels, time)``, full scale ±1."""
        samples = np.frombuffer(data, dtype=self.type).reshape(-1, self.channels).T
        return np.ascontiguousarray(samples / self.scale, dtype=np.float32)

    def encode(self, wave: np.ndarray) -> bytes:
        """``(channels, time)`` as bytes; integers are rounded and clipped, never wrapped around."""
        samples = wave.T
        if self.type.kind == "i":
            samples = np.rint(samples * np.float64(self.scale)).clip(-self.scale, self.scale - 1)
        return samples.astype(self.type).tobytes()


def pipe(live: Live, pcm: Pcm, source: BinaryIO, sink: BinaryIO, meter: Meter) -> int:
    """Raw samples from ``source`` to ``sink``, block by block; where it ends, what the delay holds back.

    Both are buffered. Returns how many bytes of a last frame that is not whole were left out. Raises
    EnhanceError if there are no samples, one is not finite or they cannot be read, OSError where ``sink`` takes no
    more.
    """
    size = live.block * pcm.frame
    while len(data := _read(source, size)) == size:
        with meter.block():
            output = pcm.encode(live.push(pcm.decode(data)))
        sink.write(output)
        sink.flush()
    excess = len(data) % pcm.frame
    rest = pcm.decode(data[: len(data) - excess])
    if not live.taken + rest.shape[1]:
        raise EnhanceError("stdin: holds no samples", "is the program before it running?")
    sink.write(pcm.encode(live.finish(rest)))
    sink.flush()
    return excess


def _read(source: BinaryIO, size: int) -> bytes:
    try:
        return source.read(size)
    except OSError as error:
        raise EnhanceError(f"stdin: {error.strerror or error}", "is what writes it still there?") from None
