"""MUSAN and the DNS-Challenge's trees in miniature: downloaded or taken as they are, split by speaker and recording."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from signals import voice
from voicebank_toys import serving

from enhance.data.data_recipe import MixRecipe, read
from enhance.data.prepare import find_trees
from enhance.data.shards import ShardSet
from enhance.data.store import Store
from enhance.errors import EnhanceError
from enhance.models.checkpoint import read_header
from enhance.training import recipe as recipes

Cli = Callable[..., Any]
RECIPE = Path(__file__).parents[2] / "recipes" / "musan-mix"

MUSAN = [
    *(f"musan/speech/librivox/speech-librivox-{n:04d}.wav" for n in range(8)),
    *(f"musan/speech/us-gov/speech-us-gov-{n:04d}.wav" for n in range(3)),
    *(f"musan/noise/free-sound/noise-free-sound-{n:04d}.wav" for n in range(6)),
    *(f"musan/noise/sound-bible/noise-sound-bible-{n:04d}.wav" for n in range(2)),
    *(f"musan/music/{kind}/music-{kind}-{n:04d}.wav" for kind in ("fma", "rfm") for n in range(4)),
]
DNS = [
    *(f"datasets/clean/read_speech/book_{n:05d}_chp_0001_reader_{n % 6:05d}_{n}.wav" for n in range(18)),
    *(f"datasets/clean/french_speech/fr_FR/female/ezwa/book{n}/wavs/a.wav" for n in range(3)),
    *(f"datasets/clean/emotional_speech/crema_d/{n}.wav" for n in range(3)),
    *(f"datasets/noise/{name}.wav" for name in ("door", "-1CuwKBPQTM", "amMeH4u6AO4")),
    *(f"datasets/impulse_responses/SLR26/simulated_rirs_16k/smallroom/Room{n:03d}/Room{n:03d}-{m:05d}.wav"
      for n in range(6) for m in range(2)),
    "datasets/impulse_responses/SLR28/RIRS_NOISES/real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_near_a.wav",
    "datasets/impulse_responses/SLR28/RIRS_NOISES/real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav",
    "datasets/test_set/synthetic/no_reverb/clean/clean_fileid_0.wav",
    "datasets/test_set/synthetic/no_reverb/noisy/noisy_snr5_fileid_0.wav",
]  # fmt: skip
SYNTHESISED = [f"mine/{kind}/{kind}_fileid_{n}.wav" for kind in ("clean", "noise", "noisy") for n in range(5)]


def write(root: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        wave = voice(0.3, number) if "clean" in name or "speech" in name else np.full(2000, 0.01 * (1 + number % 40))
        soundfile.write(root / name, wave, 16000)
    return root


@pytest.fixture(scope="module")
def musan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write(tmp_path_factory.mktemp("musan"), MUSAN)
    (root / "musan" / "README").write_text("109 hours")
    return root


@pytest.fixture(scope="module")
def archive(musan: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(musan / "musan", "musan")
    return file.getvalue()


@pytest.fixture
def small(archive: bytes, tmp_path: Path) -> Path:
    """The recipe as it is, but for the archive and the rooms."""
    folder = tmp_path / "musan-mix"
    shutil.copytree(RECIPE, folder)
    text = (folder / "data.toml").read_text(encoding="utf-8")
    for key, value in {"md5": f'"{hashlib.md5(archive).hexdigest()}"', "size": len(archive), "rooms": 0}.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert count == 1
    (folder / "data.toml").write_text(text, encoding="utf-8")
    return folder


def items(store: Store, kind: str, split: str) -> set[str]:
    return {entry.item for entry in store.select(kind, split)}


def test_musan_is_downloaded_unpacked_and_split_by_recording(cli: Cli, small, archive, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({"musan.tar.gz": archive}) as server:
        server.plan = ["breaks"]
        monkeypatch.setattr("enhance.data.download.PAUSE", 0.01)
        arguments = ("prepare", small, "--data", tmp_path / "data", "--mirror", server.address, "--jobs", 1)
        run = cli(*arguments)
        assert (run.code, run.out) == (0, ""), run.err
        assert "musan.tar.gz: broke off after" in run.err
        assert len(server.requests) == 2
        store = Store(tmp_path / "data" / "store")
        assert len(store.entries) == len(MUSAN)
        for kind, count in {"speech": 11, "noise": 8, "music": 8}.items():
            held_out, kept = items(store, kind, "valid"), items(store, kind, "train")
            assert held_out
            assert not held_out & kept
            assert len(held_out | kept) == count
        assert {(entry.source, entry.licence) for entry in store.entries} == {("musan", "CC BY 4.0")}
        assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["archives", "store"]
        again = cli(*arguments)
        assert (again.code, len(server.requests)) == (0, 2)
        assert again.err.splitlines()[-1] == run.err.splitlines()[-1]  # the fingerprint
    assert cli(*arguments, "--shards").code == 0  # from the archive that is there
    shards = ShardSet(tmp_path / "data" / "shards")
    assert shards.seconds("music", "train") == pytest.approx(store.seconds("music", "train"))


def test_folders_are_taken_as_they_are_and_no_test_set_with_them(cli: Cli, small, musan, tmp_path):
    dns = write(tmp_path / "DNS", DNS)
    run = cli("prepare", small, "--data", tmp_path / "data", "--from", musan, "--from", dns, "--jobs", 1)
    assert run.code == 0, run.err
    store = Store(tmp_path / "data" / "store")
    assert not (tmp_path / "data" / "archives").exists()
    found = {kind: [entry for entry in store.entries if (entry.source, entry.kind) == ("dns", kind)]
             for kind in ("speech", "noise", "music", "rir")}  # fmt: skip
    assert {kind: len(entries) for kind, entries in found.items()} == {"speech": 24, "noise": 3, "music": 0, "rir": 13}
    readers = {f"{number:05d}" for number in range(6)}
    assert {entry.item for entry in found["speech"]} == {*readers, "ezwa", "emotional_speech/crema_d"}
    assert {entry.item for entry in found["noise"]} == {"door.wav", "-1CuwKBPQTM.wav", "amMeH4u6AO4.wav"}
    assert len({entry.item for entry in found["rir"]}) == 7  # rooms
    for kind in ("speech", "rir"):
        assert not items(store, kind, "valid") & items(store, kind, "train")
        assert items(store, kind, "valid")


def test_what_the_synthesiser_writes_is_taken_without_its_mixtures(small, musan, tmp_path):
    recipe = read(small)
    assert isinstance(recipe, MixRecipe)
    place = write(tmp_path / "made", SYNTHESISED)
    found = {(tree.source, tree.kind, folder.name) for tree, folder in find_trees(recipe, [place, musan / "musan"])}
    expected = {("musan", kind, kind) for kind in ("speech", "noise", "music")}
    assert found == expected | {("dns", "speech", "clean"), ("dns", "noise", "noise")}


def test_nothing_to_prepare_is_one_line(cli: Cli, small, tmp_path):
    (tmp_path / "empty").mkdir()
    run = cli("prepare", small, "--data", tmp_path / "data", "--from", tmp_path / "empty")
    assert run.code == 2
    assert "none of the folders musan/speech, musan/noise" in run.err
    assert run.err.count("\n") == 1
    write(tmp_path / "half", ["musan/noise/free-sound/a.wav"])
    run = cli("prepare", small, "--data", tmp_path / "data", "--from", tmp_path / "half")
    assert run.code == 2
    assert "no speech" in run.err
    assert not (tmp_path / "data" / "store").exists()


def test_the_recipes_are_valid_and_mistakes_are_named(tmp_path):
    data = read(RECIPE)
    assert isinstance(data, MixRecipe)
    assert (data.archives[0].size, data.archives[0].md5) == (11086114085, "0c472d4fc0c5141eca47ad1ffeb2a7df")
    store, shards = (recipes.read(RECIPE / name, []) for name in ("default.toml", "shards.toml"))
    assert (store.data.kind, shards.data.kind) == ("mixtures", "shards")
    assert store.optim == shards.optim == recipes.read(RECIPE.parent / "open-speech", []).optim
    far = recipes.read(RECIPE / "shards.toml", ["data.path=s3://bucket/musan-mix/shards"])
    assert far.data.path == "s3://bucket/musan-mix/shards"
    text = '[[trees]]\nsource = "a"\nkind = "sound"\nfolders = []\nitem = "("\n'
    (tmp_path / "data.toml").write_text(f'name = "a"\nsample_rate = 0\n{text}')
    with pytest.raises(EnhanceError, match=r"4 mistake.*sample_rate.*kind.*folders.*not a regular expression"):
        read(tmp_path)


def test_a_separator_is_trained_on_the_three_classes_of_musan(cli: Cli, musan, tmp_path):
    """recipes/musan-separation, end to end: hearings in halls are left out, and every class is a target."""
    folder = tmp_path / "musan-separation"
    shutil.copytree(RECIPE.parent / "musan-separation", folder)
    shutil.copytree(RECIPE.parent / "open-speech", tmp_path / "open-speech")
    text = (folder / "data.toml").read_text(encoding="utf-8")
    (folder / "data.toml").write_text(text.replace("rooms = 300", "rooms = 0"), encoding="utf-8")
    data = tmp_path / "data"
    assert cli("prepare", folder, "--data", data, "--from", musan, "--jobs", 1).code == 0
    store = Store(data / "store")
    counts = {kind: sum(entry.kind == kind for entry in store.entries) for kind in ("speech", "music", "noise")}
    assert counts == {"speech": 8, "music": 8, "noise": 8}
    changes = {"data.path": store.folder, "data.seconds": 0.5, "data.workers": 0, "optim.steps": 2, "optim.batch": 2,
               "valid.clips": 1, "valid.seconds": 1, "run.compile": "false"}  # fmt: skip
    options = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    run = cli("train", folder, "-o", tmp_path / "run", *options)
    assert run.code == 0, run.err
    header = read_header(tmp_path / "run" / "best.safetensors")
    assert (header["sources"], header["arguments"]["consistent"]) == (["speech", "music", "noise"], True)


def test_shards_of_pairs_are_refused(cli: Cli, tmp_path):
    run = cli("prepare", RECIPE.parent / "voicebank", "--data", tmp_path, "--shards")
    assert run.code == 2
    assert "is of pairs: shards are for recordings" in run.err
