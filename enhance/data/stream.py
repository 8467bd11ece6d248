"""Mixtures from shards: the recordings of a few are in memory at a time, those of each other few after them.

The shards of a kind come in passes, each in another random order. Of this sequence, as long as training goes on, a
block is ``BUFFER`` shards of speech and as many of noise, of music and of room responses. Blocks are dealt out to the
workers of all processes in turn, so that every shard is read once a pass by one of them. The speech of a block is cut
into stretches; each of them becomes one example, in a random order, with interferers drawn from the block.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from enhance.data.manifest import KINDS
from enhance.data.mixing import Example, MixingConfig, Place, drawable, new_mixer
from enhance.data.shards import Shard, ShardSet
from enhance.data.store import Recordings

BUFFER = 2  # shards of a kind in a block: an hour of speech; with the next one, 0.5 GB a worker


class Blocks:
    """What is in each block of a data set, and which examples that gives; known without reading audio."""

    def __init__(self, shards: ShardSet, seconds: float, seed: int) -> None:
        self.shards, self.seed = shards, seed
        self.frames = round(seconds * shards.sample_rate)
        self.kinds = {kind: found for kind in KINDS if (found := shards.select(kind, "train"))}

    def of(self, kind: str, block: int) -> list[Shard]:
        """The shards of that kind in a block."""
        size = min(BUFFER, len(self.kinds[kind]))
        return [self._nth(kind, place) for place in range(block * size, (block + 1) * size)]

    def _nth(self, kind: str, place: int) -> Shard:
        found = self.kinds[kind]
        turn, place = divmod(place, len(found))
        order = np.random.default_rng((self.seed, KINDS.index(kind), turn, 2)).permutation(len(found))
        return found[order[place]]

    def examples(self, block: int) -> int:
        """How many stretches of speech a block has: of each recording as many as fit, but at least one."""
        return sum(max(1, frames // self.frames) for shard in self.of("speech", block) for frames in shard.frames)

    def read(self, block: int) -> Recordings:
        """The recordings of a block, in memory."""
        return self.shards.read([shard for kind in self.kinds for shard in self.of(kind, block)])

    def places(self, recordings: Recordings, block: int) -> list[Place]:
        """Where the stretches of speech begin, in the order of the examples.

        Those of one recording are one after the other; where they do not fill it, they begin anywhere.
        """
        rng = np.random.default_rng((self.seed, block, 0, 3))  # a longer key than those of examples
        places = []
        for entry in recordings.select("speech", "train"):
            count = max(1, entry.frames // self.frames)
            first = int(rng.integers(max(1, entry.frames - count * self.frames + 1)))
            places += [Place(entry, first + number * self.frames) for number in range(count)]
        return [places[number] for number in rng.permutation(len(places))]


class ShardDataset(IterableDataset[Example]):
    """Examples without end for process ``process`` of ``processes``, after the ``taken`` batches that it had before.

    An example is made of seed, block and its number in the block. What a process gets depends on how many there are
    and on the number of workers: with the same ones, a run that is resumed goes on as if it had not stopped.
    """

    def __init__(
        self,
        folder: str,
        config: MixingConfig,
        seconds: float,
        seed: int,
        batch: int,
        taken: int,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        super().__init__()
        self.config, self.batch, self.taken, self.seed = config, batch, taken, seed
        self.process, self.processes = process, processes
        self.blocks = Blocks(ShardSet(folder), seconds, seed)
        drawable(config, self.blocks.kinds, "train", folder)  # what is missing shows here and not in a worker process

    def __iter__(self) -> Iterator[Example]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        turn = (worker + self.taken) % workers  # the loader takes a batch from each worker in turn, from the first on
        had = (self.taken - turn + workers - 1) // workers
        return self.examples(self.process * workers + turn, self.processes * workers, had * self.batch)

    def examples(self, reader: int, readers: int, skip: int) -> Iterator[Example]:
        """What reader number ``reader`` gives, after its first ``skip`` examples."""
        block = reader
        while skip >= (count := self.blocks.examples(block)):
            skip, block = skip - count, block + readers
        thread = ThreadPoolExecutor(1)  # which reads the next block while this one is mixed
        try:
            upcoming = thread.submit(self.blocks.read, block)
            for number in itertools.count(block, readers):
                recordings = upcoming.result()
                upcoming = thread.submit(self.blocks.read, number + readers)
                mixer = new_mixer(recordings, "train", self.config, self.blocks.frames, self.seed)
                places = self.blocks.places(recordings, number)
                for index in range(skip, len(places)):
                    yield mixer.example(number, index, places[index])
                skip = 0
        finally:  # a process that is forked while soundfile reads would inherit its lock, locked for ever
            thread.shutdown(wait=True, cancel_futures=True)
