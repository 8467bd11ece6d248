"""Examples for training from prepared pairs, with the noise of their own clip or of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from enhance.data.mixing import Example
from enhance.data.pair_store import Pair, PairStore
from enhance.errors import EnhanceError

SEED = 20190224  # of the validation list; changing it makes scores incomparable


class PairDataset(Dataset[Example]):
    """Example ``n`` is number ``n % per_epoch`` of epoch ``n // per_epoch``, without end.

    The examples of an epoch go through the clips of the split ``train`` in a random order, and through them
    again in another one where there are fewer clips than examples. Each is a random crop of ``seconds``, with
    zeros after the end of a shorter clip. With probability ``remix`` its noise is that of another clip, as loud
    as it is there. All of that is drawn from (seed, epoch, number).
    """

    def __init__(self, path: Path, seconds: float, seed: int, per_epoch: int, remix: float = 0.0) -> None:
        self.path, self.seconds, self.seed, self.per_epoch, self.remix = path, seconds, seed, per_epoch, remix
        self._store: PairStore | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None}  # a memory map would be copied into the other process

    def __getitem__(self, number: int) -> Example:
        return self.example(*divmod(number, self.per_epoch))

    def example(self, epoch: int, index: int) -> Example:
        """The example of that key: mixture and target, float32 ``(time,)``.

        EnhanceError if there is no such data set, or nothing in it to train on.
        """
        store = self._opened()
        frames = round(self.seconds * store.sample_rate)
        position = self._order(epoch, index // len(self._pairs))[index % len(self._pairs)]
        rng = np.random.default_rng((self.seed, epoch, index))
        mixture, target = self._crop(self._pairs[position], frames, rng)
        if rng.random() < self.remix:
            other = (position + rng.integers(1, max(2, len(self._pairs)))) % len(self._pairs)
            noisy, clean = self._crop(self._pairs[other], len(target), rng)
            mixture = target + np.resize(noisy - clean, len(target))  # a shorter noise is repeated
        missing = (0, frames - len(target))
        return Example(np.pad(mixture, missing), np.pad(target, missing))

    def _opened(self) -> PairStore:
        if self._store is None:
            self._store = PairStore(self.path)
            self._pairs = self._store.select("train")
            self._orders: dict[tuple[int, int], np.ndarray] = {}
            if not self._pairs:
                raise EnhanceError(f"{self.path}: no pairs in split 'train'", "prepare it with more speakers")
        return self._store

    def _order(self, epoch: int, turn: int) -> np.ndarray:
        """The clips' order in that turn of that epoch."""
        if (epoch, turn) not in self._orders:
            rng = np.random.default_rng((self.seed, epoch, turn, 1))  # a longer key than those of examples
            self._orders = {(epoch, turn): rng.permutation(len(self._pairs))}
        return self._orders[epoch, turn]

    def _crop(self, pair: Pair, frames: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        assert self._store is not None
        start = int(rng.integers(max(1, pair.frames - frames + 1)))
        return self._store.read(pair, start, frames)


def valid_examples(store: PairStore, clips: int, seconds: float) -> dict[str, list[Example]]:
    """The fixed list for validation: that many clips of the split ``valid``, at most ``seconds`` from their middle.

    Always the same ones, a longer list beginning with the shorter one; all of them if there are fewer.
    EnhanceError if there are none.
    """
    pairs = store.select("valid")
    if not pairs:
        raise EnhanceError(f"{store.folder}: no pairs in split 'valid'", "prepare it with more speakers")
    frames = round(seconds * store.sample_rate)
    drawn = [pairs[number] for number in np.random.default_rng(SEED).permutation(len(pairs))[:clips]]
    return {"voicebank": [Example(*store.read(pair, max(0, (pair.frames - frames) // 2), frames)) for pair in drawn]}
