"""Shards: what was prepared comes back, each recording once a pass whoever reads, from a disk or over a network."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from voicebank_toys import serving

from enhance.data import shards as module
from enhance.data import stream
from enhance.data.dataset import new_loader
from enhance.data.manifest import scan_folder
from enhance.data.mixing import MixingConfig
from enhance.data.shards import ShardSet, build
from enhance.data.store import Store, decode
from enhance.data.stream import Blocks, ShardDataset
from enhance.errors import EnhanceError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores

RATE = 16000
FRAMES = 400  # samples of an example
SECONDS = FRAMES / RATE
CLEAN = MixingConfig.model_validate(
    {"clean": 1.0, "noise_only": 0.0, "reverb": 0.0, "equalise": 0.0, "band_limit": 0.0, "clip": 0.0, "codec": 0.0}
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Speech of ten speakers, whose recordings are one to three examples long, and noise; all of it random."""
    root, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    for number in range(30):
        path = root / "speech" / f"speaker{number % 10}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(FRAMES * (1 + number % 3)), RATE)
    (root / "noise").mkdir()
    for number in range(8):
        soundfile.write(root / "noise" / f"{number}.wav", 0.1 * rng.standard_normal(3000), RATE)
    return {kind: root / kind for kind in ("speech", "noise")}


def clips(folders: dict[str, Path]):
    return [clip for kind, folder in folders.items() for clip in scan_folder(folder, kind)]


def rooms():
    return [(f"room{number}", np.exp(-np.arange(50) / (5.0 + number))) for number in range(12)]


@pytest.fixture(scope="module")
def small(folders, tmp_path_factory) -> ShardSet:
    """Shards of six to ten examples."""
    place = tmp_path_factory.mktemp("shards") / "set"
    return build(place, clips(folders), rooms(), RATE, 1, shard_seconds=6 * SECONDS)


def test_every_recording_comes_back_with_its_labels(folders, small):
    expected = {
        (*clip.labels.values(), decode(clip.path, RATE).tobytes()) for clip in clips(folders)
    }  # of random sounds: no two are alike
    assert len(expected) == 38
    found = small.read([shard for shard in small.shards if shard.kind != "rir"])
    labels = ("kind", "source", "item", "language", "licence", "split")
    assert {
        (*(getattr(entry, name) for name in labels), found.audio[entry.start : entry.start + entry.frames].tobytes())
        for entry in found.entries
    } == expected
    assert len(found.entries) == 38
    assert [len(small.read(small.select("rir", split)).entries) for split in ("train", "valid")] == [11, 1]


def test_the_index_tells_what_the_shards_hold(small):
    for shard in small.shards:
        entries = small.read([shard]).entries
        assert {(entry.kind, entry.split) for entry in entries} == {(shard.kind, shard.split)}
        assert tuple(entry.frames for entry in entries) == shard.frames
    assert small.seconds("speech", "train") + small.seconds("speech", "valid") == pytest.approx(60 * SECONDS)
    assert len(small.select("speech", "train")) >= 5
    speakers = [
        {entry.item for entry in small.read(small.select("speech", split)).entries} for split in ("train", "valid")
    ]
    assert not speakers[0] & speakers[1]


