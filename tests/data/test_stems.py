"""Stems: what is found in the layouts, what is kept of it, and the examples that are made of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import librimix_toys
import musdb
import numpy as np
import pytest
import song_toys
import soundfile
import yaml
from pydantic import ValidationError

from enhance.data import data_recipe, stems
from enhance.data.data_recipe import StemRecipe
from enhance.data.stem_dataset import StemConfig, StemDataset, valid_examples
from enhance.data.stem_store import StemStore
from enhance.errors import EnhanceError

RECIPES = Path(__file__).parents[2] / "recipes"
STEMS = song_toys.STEMS


def recipe(name: str, **changes) -> StemRecipe:
    """The ``data.toml`` of that recipe, with changes."""
    found = data_recipe.read(RECIPES / name)
    assert isinstance(found, StemRecipe)
    return StemRecipe.model_validate(found.model_dump() | changes)


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return song_toys.write_musdb(tmp_path_factory.mktemp("songs"))


@pytest.fixture(scope="module")
def prepared(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The songs, one held out."""
    data = tmp_path_factory.mktemp("prepared")
    stems.prepare(stems.Job(recipe("musdb", valid=["Bo - Rain"]), data, songs))
    return data


# What is found and kept


def test_talkers_keep_their_bits(tmp_path):
    source = librimix_toys.write(tmp_path / "tree")
    stems.prepare(stems.Job(recipe("librimix"), tmp_path / "data", source))
    store = StemStore(tmp_path / "data" / "stems")
    assert (store.sample_rate, store.channels, store.sources) == (16000, 1, ["s1", "s2", "noise"])
    assert {split: len(store.select(split)) for split in ("train", "valid", "test")} == {
        "train": 6, "valid": 2, "test": 0,
    }  # fmt: skip
    for track in store.select("train"):
        for number, name in enumerate(store.sources):
            file = source / "train-100" / name / f"{track.id}.wav"
            expected = soundfile.read(file, dtype="int16")[0]
            np.testing.assert_array_equal(store.read(track, number)[0] * 32768, expected)
            np.testing.assert_array_equal(store.read(track, number, 100, 50)[0] * 32768, expected[100:150])
    assert not (tmp_path / "data" / "test").exists()


def test_noise_is_taken_where_it_is(tmp_path):
    source = librimix_toys.write(tmp_path / "tree", noise=False)
    stems.prepare(stems.Job(recipe("librimix"), tmp_path / "data", source))
    assert StemStore(tmp_path / "data" / "stems").sources == ["s1", "s2"]


def test_songs_keep_their_bits_and_the_test_set_is_scored_as_it_was(prepared, songs):
    store = StemStore(prepared / "stems")
    assert [track.id for track in store.select("valid")] == ["Bo - Rain"]
    assert [track.id for track in store.select("train")] == ["Ada - Dawn", "Ada - Dusk", "Cy - Snow"]
    for track in store.tracks:
        expected = song_toys.song(track.id)
        for number, name in enumerate(STEMS):
            np.testing.assert_array_equal(store.read(track, number) * 32768, expected[name])
    for title in song_toys.TEST:
        for name, wave in song_toys.song(title).items():
            found, rate = soundfile.read(prepared / "test" / title / f"{name}.flac", dtype="int16")
            assert rate == 44100
            np.testing.assert_array_equal(found.T, wave)


