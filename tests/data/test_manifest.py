"""Manifests: read, scanned, and split by item."""

from __future__ import annotations

import itertools
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from disks import small_disk

from enhance.data.manifest import (
    KINDS,
    SPLITS,
    Clip,
    read_manifest,
    scan_folder,
    scan_folders,
    settle_splits,
    unit_hash,
    without_repeats,
)
from enhance.data.shards import ShardSet
from enhance.data.store import Store, build, decode
from enhance.errors import EnhanceError

HEADER = "path,kind,source,speaker,language,seconds,licence,split\n"


def clip(path: str, item: str, split: str = "train") -> Clip:
    return Clip(Path(path), "speech", "set", item, "", "", split)


def test_reads_what_a_manifest_says(tmp_path):
    (tmp_path / "manifest.csv").write_text(HEADER + "a/b.wav,noise,s,rec1,,2.0,CC0,valid\n")
    assert read_manifest(tmp_path) == [Clip(tmp_path / "a/b.wav", "noise", "s", "rec1", "", "CC0", "valid")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,kind\na.wav,noise\n", "no column 'source'"),
        (HEADER + "a.wav,noise,s,r,,1,CC0,dev\n", "line 2: kind 'noise', split 'dev'"),
        (HEADER + "\na.wav,noise,s,r,,1,CC0,train\nb.wav,noise,s\n", "line 4: fewer values than columns"),
        (HEADER + "schön.wav,noise,s,r,,1,CC0,train\n", r"manifest\.csv: not UTF-8"),
        (HEADER + f'"{"x" * 200_000},noise\n', r"manifest\.csv, line 2: not CSV \(field larger"),
        ("", "no column 'path'"),
    ],
)
def test_a_bad_manifest_is_named(tmp_path, text, message):
    (tmp_path / "manifest.csv").write_text(text, encoding="latin-1")
    with pytest.raises(EnhanceError, match=message):
        read_manifest(tmp_path)


def test_folders_are_speakers_and_none_is_in_two_splits(audio_folders):
    clips = scan_folder(audio_folders["speech"], "speech")
    assert len(clips) == 12
    assert {c.item for c in clips} == {f"speaker{n}" for n in range(6)}
    splits = {item: {c.split for c in clips if c.item == item} for item in {c.item for c in clips}}
    assert all(len(found) == 1 for found in splits.values())
    assert {"train", "valid"} == set.union(*splits.values())


def test_adding_files_moves_no_others(tmp_path):
    def splits() -> dict[str, str]:
        return {c.item: c.split for c in scan_folder(tmp_path, "noise", valid_share=0.5)}

    for n in range(20):
        soundfile.write(tmp_path / f"{n:02}.wav", np.zeros(10), 16000)
    before = splits()
    for n in range(20, 40):
        soundfile.write(tmp_path / f"{n:02}.wav", np.zeros(10), 16000)
    assert before.items() <= splits().items()


def test_with_few_names_the_smallest_hash_is_held_out(tmp_path):
    names = [f"{n:02}" for n in range(3)]
    assert min(map(unit_hash, names)) > 0.01
    for name in names:
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(10), 16000)
    clips = scan_folder(tmp_path, "noise", valid_share=0.01)
    assert {c.item for c in clips if c.split == "valid"} == {min(names, key=unit_hash)}


def test_folders_of_one_name_are_told_apart(tmp_path):
    for place in ("a/clean/p1", "b/clean/p1", "b/other/p1"):
        (tmp_path / place).mkdir(parents=True)
        soundfile.write(tmp_path / place / "x.wav", np.zeros(10), 16000)
    lists = scan_folders([tmp_path / "a/clean", tmp_path / "b/clean", tmp_path / "b/other"], "speech")
    assert [c.source for c in without_repeats(lists)] == ["clean", "clean-2", "other"]


def test_the_chapters_of_a_speaker_are_in_one_split(tmp_path):
    """As in LibriSpeech, ``speaker/chapter/*``; of noise each folder is a place of its own."""
    for speaker in range(20):
        for chapter in "ab":
            place = tmp_path / "libri" / f"{speaker}" / chapter
            place.mkdir(parents=True)
            soundfile.write(place / "x.wav", np.zeros(10), 16000)
    soundfile.write(tmp_path / "libri" / "alone.wav", np.zeros(10), 16000)
    (clips,) = scan_folders([tmp_path / "libri"], "speech")
    assert {c.item for c in clips} == {*map(str, range(20)), "alone"}
    assert {c.path.parent.parent.name for c in clips if c.split == "valid"} == {
        c.item for c in clips if c.split == "valid"
    }
    (clips,) = scan_folders([tmp_path / "libri"], "noise")
    assert {c.item for c in clips} == {"alone"} | {f"{speaker}/{chapter}" for speaker in range(20) for chapter in "ab"}


