"""Examples for training from prepared stems, as they are or remixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from enhance.data.augment import decibels_to_gain
from enhance.data.mixing import Example
from enhance.data.stem_labels import Stem
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
    relabelled: Mapping[Stem, str | None] = field(default_factory=dict)  # what stems really are; None: left out

    @property
    def heard(self) -> list[str]:
        """What is in the mixture, the targets first."""
        return [*self.sources, *self.others]


class Arrangement:
    """The stems of one split under the names of what they are: whole recordings, and all stems of each source."""

    def __init__(self, store: StemStore, config: StemConfig, split: str) -> None:
        store.numbers(config.heard)
        self.store = store
        self.whole: list[tuple[Track, list[list[int]]]] = []  # without any that is left out: by source, its stems
        self.pools: list[list[tuple[Track, int]]] = [[] for _ in config.heard]
        for track in store.select(split):
            names = [config.relabelled.get((track.id, source), source) for source in store.sources]
            stems = [[number for number, name in enumerate(names) if name == source] for source in config.heard]
            for pool, numbers in zip(self.pools, stems, strict=True):
                pool += [(track, number) for number in numbers]
            if None not in names:
                self.whole.append((track, stems))


class StemDataset(Dataset[Example]):
    """Example ``n`` is number ``n % per_epoch`` of epoch ``n // per_epoch``, without end.

    The examples of an epoch go through the recordings of the split ``train`` in a random order, and again in another
    one where there are fewer of them. Each is a random crop of ``seconds``, with zeros after the end of a shorter
    recording. Where it is remixed, every source comes from anywhere in any recording. After gain and exchanged
    channels, which every source has of its own, the mixture is their sum. All is drawn from (seed, epoch, number).
    Recordings of which a stem is left out serve where it is remixed.
    """

    def __init__(self, path: Path, config: StemConfig, seconds: float, seed: int, per_epoch: int) -> None:
        self.path, self.config, self.seconds, self.seed, self.per_epoch = path, config, seconds, seed, per_epoch
        self._arrangement: Arrangement | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrangement": None}  # a memory map would be copied into the other process

    def __getitem__(self, number: int) -> Example:
        return self.example(*divmod(number, self.per_epoch))

    def example(self, epoch: int, index: int) -> Example:
        """The example of that key: mixture ``(channels, time)``, targets ``(sources, channels, time)``, float32.

        EnhanceError if there is no such data set, or nothing in it to train on.
        """
        arrangement, config = self._opened(), self.config
        store, whole = arrangement.store, arrangement.whole
        frames = round(self.seconds * store.sample_rate)
        rng = np.random.default_rng((self.seed, epoch, index))
        if rng.random() < config.remix or not whole:
            drawn = [pool[rng.integers(len(pool))] for pool in arrangement.pools]
            parts = [[(track, number, _start(track, frames, rng))] for track, number in drawn]
        else:
            track, stems = whole[self._order(epoch, index // len(whole))[index % len(whole)]]
            start = _start(track, frames, rng)
            parts = [[(track, number, start) for number in numbers] for numbers in stems]
        signals = np.zeros((len(parts), store.channels, frames), np.float32)
        for signal, stems_of_it in zip(signals, parts, strict=True):
            for track, number, start in stems_of_it:
                wave = store.read(track, number, start, frames)
                if rng.random() < config.swap:
                    wave = wave[::-1]
                signal[:, : wave.shape[1]] += wave * decibels_to_gain(rng.uniform(*config.gain_db))
        return Example(signals.sum(0), signals[: len(config.sources)])

    def _opened(self) -> Arrangement:
        if self._arrangement is None:
            arrangement = Arrangement(StemStore(self.path), self.config, "train")
            for source, pool in zip(self.config.heard, arrangement.pools, strict=True):
                if not pool:
                    what = f"{self.path}: no stem of {source} in split 'train'"
                    raise EnhanceError(what, "prepare it with more recordings, or refine less")
            self._orders: dict[tuple[int, int], np.ndarray] = {}
            self._arrangement = arrangement
        return self._arrangement

    def _order(self, epoch: int, turn: int) -> np.ndarray:
        """The recordings' order in that turn of that epoch."""
        if (epoch, turn) not in self._orders:
            rng = np.random.default_rng((self.seed, epoch, turn, 1))  # a longer key than those of examples
            self._orders = {(epoch, turn): rng.permutation(len(self._opened().whole))}
        return self._orders[epoch, turn]


def _start(track: Track, frames: int, rng: np.random.Generator) -> int:
    return int(rng.integers(max(1, track.frames - frames + 1)))


def valid_examples(store: StemStore, config: StemConfig, clips: int, seconds: float) -> dict[str, list[Example]]:
    """The fixed list for validation: ``clips`` crops of the split ``valid``, as recorded, of at most ``seconds``.

    Stems that are left out or relabelled are so here too, or a wrong label would count against who is right.

    Its one kind is named by the targets, joined by ``+``. Recordings in a random order give one crop each, from
    anywhere but the same at every call; then, if more are wanted, the next one. EnhanceError if there are none.
    """
    whole = Arrangement(store, config, "valid").whole
    if not whole:
        raise EnhanceError(f"{store.folder}: no recordings in split 'valid'", "prepare it with more of them")
    frames, rng = round(seconds * store.sample_rate), np.random.default_rng(SEED)
    order = rng.permutation(len(whole))
    found = []
    for clip in range(clips):
        track, stems = whole[order[clip % len(whole)]]
        start = _start(track, frames, rng)
        signals = np.zeros((len(stems), store.channels, min(frames, track.frames)), np.float32)
        for signal, numbers in zip(signals, stems, strict=True):
            for number in numbers:
                signal += store.read(track, number, start, frames)
        found.append(Example(signals.sum(0), signals[: len(config.sources)]))
    return {"+".join(config.sources): found}