def test_a_folder_of_files_is_their_sum_and_an_empty_one_silence(songs, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(songs, tree)
    folder = tree / "train" / "Ada - Dawn"
    for name in ("vocals", "drums"):
        (folder / f"{name}.wav").unlink()
        (folder / name).mkdir()
    halves = [song_toys.stem("vocals", 2.5, seed) for seed in (1, 2)]
    for number, wave in enumerate(halves):
        soundfile.write(folder / "vocals" / f"{number}.wav", wave.T, 44100, "FLOAT")
    found = next(track for track in stems.find_recordings(recipe("musdb"), tree / "train") if track.id == "Ada - Dawn")
    samples, _ = stems.decode(found, recipe("musdb"))
    np.testing.assert_allclose(samples[0] / 32768, halves[0] + halves[1], atol=1 / 32768)
    assert not samples[1].any()


def test_streams_of_a_stem_file(tmp_path, ffmpeg):
    path = song_toys.write_stem_file(tmp_path / "train" / "Ada - Dawn.stem.mp4", "Ada - Dawn", ffmpeg)
    found = stems.find_recordings(recipe("musdb"), path.parent)
    assert [track.id for track in found] == ["Ada - Dawn"]
    samples, mixture = stems.decode(found[0], recipe("musdb"))
    expected = song_toys.song("Ada - Dawn")
    for wave, name in zip((*samples, mixture), (*STEMS, "mixture"), strict=True):
        both = np.stack([wave[:, : expected[name].shape[1]], expected[name][:, : wave.shape[1]]]).reshape(2, -1)
        assert np.corrcoef(both)[0, 1] > 0.95, name  # AAC is lossy, but each stream is its own stem, in time


def test_moisesdb_is_mapped_summed_and_cut(tmp_path):
    tree = song_toys.write_moisesdb(tmp_path / "moisesdb_v0.1", artists=2)
    track = stems.find_recordings(recipe("moisesdb"), tree)[0]
    assert {name: len(parts) for name, parts in track.sources.items()} == {
        "vocals": 1, "drums": 1, "bass": 1, "other": 2,
    }  # fmt: skip
    samples, mixture = stems.decode(track, recipe("moisesdb"))
    assert mixture is None
    assert samples.shape == (4, 2, round(1.49 * 44100))  # the guitar is shorter
    both = song_toys.stem("other", 1.49, 0) + song_toys.stem("other", 1.5, 50)[:, : samples.shape[2]]
    gain = max(1.0, np.abs(samples.sum(0, dtype=int)).max() / 32768)
    np.testing.assert_allclose(samples[3] / 32768 * gain, both, atol=2e-4)


def test_what_is_over_full_scale_is_lowered_as_a_whole(tmp_path):
    tree = song_toys.write_moisesdb(tmp_path, artists=2)
    for name in ("bass", "piano"):
        wave = np.full((44100, 2), 0.75)
        soundfile.write(tree / "track-0000" / name / f"id-{name}.wav", wave, 44100, "FLOAT")
    track = stems.find_recordings(recipe("moisesdb"), tree)[0]
    samples, _ = stems.decode(track, recipe("moisesdb"))
    peak = np.abs(samples.sum(0, dtype=int)).max()
    assert 32760 <= peak <= 32770
    files = [part.path for parts in track.sources.values() for part in parts]
    whole = np.sum([soundfile.read(file)[0][:44100] for file in files], axis=0)
    np.testing.assert_allclose(samples[2], 0.75 * 32768 / np.abs(whole).max(), atol=1)


def test_artists_are_in_one_split_and_more_songs_move_none(tmp_path):
    tree = song_toys.write_moisesdb(tmp_path, artists=30, sound=False)
    splits = stems.find_splits(recipe("moisesdb"), tree)
    assert {name: len(found) for name, found in splits.items()} == {"train": 22, "valid": 4, "test": 4}
    for about in tree.glob("*/data.json"):
        described = json.loads(about.read_text()) | {"artist": "One"}
        if about.parent.name in {track.id for track in splits["test"]}:
            about.write_text(json.dumps(described))
    moved = stems.find_splits(recipe("moisesdb"), tree)
    where = {name for name, found in moved.items() for track in found if track.artist == "One"}
    assert len(where) == 1
    assert {track.id for track in splits["valid"]} <= {track.id for track in moved["valid"]}


def test_validation_is_that_of_the_package_musdb():
    config = Path(musdb.__file__).parent / "configs" / "mus.yaml"
    assert sorted(yaml.safe_load(config.read_text())["validation_tracks"]) == sorted(recipe("musdb").valid)


# What is not as it should be


def test_prepared_once(prepared, songs, capsys):
    job = stems.Job(recipe("musdb", valid=["Bo - Rain"]), prepared, songs)
    before = (prepared / "stems" / "stems.i16").stat().st_mtime_ns
    stems.prepare(job)
    assert (prepared / "stems" / "stems.i16").stat().st_mtime_ns == before
    assert "train 3 recordings" in capsys.readouterr().err
    with pytest.raises(EnhanceError, match="was prepared with other settings: give --force"):
        stems.prepare(stems.Job(recipe("musdb", valid=["Cy - Snow"]), prepared, songs))


def test_other_things_are_left_alone(songs, tmp_path):
    (tmp_path / "stems").mkdir()
    (tmp_path / "stems" / "mine.txt").write_text("mine")
    with pytest.raises(EnhanceError, match="stems: holds something other than prepared data"):
        stems.prepare(stems.Job(recipe("musdb"), tmp_path, songs))
    assert (tmp_path / "stems" / "mine.txt").read_text() == "mine"


def _cut(path: Path) -> None:
    wave, rate = soundfile.read(path)
    soundfile.write(path, wave[:-1], rate)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tree: shutil.rmtree(tree / "test"), r"test: no such folder: --from takes"),
        (lambda tree: (tree / "train" / "Bo - Rain" / "bass.wav").unlink(), r"Bo - Rain: no bass: a recording needs"),
        (lambda tree: _cut(tree / "train" / "Bo - Rain" / "bass.wav"), r"samples, but .*bass\.wav has \d+: unpack"),
        (lambda tree: (tree / "train" / "Bo - Rain" / "bass.wav").write_text("x"), r"bass\.wav: not an audio file"),
        (lambda tree: [shutil.rmtree(path) for path in (tree / "train").iterdir()], r"train: no recording with vocals"),
        (lambda tree: shutil.rmtree(tree / "train" / "Bo - Rain"), r"no recording is left for split 'valid'"),
    ],
)
def test_damaged_trees_are_refused_and_nothing_is_left(songs, tmp_path, no_ffmpeg, damage: Callable, message: str):
    tree = tmp_path / "tree"
    shutil.copytree(songs, tree)
    damage(tree)
    with pytest.raises(EnhanceError, match=message):
        stems.prepare(stems.Job(recipe("musdb", valid=["Bo - Rain"]), tmp_path / "data", tree))
    assert not list(tmp_path.glob("data/stems")) + list(tmp_path.glob("data/.*"))