def test_a_shard_is_a_webdataset(small):
    """Files of one key follow one another; FLAC and JSON."""
    with tarfile.open(Path(small.folder) / small.shards[0].name) as tar:
        names = tar.getnames()
        assert [name.rpartition(".")[2] for name in names] == ["flac", "json"] * (len(names) // 2)
        keys = [key for key, _ in itertools.groupby(name.partition(".")[0] for name in names)]
        assert len(keys) == len(set(keys)) == len(names) // 2
        file = tar.extractfile(names[0])
        assert file is not None
        assert soundfile.info(io.BytesIO(file.read())).subtype == "PCM_16"


def test_prepared_again_with_more_processes_it_is_the_same(folders, small, tmp_path):
    again = build(tmp_path / "set", clips(folders), rooms(), RATE, 2, shard_seconds=6 * SECONDS)
    assert again.fingerprint == small.fingerprint
    for path in Path(small.folder).iterdir():
        assert (tmp_path / "set" / path.name).read_bytes() == path.read_bytes()


def stretches(small: ShardSet) -> np.ndarray:
    """All stretches of the split train, with norm one; ``(stretch, time)``."""
    found = small.read(small.select("speech", "train"))
    waves = np.concatenate([found.read(entry).reshape(-1, FRAMES) for entry in found.entries])
    return waves / np.linalg.norm(waves, axis=1, keepdims=True)


def numbers(known: np.ndarray, waves: np.ndarray) -> list[int]:
    """Which stretch each of these examples ``(example, time)`` is, but for its level."""
    likeness = waves / np.linalg.norm(waves, axis=1, keepdims=True) @ known.T
    assert likeness.max(axis=1) == pytest.approx(np.ones(len(waves)), abs=1e-4)
    return likeness.argmax(axis=1).tolist()


@pytest.mark.parametrize("buffer", [1, 2])
def test_two_ranks_with_two_workers_read_everything_once_a_pass(small, monkeypatch, buffer):
    monkeypatch.setattr(stream, "BUFFER", buffer)
    blocks = Blocks(small, SECONDS, seed=5)
    size = len(small.select("speech", "train"))
    per_pass = {block: blocks.examples(block) for block in range(2 * size // buffer)}  # two passes, a whole number
    assert [sum(len(blocks.of("speech", block)) for block in per_pass), len(per_pass) > 4] == [2 * size, True]
    known = stretches(small)
    found: list[int] = []
    for rank in (0, 1):
        dataset = ShardDataset(small.folder, CLEAN, SECONDS, 5, 1, 0, rank, 2)
        shares = [sum(count for block, count in per_pass.items() if block % 4 == 2 * rank + w) for w in (0, 1)]
        batches = itertools.islice(new_loader(dataset, 1, 2), 2 * max(shares))
        for number, (mixture, target) in enumerate(batches):
            if number // 2 < shares[number % 2]:
                assert torch.equal(mixture, target)
                found += numbers(known, target.numpy())
    assert sorted(found) == sorted([*range(len(known))] * 2)


def test_a_pass_is_in_another_order_and_another_seed_too(small):
    one, other = Blocks(small, SECONDS, 1), Blocks(small, SECONDS, 2)
    size = len(small.select("speech", "train"))
    orders = [
        [plan._nth("speech", turn * size + n).name for n in range(size)] for plan in (one, other) for turn in (0, 1)
    ]
    assert len({tuple(order) for order in orders}) == 4
    assert len({tuple(sorted(order)) for order in orders}) == 1
    recordings = one.read(0)
    places = one.places(recordings, 0)
    assert [place.entry.start + place.start for place in places] != sorted(p.entry.start + p.start for p in places)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_loader_goes_on_as_if_it_had_not_stopped(small, monkeypatch, workers):
    """With mixtures, over the ends of blocks."""
    monkeypatch.setattr(stream, "BUFFER", 1)

    def batches(taken: int, count: int) -> list[torch.Tensor]:
        dataset = ShardDataset(small.folder, MixingConfig(codec=0.0), SECONDS, 3, 3, taken, 1, 2)  # pyright: ignore[reportCallIssue]
        return [torch.stack(pair) for pair in itertools.islice(new_loader(dataset, 3, workers), count)]

    whole = batches(0, 20)
    assert len({tuple(pair[0, 0, :5].tolist()) for pair in whole}) == 20
    for taken in (1, 6, 13):
        assert all(map(torch.equal, batches(taken, 20 - taken), whole[taken:]))


def test_nothing_reads_on_once_an_iteration_is_over(small, monkeypatch):
    """A worker process that is forked meanwhile would inherit the locks of the reading thread."""
    read, reading = Blocks.read, []

    def slow(self: Blocks, block: int):
        reading.append(block)
        time.sleep(0.3)
        reading.remove(block)
        return read(self, block)

    monkeypatch.setattr(Blocks, "read", slow)
    examples = ShardDataset(small.folder, CLEAN, SECONDS, 1, 1, 0).examples(0, 1, 0)
    next(examples)
    examples.close()
    assert reading == []


def test_long_recordings_are_heard_everywhere_and_short_ones_are_filled(folders, tmp_path):
    """With stretches of 1.5 recordings: what is too short goes on with the same speaker."""
    shards = build(tmp_path / "set", clips(folders), [], RATE, 1)
    blocks = Blocks(shards, 2.5 * SECONDS, 1)
    recordings = blocks.read(0)
    places = [place for block in range(40) for place in blocks.places(recordings, block)]
    starts = {place.start for place in places if place.entry.frames == 3 * FRAMES}
    assert min(starts) < 30
    assert max(starts) > FRAMES // 2 - 30
    assert {place.start for place in places if place.entry.frames < 3 * FRAMES} == {0}
    dataset = ShardDataset(shards.folder, CLEAN, 2.5 * SECONDS, 1, 4, 0)
    for mixture, _ in itertools.islice(dataset, 30):
        assert mixture.shape == (1000,)
        assert np.abs(mixture).min() < 1.0
        assert (mixture[:990].reshape(-1, 10) != 0).any(axis=1).all()


@pytest.fixture
def files(small) -> dict[str, bytes]:
    """The data set as a server has it."""
    return {f"far/away/{path.name}": path.read_bytes() for path in Path(small.folder).iterdir()}


def test_shards_are_read_over_http_also_where_it_breaks_off(small, files, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.01, 0.01))
    with serving(files) as server:
        address = f"{server.address}/far/away"
        assert ShardSet(address).fingerprint == small.fingerprint
        there, here = (ShardDataset(folder, CLEAN, SECONDS, 1, 2, 0) for folder in (address, small.folder))
        server.plan = ["well", "breaks", "503"]
        far, near = (list(itertools.islice(new_loader(data, 2, 1), 12)) for data in (there, here))
        assert all(torch.equal(a[0], b[0]) for a, b in zip(far, near, strict=True))
        assert server.plan == []
        with pytest.raises(EnhanceError, match="nowhere: no prepared data set"):
            ShardSet(f"{server.address}/nowhere")


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_shard_is_named(small, tmp_path, damage):
    shutil.copytree(small.folder, tmp_path / "set")
    shard = small.shards[0]
    path = tmp_path / "set" / shard.name
    path.write_bytes(path.read_bytes()[:-1] + b"x") if damage == "changed" else path.unlink()
    reason = {"changed": "not the file that was prepared", "gone": "no such file"}[damage]
    with pytest.raises(EnhanceError, match=rf"{shard.name}: cannot be read \({reason}\)"):
        ShardSet(tmp_path / "set").read([shard])


def test_what_is_missing_is_said(small, store, tmp_path):
    with pytest.raises(EnhanceError, match="no prepared data set: run `enhance prepare --shards`"):
        ShardSet(tmp_path)
    with pytest.raises(EnhanceError, match=r"prepared, but not as shards: set data\.kind"):
        ShardSet(store.folder)
    with pytest.raises(EnhanceError, match=r"prepared as something else: set data\.kind"):
        Store(Path(small.folder))
    with pytest.raises(EnhanceError, match="none of the interferers music"):
        ShardDataset(small.folder, MixingConfig.model_validate({"interferers": {"music": 1.0}}), SECONDS, 1, 1, 0)
    index = json.loads((Path(small.folder) / "index.json").read_text())
    index["shards"] = [shard for shard in index["shards"] if shard["kind"] != "speech"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(EnhanceError, match="no speech in split 'train'"):
        ShardDataset(str(tmp_path), CLEAN, SECONDS, 1, 1, 0)


def test_validation_draws_from_the_first_held_out_shards(small):
    held_out = small.held_out()
    assert {entry.split for entry in held_out.entries} == {"valid"}
    assert {entry.kind for entry in held_out.entries} == {"speech", "noise", "rir"}
    assert len(held_out.select("speech", "valid")) == len(small.select("speech", "valid")[0].frames)
