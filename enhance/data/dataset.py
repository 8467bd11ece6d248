"""Mixtures for the training loop: a PyTorch data set, and its loader."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from enhance.data.mixing import Example, Mixer, MixingConfig, new_mixer
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

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mixer": None}  # a memory map would be copied into the other process

    def __getitem__(self, number: int) -> Example:
        if self._mixer is None:
            store = Store(self.folder)
            frames = round(self.seconds * store.sample_rate)
            self._mixer = new_mixer(store, "train", self.config, frames, self.seed)
        return self._mixer.example(*divmod(number, self.per_epoch))


class _From(Sampler[int]):
    """Runs of ``length`` numbers, the first at ``start``, ``stride`` from one to the next, without end."""

    def __init__(self, start: int, length: int, stride: int) -> None:
        self.start, self.length, self.stride = start, length, stride

    def __iter__(self) -> Iterator[int]:
        for first in itertools.count(self.start, self.stride):
            yield from range(first, first + self.length)


def loader(dataset: Dataset[Example], batch: int, workers: int, start: int, stride: int | None = None) -> DataLoader:
    """Batches of mixtures ``(batch, time)`` and targets ``(batch, [sources,] time)``, from example ``start`` on.

    ``stride`` from the first example of one batch to that of the next: more than ``batch`` (which it is
    unless given) where others take what lies between.

    Raises EnhanceError if the data set cannot give such examples.
    """
    dataset[start]  # what is wrong shows here and not in a worker process
    return new_loader(dataset, batch, workers, _From(start, batch, stride or batch))


def new_loader(dataset: Dataset[Example], batch: int, workers: int, sampler: Sampler[int] | None = None) -> DataLoader:
    """Batches ``(mixture, target)`` of the examples that ``sampler`` names, or of those that the data set iterates."""
    return DataLoader(
        dataset,
        batch,
        sampler=sampler,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_begin,
        generator=torch.Generator(),  # else its start would draw from the one that the model draws from
    )


def _begin(_: int) -> None:
    """Start of a worker process: only the training stops it, whoever else is told to. Slurm tells all processes."""
    torch.set_num_threads(1)
    if hasattr(signal, "sigwaitinfo"):  # which says who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_until_the_parent_ends_it, daemon=True).start()
    if hasattr(os, "setsid"):
        os.setsid()


def _until_the_parent_ends_it() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