def test_a_talker_without_partner_and_a_description_that_is_none(tmp_path):
    tree = librimix_toys.write(tmp_path / "tree")
    name = next((tree / "dev" / "s2").iterdir())
    name.unlink()
    with pytest.raises(EnhanceError, match=rf"s2: no {name.stem}: s1/ and the others need the same names"):
        stems.find_splits(recipe("librimix"), tree)
    songs = song_toys.write_moisesdb(tmp_path / "songs", artists=1)
    (songs / "track-0000" / "data.json").write_text('{"artist": "A"}')
    with pytest.raises(EnhanceError, match=r"data\.json: not a description of MoisesDB .*'stems'"):
        stems.find_splits(recipe("moisesdb"), songs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ["mixture"]}, "'mixture' is no name of a source"),
        ({"sources": ["a+b"]}, r"'a\+b' is no name of a source"),
        ({"sources": ["vocals"], "layout": "moisesdb"}, "need 'other'"),
        ({"valid": 1.5}, "valid"),
    ],
)
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ValidationError, match=message):
        recipe("musdb", **changes)


def test_the_command_says_what_it_needs(cli, tmp_path):
    folder = str(RECIPES / "musdb")
    code, _, error = cli("prepare", folder, "--data", tmp_path)
    assert code == 2
    assert "its data are not downloaded: give --from FOLDER" in error.replace("\n", " ")
    code, _, error = cli("prepare", folder, "--data", tmp_path, "--from", tmp_path, "--shards")
    assert code == 2
    assert "is of stems" in error.replace("\n", " ")


# Examples


def dataset(prepared: Path, **changes) -> StemDataset:
    return StemDataset(prepared / "stems", StemConfig(**{"sources": STEMS, **changes}), 0.5, 1, 8)


