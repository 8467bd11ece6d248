"""Prepared stems: recordings with their sources apart, in one file of 16-bit samples that is read through a memory map.

Of each recording its sources follow one another, each ``(time, channels)``: a crop of a source is one stretch of the
file. The mixture is not kept: it is the sum of the sources.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enhance.data.samples import AGAIN, opened
from enhance.errors import EnhanceError
from enhance.files import replacing

STEMS, INDEX = "stems.i16", "index.json"
SPLITS = ("train", "valid")


@dataclass(frozen=True)
class Track:
    """Where a recording lies, in samples of the file, and how long it is in samples of a channel."""

    id: str
    split: str
    offset: int
    frames: int


class StemStore:
    """A prepared data set of stems; EnhanceError if ``folder`` is not a whole one. Cheap to open in every worker."""

    def __init__(self, folder: Path) -> None:
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            self.tracks = [Track(**track) for track in index["tracks"]]
            self.sample_rate: int = index["sample_rate"]
            self.channels: int = index["channels"]
            self.sources: list[str] = index["sources"]
            self.fingerprint: str = index["fingerprint"]
            self.settings: dict[str, Any] = index["settings"]
        except (FileNotFoundError, NotADirectoryError):
            raise EnhanceError(
                f"{folder}: no prepared stems", "run `enhance prepare` with their recipe first"
            ) from None
        except KeyError:
            raise EnhanceError(f"{folder}: not a data set of stems", "prepare it again, or set data.kind") from None
        except (OSError, ValueError, TypeError):
            raise EnhanceError(f"{folder / INDEX}: cannot be read, or damaged", AGAIN) from None
        self.folder = folder
        signals = len(self.sources) * self.channels
        samples = max((track.offset + signals * track.frames for track in self.tracks), default=0)
        self.samples = opened(folder / STEMS, samples)

    def select(self, split: str) -> list[Track]:
        """The recordings of one split, in the order of the store."""
        return [track for track in self.tracks if track.split == split]

    def seconds(self, split: str) -> float:
        """Of audio of one split, of the mixtures."""
        return sum(track.frames for track in self.select(split)) / self.sample_rate

    def numbers(self, sources: Sequence[str]) -> list[int]:
        """Positions of sources in the store; EnhanceError for one that it does not have."""
        if missing := [name for name in sources if name not in self.sources]:
            what = f"{self.folder}: no source {missing[0]!r}"
            raise EnhanceError(what, f"it has {', '.join(self.sources)}; set data.sources and data.others")
        return [self.sources.index(name) for name in sources]

    def read(self, track: Track, source: int, start: int = 0, frames: int | None = None) -> np.ndarray:
        """Samples ``start`` to ``start + frames`` of a source as float32 ``(channels, time)``, full scale ±1."""
        stop = track.frames if frames is None else min(track.frames, start + frames)
        place = track.offset + source * track.frames * self.channels
        samples = self.samples[place + start * self.channels : place + stop * self.channels]
        return np.ascontiguousarray(samples.reshape(-1, self.channels).T, dtype=np.float32) / 32768


Labels = tuple[str, str]  # id, split


def write(
    folder: Path,
    tracks: Iterable[tuple[Labels, np.ndarray]],
    sources: Sequence[str],
    sample_rate: int,
    channels: int,
    settings: dict[str, Any],
) -> None:
    """Recordings (labels, and int16 ``(sources, channels, time)``) as a store into an empty folder.

    The fingerprint changes with any label or sample. ``settings`` are kept, to know by what it was made.
    """
    digest = hashlib.sha256(json.dumps(list(sources)).encode())
    offset, index = 0, []
    with (folder / STEMS).open("wb") as file:
        for (name, split), stems in tracks:
            entry = vars(Track(name, split, offset, stems.shape[-1]))
            index.append(entry)
            data = np.ascontiguousarray(stems.transpose(0, 2, 1), dtype="<i2")
            digest.update(json.dumps(entry).encode())
            digest.update(data.data)
            file.write(data.data)
            offset += data.size
        file.flush()
        os.fsync(file.fileno())
    about = {
        "sample_rate": sample_rate,
        "channels": channels,
        "sources": list(sources),
        "fingerprint": digest.hexdigest()[:16],
        "settings": settings,
        "tracks": index,
    }
    with replacing(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(about), encoding="utf-8")
