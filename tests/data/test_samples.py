"""Stores that were not copied whole: one line when they open, and no training on what is not there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from enhance.data import pair_store, stem_store, store
from enhance.data.pair_store import PairStore
from enhance.data.samples import opened
from enhance.data.shards import ShardSet, build
from enhance.data.stem_store import StemStore
from enhance.data.store import Store
from enhance.errors import EnhanceError

Open = Callable[[Path], object]
OPEN: dict[str, Open] = {"mixtures": Store, "pairs": PairStore, "stems": StemStore}


@pytest.fixture
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Open]:
    """A store of that kind, and what opens it."""
    kind, folder, waves = request.param, tmp_path / "whole", np.ones((2, 100), np.int16)
    if kind == "mixtures":
        shutil.copytree(Path(request.getfixturevalue("store").folder), folder)
    else:
        folder.mkdir()
    if kind == "pairs":
        labels = {"id": "p_1", "speaker": "p", "split": "train", "noise": "", "snr": ""}
        pair_store.write(folder, [(labels, *waves), ({**labels, "id": "p_2"}, *waves)], 16000, {})
    if kind == "stems":
        stem_store.write(folder, [((name, "train"), waves[:, None]) for name in "ab"], ["x", "y"], 16000, 1, {})
    OPEN[kind](folder)
    return folder, OPEN[kind]


FILES = {
    "mixtures": [store.AUDIO],
    "pairs": [pair_store.MIXTURE, pair_store.TARGET],
    "stems": [stem_store.STEMS],
}


@pytest.mark.parametrize(
    ("whole", "name"), [(kind, name) for kind, names in FILES.items() for name in names], indirect=["whole"]
)
def test_a_file_that_was_cut_or_lost_is_one_line(whole: tuple[Path, Open], name: str):
    folder, open_it = whole
    data = (folder / name).read_bytes()
    for damaged in (data[:-2], data[: len(data) // 2], b"", data + b"xx"):
        (folder / name).write_bytes(damaged)
        with pytest.raises(EnhanceError) as caught:
            open_it(folder)
        sizes = f"{len(damaged):,} bytes of {len(data):,}"
        assert str(caught.value) == f"{folder / name}: incomplete ({sizes}): copy or prepare it again"
    (folder / name).unlink()
    with pytest.raises(EnhanceError, match=rf"{name}: incomplete \(No such file or directory\): copy or prepare"):
        open_it(folder)


@pytest.mark.parametrize("whole", OPEN, indirect=True)
def test_an_index_that_was_cut_is_one_line(whole: tuple[Path, Open]):
    folder, open_it = whole
    text = (folder / store.INDEX).read_text(encoding="utf-8")
    for damaged in (text[: len(text) // 2], "", "[]"):
        (folder / store.INDEX).write_text(damaged, encoding="utf-8")
        with pytest.raises(EnhanceError, match=r"index\.json: cannot be read, or damaged: copy or prepare it again"):
            open_it(folder)
    (folder / store.INDEX).unlink()
    (folder / store.INDEX).mkdir()
    with pytest.raises(EnhanceError, match=r"index\.json: cannot be read, or damaged"):
        open_it(folder)


def test_an_index_of_shards_that_was_cut_is_one_line(tmp_path: Path):
    build(tmp_path / "shards", [], [("room", np.ones(10))], 16000, jobs=1)
    path = tmp_path / "shards" / store.INDEX
    path.write_text(path.read_text(encoding="utf-8")[:-10], encoding="utf-8")
    with pytest.raises(EnhanceError, match=r"index\.json: damaged: copy or prepare it again"):
        ShardSet(tmp_path / "shards")


def test_a_file_of_nothing_can_be_opened(tmp_path: Path):
    (tmp_path / "audio.i16").touch()
    assert opened(tmp_path / "audio.i16", 0).shape == (0,)
