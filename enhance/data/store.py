"""Decoded audio in one file of 16-bit samples, read through a memory map: nothing is decoded while training."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from enhance.audio import read, resample
from enhance.data.manifest import Clip
from enhance.errors import EnhanceError

AUDIO, INDEX = "audio.i16", "index.json"


@dataclass(frozen=True)
class Entry:
    """Where a clip lies in the store, in samples."""

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


def build(
    folder: Path,
    clips: Iterable[Clip],
    responses: Iterable[tuple[str, np.ndarray]],
    sample_rate: int,
    jobs: int,
    done: Callable[[], object] = lambda: None,
) -> Store:
    """Decode ``clips`` and add simulated room responses (item, float ``(time,)``), into ``folder``.

    Written beside it and renamed when complete: a store is whole or absent. ``done`` is called for each clip.
    EnhanceError if ``folder`` is there and holds anything but a store.
    """
    if folder.exists() and not (folder / INDEX).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise EnhanceError(f"{folder}: holds something other than a data set", "choose a new folder")
    partial_folder = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    try:
        _write(partial_folder, list(clips), responses, sample_rate, jobs, done)
    except BaseException:
        shutil.rmtree(partial_folder)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    partial_folder.replace(folder)
    return Store(folder)


def _write(
    folder: Path,
    clips: list[Clip],
    responses: Iterable[tuple[str, np.ndarray]],
    sample_rate: int,
    jobs: int,
    done: Callable[[], object],
) -> None:
    """Audio and index of a store into an empty folder."""
    entries: list[Entry] = []
    start = 0
    digest = hashlib.sha256()
    with (folder / AUDIO).open("wb") as file, ProcessPoolExecutor(jobs) as pool:

        def append(samples: np.ndarray, *labels: str) -> None:
            nonlocal start
            entries.append(Entry(*labels, start=start, frames=len(samples)))
            data = samples.astype("<i2").tobytes()
            digest.update(data)
            file.write(data)
            start += len(samples)

        decoded = pool.map(partial(decode, sample_rate=sample_rate), [clip.path for clip in clips], chunksize=8)
        for clip, samples in zip(clips, decoded, strict=True):
            append(samples, clip.kind, clip.source, clip.item, clip.language, clip.licence, clip.split)
            done()
        for number, (item, response) in enumerate(responses):
            samples = np.rint(response / np.abs(response).max() * 32767)
            append(samples, "rir", "simulated", item, "", "own work", "valid" if number % 10 == 9 else "train")
            done()
    index = {
        "sample_rate": sample_rate,
        "fingerprint": digest.hexdigest()[:16],
        "entries": [vars(entry) for entry in entries],
    }
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


class Store:
    """A prepared data set; EnhanceError if ``folder`` is not one. Cheap to open in every worker process."""

    def __init__(self, folder: Path) -> None:
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise EnhanceError(f"{folder}: not a prepared data set", "run `enhance prepare` first") from None
        self.folder = folder
        self.sample_rate: int = index["sample_rate"]
        self.fingerprint: str = index["fingerprint"]
        self.entries = [Entry(**entry) for entry in index["entries"]]
        self.audio = np.memmap(folder / AUDIO, dtype="<i2", mode="r")

    def select(self, kind: str, split: str) -> list[Entry]:
        """The entries of one kind and split, in the order of the store."""
        return [entry for entry in self.entries if entry.kind == kind and entry.split == split]

    def read(self, entry: Entry, start: int = 0, frames: int | None = None) -> np.ndarray:
        """Samples ``start`` to ``start + frames`` of a clip as float32, full scale ±1."""
        stop = entry.frames if frames is None else min(entry.frames, start + frames)
        samples = self.audio[entry.start + start : entry.start + stop]
        return samples.astype(np.float32) / 32768
