"""Prepared pairs: mixtures and targets in two files of 16-bit samples, read through memory maps."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enhance.data.samples import AGAIN, opened
from enhance.errors import EnhanceError
from enhance.files import replacing

MIXTURE, TARGET, INDEX = "mixture.i16", "target.i16", "index.json"
SPLITS = ("train", "valid")


@dataclass(frozen=True)
class Pair:
    """Where a pair lies in both files, in samples, and what is known of it."""

    id: str
    speaker: str
    split: str
    offset: int
    frames: int
    noise: str = ""
    snr: str = ""  # dB, as its source writes it


class PairStore:
    """A prepared data set of pairs; EnhanceError if ``folder`` is not a whole one. Cheap to open in every worker."""

    def __init__(self, folder: Path) -> None:
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            self.pairs = [Pair(**pair) for pair in index["pairs"]]
            self.sample_rate: int = index["sample_rate"]
            self.fingerprint: str = index["fingerprint"]
            self.settings: dict[str, Any] = index["settings"]
        except (FileNotFoundError, NotADirectoryError):
            raise EnhanceError(
                f"{folder}: no prepared pairs", "run `enhance prepare` with their recipe first"
            ) from None
        except KeyError:
            raise EnhanceError(f"{folder}: not a data set of pairs", "prepare it again, or set data.kind") from None
        except (OSError, ValueError, TypeError):
            raise EnhanceError(f"{folder / INDEX}: cannot be read, or damaged", AGAIN) from None
        self.folder = folder
        samples = max((pair.offset + pair.frames for pair in self.pairs), default=0)
        self.mixtures, self.targets = (opened(folder / name, samples) for name in (MIXTURE, TARGET))

    def select(self, split: str) -> list[Pair]:
        """The pairs of one split, in the order of the store."""
        return [pair for pair in self.pairs if pair.split == split]

    def lengths(self, split: str) -> np.ndarray:
        """Samples of each pair of :meth:`select`, int64."""
        return np.array([pair.frames for pair in self.select(split)], dtype=np.int64)

    def read(self, pair: Pair, start: int = 0, frames: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Samples ``start`` to ``start + frames`` of mixture and target as float32 ``(time,)``, full scale ±1."""
        stop = pair.frames if frames is None else min(pair.frames, start + frames)
        place = slice(pair.offset + start, pair.offset + stop)
        return _floats(self.mixtures[place]), _floats(self.targets[place])


def _floats(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.float32) / 32768


Labels = dict[str, str]  # id, speaker, split, noise, snr


def write(
    folder: Path,
    pairs: Iterable[tuple[Labels, np.ndarray, np.ndarray]],
    sample_rate: int,
    settings: dict[str, Any],
) -> None:
    """Pairs (labels, mixture and target as int16 ``(time,)`` of one length) as a store into an empty folder.

    The fingerprint changes with any label or sample. ``settings`` are kept, to know by what it was made.
    """
    digest = hashlib.sha256()
    offset, index = 0, []
    with (folder / MIXTURE).open("wb") as mixtures, (folder / TARGET).open("wb") as targets:
        for labels, mixture, target in pairs:
            entry = vars(Pair(**labels, offset=offset, frames=len(mixture)))
            index.append(entry)
            digest.update(json.dumps(entry).encode())
            for file, samples in ((mixtures, mixture), (targets, target)):
                data = samples.astype("<i2").tobytes()
                digest.update(data)
                file.write(data)
            offset += len(mixture)
        for file in (mixtures, targets):
            file.flush()
            os.fsync(file.fileno())
    about = {
        "sample_rate": sample_rate,
        "fingerprint": digest.hexdigest()[:16],
        "settings": settings,
        "pairs": index,
    }
    with replacing(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(about), encoding="utf-8")
