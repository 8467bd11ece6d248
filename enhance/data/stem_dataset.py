"""Examples for training from prepared stems, as they are or remixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from enhance.data.augment import decibels_to_gain
from enhance.data.mixing import Example
from enhance.data.stem_store import StemStore, Track
from enhance.errors import EnhanceError

SEED = 20190224  # of the validation list; changing it makes scores incomparable


@dataclass(frozen=True)
class StemConfig:
    """Which sources are targets, which others are in the mixture, and how they vary."""

    sources: Sequence[str]
    others: Sequence[str] = ()
    remix: float = 0.0  # share of examples whose sources come from recordings of their own
    gain_db: tuple[float, float] = (0.0, 0.0)  # of each source, uniform
    swap: float = 0.0  # how often the channels of a source are exchanged

    @property
    def heard(self) -> list[str]:
        """What is in the mixture, the targets first."""
        return [*self.sources, *self.others]


class StemDataset(Dataset[Example]):
    """Example ``n`` is number ``n % per_epoch`` of epoch ``n // per_epoch``, without end.

    The examples of an epoch go through the recordings of the split ``train`` in a random order, and again in another
    one where there are fewer of them. Each is a random crop of ``seconds``, with zeros after the end of a shorter
    recording. Where it is remixed, every source comes from anywhere in any recording. After gain and exchanged
    channels, which every source has of its own, the mixture is their sum. All is drawn from (seed, epoch, number).
    """

    def __init__(self, path: Path, config: StemConfig, seconds: float, seed: int, per_epoch: int) -> None:
        self.path, self.config, self.seconds, self.seed, self.per_epoch = path, config, seconds, seed, per_epoch
        self._store: StemStore | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None}  # a memory map would be copied into the other process

    def __getitem__(self, number: int) -> Example:
        return self.example(*divmod(number, self.per_epoch))

    def example(self, epoch: int, index: int) -> Example:
        """The example of that key: mixture ``(channels, time)``, targets ``(sources, channels, time)``, float32.

        EnhanceError if there is no such data set, or nothing in it to train on.
        """
        store, config = self._opened(), self.config
        frames = round(self.seconds * store.sample_rate)
        track = self._tracks[self._order(epoch, index // len(self._tracks))[index % len(self._tracks)]]
        rng = np.random.default_rng((self.seed, epoch, index))
        remixed = rng.random() < config.remix
        start = _start(track, frames, rng)
        signals = np.zeros((len(self._numbers), store.channels, frames), np.float32)
        for signal, number in zip(signals, self._numbers, strict=True):
            if remixed:
                track = self._tracks[rng.integers(len(self._tracks))]
                start = _start(track, frames, rng)
            wave = store.read(track, number, start, frames)
            if rng.random() < config.swap:
                wave = wave[::-1]
            signal[:, : wave.shape[1]] = wave * decibels_to_gain(rng.uniform(*config.gain_db))
        return Example(signals.sum(0), signals[: len(config.sources)])

    def _opened(self) -> StemStore:
        if self._store is None:
            store = StemStore(self.path)
            self._numbers = store.numbers(self.config.heard)
            self._tracks = store.select("train")
            self._orders: dict[tuple[int, int], np.ndarray] = {}
            if not self._tracks:
                raise EnhanceError(f"{self.path}: no recordings in split 'train'", "prepare it with more of them")
            self._store = store
        return self._store

    def _order(self, epoch: int, turn: int) -> np.ndarray:
        """The recordings' order in that turn of that epoch."""
        if (epoch, turn) not in self._orders:
            rng = np.random.default_rng((self.seed, epoch, turn, 1))  # a longer key than those of examples
            self._orders = {(epoch, turn): rng.permutation(len(self._tracks))}
        return self._orders[epoch, turn]


def _start(track: Track, frames: int, rng: np.random.Generator) -> int:
    return int(rng.integers(max(1, track.frames - frames + 1)))


def valid_examples(store: StemStore, config: StemConfig, clips: int, seconds: float) -> dict[str, list[Example]]:
    """The fixed list for validation: ``clips`` crops of the split ``valid``, as recorded, of at most ``seconds``.

    Its one kind is named by the targets, joined by ``+``. Recordings in a random order give one crop each, from
    anywhere but the same at every call; then, if more are wanted, the next one. EnhanceError if there are none.
    """
    tracks = store.select("valid")
    if not tracks:
        raise EnhanceError(f"{store.folder}: no recordings in split 'valid'", "prepare it with more of them")
    numbers, frames = store.numbers(config.heard), round(seconds * store.sample_rate)
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(tracks))
    found = []
    for clip in range(clips):
        track = tracks[order[clip % len(tracks)]]
        start = _start(track, frames, rng)
        signals = np.stack([store.read(track, number, start, frames) for number in numbers])
        found.append(Example(signals.sum(0), signals[: len(config.sources)]))
    return {"+".join(config.sources): found}