def test_links_to_folders_are_followed_but_not_round_in_circles(tmp_path, capsys):
    for place in ("elsewhere/anna/1", "own/ben"):
        (tmp_path / place).mkdir(parents=True)
        soundfile.write(tmp_path / place / "x.wav", np.zeros(10), 16000)
    (tmp_path / "own" / "anna").symlink_to(tmp_path / "elsewhere" / "anna")
    (tmp_path / "elsewhere" / "anna" / "back").symlink_to(tmp_path)
    (tmp_path / "own" / "carol").symlink_to(tmp_path / "own" / "ben")
    (clips,) = scan_folders([tmp_path / "own"], "speech")
    assert [(c.item, c.path) for c in clips] == [
        ("anna", tmp_path / "own" / "anna" / "1" / "x.wav"),
        ("ben", tmp_path / "own" / "ben" / "x.wav"),
    ]
    error = capsys.readouterr().err
    assert [line.partition(": not followed")[0] for line in error.splitlines()] == [
        f"warning: {tmp_path / name}" for name in ("own/carol", "own/anna/back")
    ]


def test_a_manifest_that_excel_wrote(tmp_path):
    (tmp_path / "manifest.csv").write_text(HEADER + "a.wav,noise,s,r,,1,CC0,train\n", encoding="utf-8-sig")
    assert [c.item for c in read_manifest(tmp_path)] == ["r"]


def test_a_folder_without_audio_is_an_error(tmp_path):
    with pytest.raises(EnhanceError, match="no audio found"):
        scan_folder(tmp_path, "noise")
    with pytest.raises(EnhanceError, match=r"nowhere: cannot be listed \(No such file or directory\): give a folder"):
        scan_folder(tmp_path / "nowhere", "noise")


def test_an_item_in_two_splits_is_held_back():
    clips, moved = settle_splits([clip("a", "x", "train"), clip("b", "x", "test"), clip("c", "y", "valid")])
    assert [c.split for c in clips] == ["test", "test", "valid"]
    assert moved == ["speech set/x"]


def test_an_item_listed_twice_counts_once():
    first = [clip("one/1/a", "x"), clip("one/2/b", "x")]  # one speaker in two folders
    kept = list(without_repeats([first, [clip("two/a", "x"), clip("two/c", "y")]]))
    assert [str(c.path) for c in kept] == ["one/1/a", "one/2/b", "two/c"]


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(EnhanceError, match=r"manifest\.csv: no such file"):
        read_manifest(tmp_path / "nowhere")


