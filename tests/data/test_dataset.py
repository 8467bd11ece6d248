"""The loader of mixtures: what happens in its worker processes."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from kills import start

from enhance.data import mixing
from enhance.data.dataset import MixtureDataset, loader


@pytest.mark.slow
def test_a_worker_that_fails_ends_the_training(store, tmp_path):
    """With its own error, and without a process that waits for another for ever."""
    process = start(failing_loader, store.folder, tmp_path / "error")
    process.join(30)
    process.kill()  # which does nothing to one that is done
    assert (process.exitcode, (tmp_path / "error").read_text()) == (0, "ZeroDivisionError in a worker")


def failing_loader(folder: Path, said: Path) -> None:
    """In a process of its own: batches until a worker fails, and with what."""
    multiprocessing.set_start_method("fork", force=True)
    example = mixing.Mixer.example

    def failing(self: mixing.Mixer, epoch: int, index: int):
        if index > 3:
            raise ZeroDivisionError("in a worker")
        return example(self, epoch, index)

    mixing.Mixer.example = failing  # pyright: ignore[reportAttributeAccessIssue]
    try:
        for _ in loader(MixtureDataset(folder, mixing.MixingConfig(), 0.5, 1, 100), 2, 1, 0):
            pass
    except ZeroDivisionError as error:
        said.write_text("ZeroDivisionError in a worker" * ("in a worker" in str(error)))
