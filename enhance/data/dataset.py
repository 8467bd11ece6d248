"""Mixtures for the training loop: a PyTorch data set, and its loader."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from enhance.data.mixing import Example, Mixer, MixingConfig
from enhance.data.store import Store


class MixtureDataset(Dataset[Example]):
    """Example ``n`` is number ``n % per_epoch`` of epoch ``n // per_epoch``, without end."""

    def __init__(self, folder: Path, config: MixingConfig, seconds: float, seed: int, per_epoch: int) -> None:
        self.folder, self.config, self.seconds, self.seed, self.per_epoch = (
            folder,
            config,
            seconds,
            seed,
            per_epoch,
        )
        self._mixer: Mixer | None = None

    def __getitem__(self, number: int) -> Example:
        if self._mixer is None:  # opened in the worker process: a memory map is not to be copied into it
            store = Store(self.folder)
            frames = round(self.seconds * store.sample_rate)
            self._mixer = Mixer(store, "train", self.config, frames, self.seed)
        return self._mixer.example(*divmod(number, self.per_epoch))


class _Numbers(Sampler[int]):
    """The numbers of this process's share, from ``start``, without end."""

    def __init__(self, start: int, rank: int, world: int) -> None:
        self.start, self.rank, self.world = start, rank, world

    def __iter__(self) -> Iterator[int]:
        number = self.start + self.rank
        while True:
            yield number
            number += self.world


def loader(dataset: MixtureDataset, batch: int, workers: int, start: int, rank: int = 0, world: int = 1) -> DataLoader:
    """Batches ``(mixture, target)``, each ``(batch, time)`` float32, from example number ``start`` on."""
    return DataLoader(
        dataset,
        batch,
        sampler=_Numbers(start, rank, world),
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_begin,
    )


def _begin(_: int) -> None:
    """Start of a worker process: Ctrl-C and SIGTERM reach it too, but it is the training that decides to stop."""
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