def test_a_folder_with_something_else_is_not_replaced(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    clips = [Clip(tmp_path / "a.wav", "speech", "s", "x", "", "", "train")]
    with pytest.raises(EnhanceError, match="other than a data set"):
        build(tmp_path, clips, [], 16000, jobs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_decoding_mixes_down_and_resamples(tmp_path):
    time = np.arange(44100) / 44100
    wave = np.stack((0.6 * np.sin(2 * np.pi * 440 * time), 0.2 * np.sin(2 * np.pi * 440 * time)), axis=1)
    soundfile.write(tmp_path / "a.wav", wave, 44100, subtype="FLOAT")
    samples = decode(tmp_path / "a.wav", 16000)
    expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert samples.dtype == np.int16
    assert len(samples) == 16000
    assert np.abs(samples / 32767 - expected)[200:-200].max() < 1e-4


def test_louder_than_full_scale_is_clipped_not_wrapped(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([1.5, -1.5, 0.5]), 16000, subtype="FLOAT")
    assert decode(tmp_path / "a.wav", 16000).tolist() == [32767, -32767, 16384]


def test_a_store_gives_back_its_clips(store, audio_folders):
    wave = soundfile.read(audio_folders["noise"] / "noise0.wav", dtype="float32")[0]
    entry = next(e for e in store.entries if e.item == "noise0")
    assert np.abs(store.read(entry) - wave).max() < 2 / 32768
    assert np.array_equal(store.read(entry, 100, 50), store.read(entry)[100:150])
    assert len(store.read(entry, 31990, 50)) == 10


def test_a_failed_build_leaves_the_old_store(store, tmp_path):
    folder = tmp_path / "data"
    clips = [Clip(tmp_path / "a.wav", "speech", "s", "x", "", "", "train")]
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    built = build(folder, clips, [], 16000, jobs=1)
    (tmp_path / "a.wav").write_text("not audio")
    with pytest.raises(EnhanceError, match=r"a\.wav"):
        build(folder, clips, [], 16000, jobs=1)
    assert Store(folder).fingerprint == built.fingerprint


@pytest.mark.parametrize(("form", "jobs"), [([], 1), ([], 2), (["--shards"], 2)])
def test_files_that_cannot_be_read_are_left_out_and_named(audio_folders, tmp_path, cli, form, jobs):
    folders = {kind: tmp_path / kind for kind in ("speech", "noise")}
    for kind, folder in folders.items():
        shutil.copytree(audio_folders[kind], folder)
    options = [part for kind, folder in folders.items() for part in (f"--{kind}", folder)]
    options += ["--rooms", 0, "--jobs", jobs, *form]
    run = cli("prepare", tmp_path / "without", *options)
    assert run.code == 0
    for number, text in enumerate((b"not audio", b"")):
        (folders["speech"] / "speaker0" / f"bad{number}.wav").write_bytes(text)
    soundfile.write(folders["speech"] / "speaker0" / "empty.wav", np.zeros(0), 16000)
    with_bad = cli("prepare", tmp_path / "with", *options)
    assert with_bad.code == 1
    for name in ("bad0.wav", "bad1.wav", "empty.wav"):
        (line,) = [line for line in with_bad.err.splitlines() if name in line]
        assert "left out" in line
    assert with_bad.err.splitlines()[-1] == "3 of 19 files could not be read: the data set is without them"
    opened = ShardSet if form else Store
    found, expected = (opened(tmp_path / name) for name in ("with", "without"))
    for kind, split in itertools.product(KINDS, SPLITS):
        assert found.seconds(kind, split) == expected.seconds(kind, split)
    if not form:  # shards are in another order
        assert found.fingerprint == expected.fingerprint


def test_without_any_speech_that_can_be_read_nothing_is_prepared(audio_folders, tmp_path, cli):
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "a.wav").write_text("not audio")
    run = cli("prepare", tmp_path / "data", "--speech", tmp_path / "speech", "--noise", audio_folders["noise"],
              "--rooms", 0, "--jobs", 1)  # fmt: skip
    assert run.code == 2
    assert run.err.splitlines()[-1].startswith("error: no speech is left: none of its files could be read")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speech"]


def test_rooms_that_cannot_be_made_are_said_before_the_work(audio_folders, tmp_path, monkeypatch, cli):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    for name in ("shards", "store"):  # shards first: else it would take what is put into store here, for good
        monkeypatch.setattr(f"enhance.data.{name}.decode", lambda *_: pytest.fail("decoded for nothing"))
    run = cli("prepare", tmp_path / "data", "--speech", audio_folders["speech"], "--rooms", 2, "--jobs", 1)
    assert (run.code, "pip install pyroomacoustics, or give --rooms 0" in run.err) == (2, True)
    assert not (tmp_path / "data").exists()


def test_rooms_that_nobody_asked_for_are_left_out_where_they_cannot_be_made(audio_folders, tmp_path, monkeypatch, cli):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    run = cli("prepare", tmp_path / "data", "--speech", audio_folders["speech"], "--jobs", 1)
    assert (run.code, "no simulated rooms are added" in run.err) == (0, True)
    assert {entry.kind for entry in Store(tmp_path / "data").entries} == {"speech"}


def test_a_disk_that_is_full_is_one_line(audio_folders, tmp_path, cli):
    for option in ([], ["--shards"]):
        with small_disk(50_000):
            options = ("--speech", audio_folders["speech"], "--rooms", 0, "--jobs", 1, *option)
            run = cli("prepare", tmp_path / "data", *options)
        assert run.code == 2
        assert f"error: {tmp_path / 'data'}: cannot be written (File too large): is the disk full" in run.err
        assert not list(tmp_path.iterdir())


def test_recordings_that_are_there_already_are_counted(audio_folders, tmp_path, cli):
    (tmp_path / "listed").mkdir()
    take = audio_folders["speech"] / "speaker0" / "take0.flac"
    row = f"{take},speech,speech,speaker0,,3,CC0,train\n"
    (tmp_path / "listed" / "manifest.csv").write_text(HEADER + row)
    folders = ("--speech", audio_folders["speech"], "--data", tmp_path / "listed")
    run = cli("prepare", tmp_path / "data", *folders, "--rooms", 0, "--jobs", 1)
    assert run.code == 0, run.err
    assert "2 recordings are left out" in run.err
    assert len(Store(tmp_path / "data").entries) == 11