def test_examples_as_recorded(prepared):
    """Each is a crop of one song, and an epoch goes through all of them."""
    data = dataset(prepared)
    seen = []
    for number in range(6):
        mixture, target = data[number]
        assert mixture.shape == (2, 22050)
        assert target.shape == (4, 2, 22050)
        np.testing.assert_allclose(target.sum(0), mixture, atol=1e-6)
        store = StemStore(prepared / "stems")
        for track in store.select("train"):
            bass = store.read(track, 2)
            starts = np.flatnonzero(bass[0, : bass.shape[1] - 22049] == target[2, 0, 0])
            if any(np.array_equal(bass[:, start : start + 22050], target[2]) for start in starts):
                seen.append(track.id)
    assert len(seen) == 6
    assert sorted(seen[:3]) == sorted(seen[3:]) == ["Ada - Dawn", "Ada - Dusk", "Cy - Snow"]


def test_the_same_key_is_the_same_example(prepared):
    changes = {"remix": 0.5, "gain_db": (-10.0, 2.0), "swap": 0.5}
    first, second = (dataset(prepared, **changes) for _ in range(2))
    for number in (3, 0, 17):
        for a, b in zip(first[number], second[number], strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[3].mixture, first[4].mixture)


def test_other_sources_are_in_the_mixture_alone(prepared):
    whole, vocals = dataset(prepared), dataset(prepared, sources=["vocals"], others=["drums", "bass", "other"])
    for number in range(3):
        (mixture, target), (again, alone) = whole[number], vocals[number]
        np.testing.assert_allclose(mixture, again, atol=1e-6)
        np.testing.assert_array_equal(target[:1], alone)


def _image(wave: np.ndarray) -> float:
    """Level of the left channel over that of the right one."""
    left, right = np.square(wave).mean(-1)
    return float(np.sqrt(left / right))


def test_gain_exchange_and_remix_are_each_sources_own(prepared):
    """The toys' stems have an image of their own: it tells the song; its inverse, the channels exchanged."""
    store = StemStore(prepared / "stems")
    images = [[_image(store.read(track, number)) for track in store.select("train")] for number in range(4)]
    data = dataset(prepared, remix=1.0, swap=0.5, gain_db=(-6.0, 6.0))
    songs, swapped, levels = [], [], []
    for number in range(40):
        _, target = data[number]
        row = []
        for source in range(4):
            found = _image(target[source])
            candidates = [(abs(np.log(found / image)), song, 0) for song, image in enumerate(images[source])]
            candidates += [(abs(np.log(found * image)), song, 1) for song, image in enumerate(images[source])]
            _, song, exchanged = min(candidates)
            row.append(song)
            swapped.append(exchanged)
            levels.append(np.sqrt(np.square(target[source]).mean()))
        songs.append(row)
    assert np.mean([len(set(row)) > 1 for row in songs]) > 0.85  # of 3 songs, all four the same: 1 in 27
    assert 0.35 < np.mean(swapped) < 0.65
    assert 20 * np.log10(np.max(levels) / np.min(levels)) > 8
    assert {song for row in songs for song in row} == {0, 1, 2}


def test_a_short_recording_ends_in_silence(prepared):
    mixture, target = StemDataset(prepared / "stems", StemConfig(STEMS), 4.0, 1, 8)[0]
    assert mixture.shape == (2, 176400)
    assert target[:, :, :20000].any()
    assert not target[:, :, -40000:].any()


def test_validation_crops_are_fixed(prepared):
    store = StemStore(prepared / "stems")
    few, more = (valid_examples(store, StemConfig(STEMS), clips, 0.4)["+".join(STEMS)] for clips in (2, 5))
    assert (len(few), len(more)) == (2, 5)
    for a, b in zip(few, more, strict=False):
        np.testing.assert_array_equal(a.mixture, b.mixture)
    assert not np.array_equal(more[0].mixture, more[1].mixture)


def test_a_source_that_is_not_there(prepared, tmp_path):
    with pytest.raises(EnhanceError, match="no source 'piano': it has vocals, drums, bass, other"):
        dataset(prepared, others=["piano"])[0]
    with pytest.raises(EnhanceError, match="no prepared stems: run `enhance prepare`"):
        dataset(tmp_path)[0]
    (tmp_path / "stems").mkdir()
    (tmp_path / "stems" / "index.json").write_text('{"pairs": []}')
    with pytest.raises(EnhanceError, match="not a data set of stems"):
        StemStore(tmp_path / "stems")
