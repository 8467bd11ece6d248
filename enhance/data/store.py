"""Decoded audio in one file of 16-bit samples, read through a memory map: nothing is decoded while training."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from enhance.audio import read, resample
from enhance.console import warn
from enhance.data.manifest import Clip
from enhance.data.pool import in_order
from enhance.data.samples import AGAIN, opened
from enhance.errors import EnhanceError
from enhance.files import appearing

AUDIO, INDEX = "audio.i16", "index.json"
Found = TypeVar("Found")
Done = Callable[[Clip, EnhanceError | None], object]  # is called for each clip, with why it cannot be read


@dataclass(frozen=True)
class Entry:
    """Where a recording lies, in samples."""

    kind: str
    source: str
    item: str
    language: str
    licence: str
    split: str
    start: int
    frames: int


def decode(path: Path, sample_rate: int) -> np.ndarray:
    """A whole file as mono int16 ``(time,)`` at ``sample_rate``; louder than full scale is clipped.

    Raises EnhanceError, which names the file, if it cannot be read.
    """
    wave, rate = read(path)  # (C, T)
    mono = resample(wave.mean(axis=0), rate, sample_rate)
    return np.rint(np.clip(mono, -1.0, 1.0) * 32767).astype(np.int16)


def attempt(read_file: Callable[[Path], Found], path: Path) -> Found | EnhanceError:
    """What ``read_file`` gives, or the error that it raised: one bad file does not end what others are read for."""
    try:
        return read_file(path)
    except EnhanceError as error:
        return error


def strict(clip: Clip, error: EnhanceError | None) -> None:
    """Raises the error, if there is one."""
    if error is not None:
        raise error


def build(
    folder: Path,
    clips: Iterable[Clip],
    responses: Iterable[tuple[str, np.ndarray]],
    sample_rate: int,
    jobs: int,
    done: Done = strict,
) -> Store:
    """Decode ``clips`` and add simulated room responses (item, float ``(time,)``), into ``folder``.

    Written beside it and renamed when complete: a store is whole or absent. ``done`` is called for each clip. One that
    cannot be read is left out if ``done`` does not raise. Room responses that are silent are left out, with a
    warning.
    EnhanceError if ``folder`` is there and holds anything but a prepared data set.
    """
    check_place(folder)
    with appearing(folder) as partial_folder:
        _write(partial_folder, list(clips), responses, sample_rate, jobs, done)
    return Store(folder)


def check_place(folder: Path) -> None:
    """EnhanceError if ``folder`` holds anything but a prepared data set, which may be replaced."""
    if folder.exists() and not (folder / INDEX).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise EnhanceError(f"{folder}: holds something other than a data set", "choose a new folder")


def simulated(responses: Iterable[tuple[str, np.ndarray]]) -> Iterable[tuple[Clip, np.ndarray]]:
    """Simulated room responses as int16 ``(time,)``, with labels; every tenth is for validation."""
    for number, (item, response) in enumerate(responses):
        samples = np.rint(response / np.abs(response).max() * 32767).astype(np.int16)
        split = "valid" if number % 10 == 9 else "train"
        yield Clip(Path(item), "rir", "simulated", item, "", "own work", split), samples


def left_out(clip: Clip, silent: bool) -> bool:
    """Whether it is a room response that is ``silent``, which is said: nothing can be heard in such a room."""
    if clip.kind == "rir" and silent:
        warn(f"{clip.path}: left out, since this room response is silent")
        return True
    return False


def _write(
    folder: Path,
    clips: list[Clip],
    responses: Iterable[tuple[str, np.ndarray]],
    sample_rate: int,
    jobs: int,
    done: Done,
) -> None:
    """Audio and index of a store into an empty folder."""
    entries: list[Entry] = []
    start = 0
    digest = hashlib.sha256()
    read_file = partial(attempt, partial(decode, sample_rate=sample_rate))
    decoded = in_order(read_file, [clip.path for clip in clips], jobs)
    with (folder / AUDIO).open("wb") as file, contextlib.closing(decoded):

        def append(clip: Clip, samples: np.ndarray) -> None:
            nonlocal start
            if left_out(clip, not samples.any()):
                return
            entries.append(Entry(**clip.labels, start=start, frames=len(samples)))
            data = samples.astype("<i2").tobytes()
            digest.update(data)
            file.write(data)
            start += len(samples)

        for clip, samples in zip(clips, decoded, strict=True):
            if isinstance(samples, EnhanceError):
                done(clip, samples)
            else:
                append(clip, samples)
                done(clip, None)
        for clip, samples in simulated(responses):
            append(clip, samples)
            done(clip, None)
    index = {
        "sample_rate": sample_rate,
        "fingerprint": digest.hexdigest()[:16],
        "entries": [vars(entry) for entry in entries],
    }
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


class Recordings:
    """Recordings one after another in one array of int16; ``folder`` is where they come from."""

    def __init__(self, folder: Path | str, sample_rate: int, entries: Sequence[Entry], audio: np.ndarray) -> None:
        self.folder, self.sample_rate, self.entries, self.audio = folder, sample_rate, entries, audio

    def select(self, kind: str, split: str) -> list[Entry]:
        """The entries of one kind and split, in their order."""
        return [entry for entry in self.entries if entry.kind == kind and entry.split == split]

    def seconds(self, kind: str, split: str) -> float:
        """Of audio of one kind and split."""
        return sum(entry.frames for entry in self.select(kind, split)) / self.sample_rate

    def read(self, entry: Entry, start: int = 0, frames: int | None = None) -> np.ndarray:
        """Samples ``start`` to ``start + frames`` of a recording as float32, full scale ±1."""
        stop = entry.frames if frames is None else min(entry.frames, start + frames)
        samples = self.audio[entry.start + start : entry.start + stop]
        return samples.astype(np.float32) / 32768


class Store(Recordings):
    """A prepared data set; EnhanceError if ``folder`` is not a whole one. Cheap to open in every worker process."""

    def __init__(self, folder: Path) -> None:
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            entries = [Entry(**entry) for entry in index["entries"]]
            self.fingerprint: str = index["fingerprint"]
            rate: int = index["sample_rate"]
        except (FileNotFoundError, NotADirectoryError):
            raise EnhanceError(f"{folder}: not a prepared data set", "run `enhance prepare` first") from None
        except KeyError:
            hint = "set data.kind to pairs, stems or shards"
            raise EnhanceError(f"{folder}: prepared as something else", hint) from None
        except (OSError, ValueError, TypeError):
            raise EnhanceError(f"{folder / INDEX}: cannot be read, or damaged", AGAIN) from None
        samples = max((entry.start + entry.frames for entry in entries), default=0)
        super().__init__(folder, rate, entries, opened(folder / AUDIO, samples))
