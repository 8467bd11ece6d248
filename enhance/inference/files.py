"""One file: read, denoise or separate, write."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import nn

from enhance.audio import FLOATS, Reader, blocks, opened
from enhance.files import no_empty_folder, replacing
from enhance.inference.chunks import check_channels, check_denoiser
from enhance.inference.denoise import check_rate, denoised
from enhance.inference.level import gains_of_file, unheard_of
from enhance.inference.output import Output, choose_encoding, written
from enhance.inference.separate import heard_together, separated
from enhance.inference.tasks import Result, SeparationTask, Settings, Task, real

BLOCK_SECONDS = 2.0
CEILING = 1 - 2.0**-15  # the largest sample of 16 bits
Pairs = Iterator[tuple[np.ndarray, np.ndarray]]


def denoise_file(
    task: Task,
    model: nn.Module,
    device: torch.device,
    settings: Settings,
    progress: Callable[[float], None] = lambda seconds: None,
) -> Result:
    """Denoise one file into another; memory does not grow with its length.

    ``progress`` is called with the seconds of audio that were read since the last call. Raises
    EnhanceError, and leaves no half-written file behind.
    """
    began = time.perf_counter()
    with opened(task.source, settings.track or 1) as reader, contextlib.ExitStack() as stack:
        info = reader.info
        check_rate(info.sample_rate, str(task.source))
        check_denoiser(model, info.channels, str(task.source))
        encoding = choose_encoding(task.target, info)
        output = stack.enter_context(written(task.target, info, encoding))
        outputs = [output]
        if task.noise:
            outputs.append(stack.enter_context(written(task.noise, info, replace(encoding, whole=False))))
        rate, channels = info.sample_rate, info.channels
        gain_in = gains_of_file(info, together=settings.linked or bool(model.channels != 1))
        ways = (settings.strength, settings.linked, settings.listen, str(task.source), gain_in)
        pairs = denoised(_read(reader, progress), model, rate, channels, device, *ways)
        gain = 1.0
        if settings.prevent_clipping and encoding.subtype not in FLOATS:
            pairs, gain = stack.enter_context(lowered(pairs, task.target.parent))
        if task.plot:
            pairs = stack.enter_context(plotted(pairs, task.plot, rate, task.source.name, ["before", "after"]))
        frames, loudest = 0, 0.0
        for wave, clean in pairs:
            frames += wave.shape[1]
            loudest = max(loudest, float(np.abs(wave).max(initial=0.0)))
            output.write(clean)
            if task.noise:
                outputs[1].write(wave - clean)
        for each in outputs:
            each.finish()
    warnings = _about_input(reader, settings, encoding.whole) + _about_level(task.source, gain_in, loudest / gain)
    warnings += _about_clipping(outputs[:1], "; --prevent-clipping lowers the whole file instead")
    warnings += _about_clipping(outputs[1:])
    return Result(
        task.source,
        task.target,
        task.noise,
        task.plot,
        frames / rate,
        rate,
        channels,
        time.perf_counter() - began,
        output.peak,
        output.clipped,
        20 * math.log10(1 / gain),
        tuple(warnings),
    )


def separate_file(
    task: SeparationTask,
    model: nn.Module,
    device: torch.device,
    settings: Settings,
    progress: Callable[[float], None] = lambda seconds: None,
) -> Result:
    """Write the parts of one file; memory does not grow with its length.

    ``progress`` is called with the seconds of audio that were read since the last call. Raises
    EnhanceError, and leaves no half-written file behind.
    """
    began = time.perf_counter()
    with opened(task.source, settings.track or 1) as reader, contextlib.ExitStack() as stack:
        info = reader.info
        check_rate(info.sample_rate, str(task.source))
        check_channels(model, info.channels, str(task.source))
        stack.enter_context(no_empty_folder(task.target))
        encodings = {path: replace(choose_encoding(path, info), whole=False) for path in task.parts.values()}
        outputs = [stack.enter_context(written(path, info, encoding)) for path, encoding in encodings.items()]
        rate, channels, names = info.sample_rate, info.channels, [*task.parts]
        gain_in = gains_of_file(info, heard_together(model, settings.wiener, settings.independent))
        blocks, ways = _read(reader, progress), (settings.wiener, settings.independent, settings.listen)
        pairs = separated(blocks, model, rate, channels, device, names, *ways, str(task.source), gain_in)
        gain = 1.0
        if settings.prevent_clipping and any(encoding.subtype not in FLOATS for encoding in encodings.values()):
            pairs, gain = stack.enter_context(lowered(pairs, task.target))
        if task.plot:
            pairs = stack.enter_context(plotted(pairs, task.plot, rate, task.source.name, ["mixture", *names]))
        frames, loudest = 0, 0.0
        for wave, parts in pairs:
            frames += wave.shape[1]
            loudest = max(loudest, float(np.abs(wave).max(initial=0.0)))
            for output, part in zip(outputs, np.split(parts, len(outputs)), strict=True):
                output.write(part)
        for each in outputs:
            each.finish()
    warnings = _about_input(reader, settings, whole=False) + _about_level(task.source, gain_in, loudest / gain)
    warnings += _about_clipping(outputs, "; --prevent-clipping lowers all parts instead")
    return Result(
        task.source,
        task.target,
        plot=task.plot,
        seconds=frames / rate,
        sample_rate=rate,
        channels=channels,
        elapsed=time.perf_counter() - began,
        peak=max(each.peak for each in outputs),
        clipped=sum(each.clipped for each in outputs),
        lowered_db=20 * math.log10(1 / gain),
        warnings=tuple(warnings),
        parts=task.parts,
    )


def _read(reader: Reader, progress: Callable[[float], None]) -> Iterator[np.ndarray]:
    for block in blocks(reader, round(BLOCK_SECONDS * reader.info.sample_rate)):
        yield block
        progress(block.shape[1] / reader.info.sample_rate)


def _about_input(reader: Reader, settings: Settings, whole: bool) -> list[str]:
    """What there is to say of it when it has been read; of the ``whole`` the other tracks have been copied."""
    warnings = [reader.warning] if reader.warning else []
    if settings.track is None and (count := len(reader.info.tracks)) > 1:
        others = "the others are copied" if whole else "the others are left out"
        warnings.append(
            f"{reader.info.path}: has {count} sound tracks; took the first, {others} (--track takes another)"
        )
    return warnings


def _about_level(source: Path, gain_in: np.ndarray, peak: float) -> list[str]:
    """What there is to say of a recording whose peak is far from what models know, if it was taken as it is."""
    about = unheard_of(peak) if (gain_in == 1).all() else ""
    return [f"{source}: {about}"] if about else []


def _about_clipping(outputs: Sequence[Output], advice: str = "") -> list[str]:
    return [f"{each.target}: {each.clipped} samples clipped at full scale{advice}" for each in outputs if each.clipped]


@contextlib.contextmanager
def lowered(pairs: Pairs, folder: Path) -> Iterator[tuple[Pairs, float]]:
    """The same pairs with a gain that keeps the peak of the output below full scale, and that gain.

    The peak is known at the end only, so that all samples wait in an unnamed file in ``folder``.
    """
    with tempfile.TemporaryFile(dir=real(folder)) as spool:
        peak, sizes = 0.0, []
        for wave, clean in pairs:
            if clean.size:
                peak = max(peak, float(np.abs(clean).max()))
                sizes.append((len(wave), *clean.shape))
                spool.write(wave.tobytes())
                spool.write(clean.tobytes())
        gain = min(1.0, CEILING / peak) if peak else 1.0
        spool.seek(0)
        yield _spooled(spool, sizes, gain), gain


def _spooled(spool: IO[bytes], sizes: list[tuple[int, int, int]], gain: float) -> Pairs:
    for inputs, outputs, length in sizes:
        data = np.frombuffer(spool.read(4 * (inputs + outputs) * length), dtype=np.float32)
        wave, clean = np.split(np.float32(gain) * data.reshape(-1, length), [inputs])
        yield wave, clean


@contextlib.contextmanager
def plotted(pairs: Pairs, path: Path, sample_rate: int, title: str, names: Sequence[str]) -> Iterator[Pairs]:
    """The same pairs, and at the end a picture of their spectrograms: that of the input, and of each output."""
    from enhance.inference.plot import Spectrograms

    spectrograms = Spectrograms(sample_rate, names)

    def watched() -> Pairs:
        for wave, outputs in pairs:
            spectrograms.push([wave, *np.split(outputs, len(names) - 1)])
            yield wave, outputs

    with replacing(path) as temporary:
        yield watched()
        spectrograms.save(temporary, title)
