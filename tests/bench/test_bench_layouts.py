"""Data sets are found in every layout that is understood, and what does not fit is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from enhance.bench.pairs import find_clips
from enhance.bench.records import Clip
from enhance.errors import EnhanceError


def sound(path: Path, frames: int = 80, rate: int = 16000, channels: int = 1, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal((frames, channels)), rate)
    return path


def sounds(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        sound(folder / name, seed=seed)


def text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def ids(data: Path) -> list[str]:
    clips, warnings = find_clips(data)
    assert warnings == []
    return [clip.id for clip in clips]


# ---- noisy/ and clean/


def test_files_of_one_name_are_pairs_whatever_their_ending(tmp_path):
    sounds(tmp_path / "noisy", "b.wav", "a.flac", "deep/a.wav")
    sounds(tmp_path / "clean", "a.wav", "b.WAV", "deep/a.ogg")
    text(tmp_path / "noisy/list.txt", "no sound")
    text(tmp_path / "noisy/._a.wav", "what macOS leaves")
    clips, warnings = find_clips(tmp_path)
    assert warnings == []
    assert clips == [
        Clip("a", tmp_path / "noisy/a.flac", {"speech": tmp_path / "clean/a.wav"}),
        Clip("b", tmp_path / "noisy/b.wav", {"speech": tmp_path / "clean/b.WAV"}),
        Clip("deep/a", tmp_path / "noisy/deep/a.wav", {"speech": tmp_path / "clean/deep/a.ogg"}),
    ]
    assert find_clips(tmp_path / "noisy") == (clips, [])


def test_noisy_alone_has_no_references(tmp_path):
    sounds(tmp_path, "noisy/a.wav")
    assert find_clips(tmp_path) == ([Clip("a", tmp_path / "noisy/a.wav", {})], [])


def test_what_has_no_partner_is_named_and_the_rest_stays(tmp_path):
    sounds(tmp_path, "noisy/a.wav", "noisy/b.wav", "noisy/c.wav", "noisy/c.flac", "clean/a.wav", "clean/c.wav")
    sounds(tmp_path, "clean/d.wav")
    clips, warnings = find_clips(tmp_path)
    assert [clip.id for clip in clips] == ["a"]
    assert warnings == [
        f"{tmp_path}/noisy/b.wav: no partner in {tmp_path}/clean; left out",
        f"{tmp_path}/noisy/c.wav: is c as c.flac is; left out, delete one of them",
        f"{tmp_path}/clean/d.wav: no partner in {tmp_path}/noisy; left out",
    ]


def test_tags_beside_the_clips_are_read_and_tables_of_scores_are_not(tmp_path):
    sounds(tmp_path, *(f"{kind}/{name}.flac" for kind in ("noisy", "clean") for name in ("p232_001", "p232_002")))
    rows = ("p232_001,bus,17.50", "p232_002,café,15", "p257_1,,1")
    text(tmp_path / "noise_types.csv", "id,noise,nominal_snr_db", *rows)
    text(tmp_path / "unprocessed_scores.csv", "id,pesq_wb,stoi,snr,llr", "p232_001,2.9,0.89,15.47,0.28")
    text(tmp_path / "rooms.csv", "name,snr", "p232_001,3")
    clips, warnings = find_clips(tmp_path)
    assert warnings == []
    assert [clip.tags for clip in clips] == [
        {"speaker": "p232", "noise": "bus", "snr": "17.5"},
        {"speaker": "p232", "noise": "café", "snr": "15"},
    ]


def test_tags_may_name_files_and_broken_ones_are_reported(tmp_path):
    sounds(tmp_path, "noisy/sub/a.wav", "clean/sub/a.wav")
    text(tmp_path / "info.csv", "id,noise_type,speaker_id,room", "sub/a.wav,babble,007,hall")
    (tmp_path / "latin.csv").write_bytes("id,noise\nsub/a,caf\u00e9\n".encode("latin-1"))
    clips, warnings = find_clips(tmp_path)
    assert clips[0].tags == {"noise": "babble", "speaker": "007", "room": "hall"}
    assert warnings == [f"{tmp_path}/latin.csv: not a text in UTF-8: save it as CSV in UTF-8; its tags are not used"]


# ---- Voice Bank+DEMAND


@pytest.fixture
def voice_bank(tmp_path: Path) -> Path:
    for part, names in (("testset_wav", ("p232_001", "p257_004")), ("trainset_28spk_wav", ("p226_001",))):
        sounds(tmp_path, *(f"{kind}_{part}/{name}.wav" for kind in ("noisy", "clean") for name in names))
    return tmp_path


@pytest.mark.parametrize("place", [".", "logfiles"])
def test_the_test_set_of_voice_bank_comes_first_with_what_its_log_says(voice_bank, place):
    text(voice_bank / place / "log_testset.txt", "p232_001 bus 17.5", "p257_004 cafe 2.5", "")
    text(voice_bank / place / "log_trainset_28spk.txt", "p226_001 babble 15", "p232_001 wrong 0")
    text(voice_bank / place / "log_readme.txt", "p232_001 wrong 0")
    clips, warnings = find_clips(voice_bank)
    assert warnings == []
    assert [(clip.id, clip.tags) for clip in clips] == [
        ("p232_001", {"speaker": "p232", "noise": "bus", "snr": "17.5"}),
        ("p257_004", {"speaker": "p257", "noise": "cafe", "snr": "2.5"}),
    ]
    assert clips[1].references == {"speech": voice_bank / "clean_testset_wav/p257_004.wav"}
    train, _ = find_clips(voice_bank / "noisy_trainset_28spk_wav")
    assert [(clip.id, clip.tags["noise"]) for clip in train] == [("p226_001", "babble")]


def test_of_two_test_sets_one_must_be_named(voice_bank):
    sounds(voice_bank, "noisy_testset_16k/p232_001.wav", "clean_testset_16k/p232_001.wav")
    with pytest.raises(EnhanceError, match=r"several sets, noisy_testset_16k, .*: name one, for instance .*_16k$"):
        find_clips(voice_bank)
    assert ids(voice_bank / "noisy_testset_wav") == ["p232_001", "p257_004"]


# ---- DNS Challenge


def test_dns_pairs_go_by_number(tmp_path):
    sounds(tmp_path, "noisy/clnsp1_train_69005_1_snr15_tl-21_fileid_2.wav", "noisy/x_snr-5_tl-30_fileid_12.wav")
    sounds(tmp_path, "clean/clean_fileid_2.wav", "clean/clean_fileid_12.wav", "clean/clean_fileid_7.wav")
    sounds(tmp_path, "noisy/y_fileid_8.wav", "noisy/z_fileid_8.wav", "clean/clean_fileid_8.wav")
    clips, warnings = find_clips(tmp_path)
    assert [(clip.id, clip.references["speech"].name, clip.tags) for clip in clips] == [
        ("fileid_12", "clean_fileid_12.wav", {"snr": "-5", "level": "-30"}),
        ("fileid_2", "clean_fileid_2.wav", {"snr": "15", "level": "-21"}),
    ]
    assert warnings == [
        f"{tmp_path}/clean/clean_fileid_7.wav: no partner in {tmp_path}/noisy; left out",
        f"{tmp_path}/noisy/z_fileid_8.wav: is fileid_8 as y_fileid_8.wav is; left out, delete one of them",
    ]


def test_numbered_files_without_clean_ones_keep_their_names(tmp_path):
    sounds(tmp_path, "noisy/a_snr3_tl-20_fileid_1.wav", "noisy/b_fileid_1.wav")
    clips, _ = find_clips(tmp_path)
    assert [(clip.id, clip.tags) for clip in clips] == [
        ("a_snr3_tl-20_fileid_1", {"snr": "3", "level": "-20"}),
        ("b_fileid_1", {}),
    ]


# ---- several sources


@pytest.mark.parametrize("place", ["", "test"])
def test_tracks_have_a_file_for_each_source(tmp_path, place):
    for track in ("B - two", "A - one"):
        sounds(tmp_path / place / track, "mixture.wav", "vocals.wav", "drums.flac")
    sounds(tmp_path / "train/C", "mixture.wav", "vocals.wav", "drums.wav")
    (tmp_path / place / "notes").mkdir()
    clips, warnings = find_clips(tmp_path)
    assert warnings == []
    assert [clip.id for clip in clips] == ["A - one", "B - two"]
    track = tmp_path / place / "A - one"
    assert clips[0].mixture == track / "mixture.wav"
    assert clips[0].references == {"drums": track / "drums.flac", "vocals": track / "vocals.wav"}


def test_tracks_unlike_most_are_left_out(tmp_path):
    for track in ("b", "c"):
        sounds(tmp_path / track, "mixture.wav", "vocals.wav", "drums.wav")
    sounds(tmp_path / "a", "mixture.wav", "vocals.wav")
    sounds(tmp_path / "d", "vocals.wav", "drums.wav")
    sounds(tmp_path / "e", "mixture.wav", "vocals.wav", "vocals.flac", "drums.wav")
    clips, warnings = find_clips(tmp_path)
    assert [clip.id for clip in clips] == ["b", "c"]
    usual = "where most tracks hold drums, mixture, vocals; left out"
    assert warnings == [
        f"{tmp_path}/a: holds mixture, vocals {usual}",
        f"{tmp_path}/d: holds drums, vocals {usual}",
        f"{tmp_path}/e: holds drums, mixture, vocals, vocals {usual}",
    ]


def test_two_talkers_as_in_librimix(tmp_path):
    for folder in ("mix_clean", "mix_both", "s1", "s2", "noise"):
        sounds(tmp_path / folder, "1_2.wav")
    sound(tmp_path / "s1/3_4.wav")
    with pytest.raises(EnhanceError, match="several sets, mix_both, mix_clean"):
        find_clips(tmp_path)
    clips, warnings = find_clips(tmp_path / "mix_both")
    references = {"s1": tmp_path / "s1/1_2.wav", "s2": tmp_path / "s2/1_2.wav"}
    assert clips == [Clip("1_2", tmp_path / "mix_both/1_2.wav", references)]
    assert warnings == [f"{tmp_path}/s1/3_4.wav: no partner in {tmp_path}/mix_both; left out"]


# ---- manifests


def test_a_manifest_names_files_and_tags(tmp_path):
    sounds(tmp_path, "n/a.wav", "n/b.wav", "c/a.wav", "c/b.wav")
    manifest = text(
        tmp_path / "lists/all.csv",
        "\ufeffnoisy,clean,language,SNR_dB,id,",
        '../n/b.wav,../c/b.wav,"de, at",-2.50,,1',
        f"../n/a.wav,{tmp_path}/c/a.wav,,15,first,2",
    )
    clips, warnings = find_clips(manifest)
    lists = tmp_path / "lists"
    assert warnings == []
    assert clips == [
        Clip("b", lists / "../n/b.wav", {"speech": lists / "../c/b.wav"}, {"language": "de, at", "snr": "-2.5"}),
        Clip("first", lists / "../n/a.wav", {"speech": tmp_path / "c/a.wav"}, {"snr": "15"}),
    ]


def test_a_manifest_of_sources_as_json_lines(tmp_path):
    sounds(tmp_path, "mix.wav", "v.wav", "d.wav")
    row = {"mixture": "mix.wav", "source:vocals": "v.wav", "source:drums": "d.wav", "snr": 2.50, "genre": None}
    manifest = text(tmp_path / "all.jsonl", json.dumps(row), "")
    references = {"vocals": tmp_path / "v.wav", "drums": tmp_path / "d.wav"}
    assert find_clips(manifest) == ([Clip("mix", tmp_path / "mix.wav", references, {"snr": "2.5"})], [])


def test_a_folder_may_hold_its_manifest(tmp_path):
    sounds(tmp_path, "noisy/a.wav", "clean/a.wav", "noisy/b.wav", "clean/b.wav")
    manifest = text(tmp_path / "manifest.csv", "mixture,clean", "noisy/a.wav,clean/a.wav")
    assert ids(tmp_path) == ["a"]
    text(manifest, "path,kind", "noisy/a.wav,noise")  # that of training data
    assert ids(tmp_path) == ["a", "b"]


def test_lines_of_a_manifest_that_name_no_file_are_left_out(tmp_path):
    sounds(tmp_path, "a.wav", "b.wav")
    manifest = text(tmp_path / "m.csv", "mixture,clean", "a.wav,b.wav", "x.wav,b.wav", "b.wav,y.wav", "b.wav")
    clips, warnings = find_clips(manifest)
    assert [clip.id for clip in clips] == ["a"]
    assert warnings == [
        f"{manifest}, line 3: {tmp_path}/x.wav: no such file; left out",
        f"{manifest}, line 4: {tmp_path}/y.wav: no such file; left out",
        f"{manifest}, line 5: no clean named; left out",
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["mixture,snr", "a.wav,3"], r"m\.csv, line 1: no column clean .*: its columns are mixture, snr"),
        (["clean,snr", "a.wav,3"], r"m\.csv, line 1: no column mixture \(or noisy\): its columns"),
        ([""], r"m\.csv, line 1: no column mixture .*: its columns are none"),
        (["mixture,noisy,clean", "a.wav,a.wav,a.wav"], r"m\.csv, line 1: two columns for mixture"),
        (["mixture,clean,clean", "a.wav,a.wav,a.wav"], r"m\.csv, line 1: two columns for source:speech"),
        (["mixture,clean", "a.wav,a.wav,a.wav"], r"m\.csv, line 2: more fields than columns"),
        (["mixture,clean", "b.wav,a.wav", "a.wav,a.wav", "a.wav,b.wav"], r"line 4: id 'a' is that of line 3 too"),
        (["mixture,clean", "x.wav,a.wav"], r"m\.csv: no clip that can be scored: .*line 2: .*x\.wav: no such file"),
        (["mixture,clean"], r"m\.csv: no clip that can be scored: it lists no audio"),
    ],
)
def test_bad_manifests_are_refused_with_file_and_line(tmp_path, lines, message):
    sounds(tmp_path, "a.wav", "b.wav")
    with pytest.raises(EnhanceError, match=message) as raised:
        find_clips(text(tmp_path / "m.csv", *lines))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("line", ["{", "[1]", "3"])
def test_bad_json_lines_are_refused(tmp_path, line):
    sounds(tmp_path, "a.wav")
    manifest = text(tmp_path / "m.jsonl", '{"mixture": "a.wav", "clean": "a.wav"}', line)
    with pytest.raises(EnhanceError, match=r"m\.jsonl, line 2: not a JSON object"):
        find_clips(manifest)


# ---- no data set


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(EnhanceError, match="nowhere: no such file or folder"):
        find_clips(tmp_path / "nowhere")
    sounds(tmp_path / "recordings", "a.wav", "sub/b.wav")
    for data in (tmp_path / "recordings", tmp_path / "recordings/a.wav"):
        with pytest.raises(EnhanceError, match=r"not a data set: give noisy/ with clean/,.*mixture\.wav.*manifest"):
            find_clips(data)


def test_nothing_that_can_be_used_is_an_error(tmp_path):
    (tmp_path / "noisy").mkdir()
    (tmp_path / "clean").mkdir()
    with pytest.raises(EnhanceError, match="no clip that can be scored: it lists no audio"):
        find_clips(tmp_path)
    sounds(tmp_path, "noisy/a.wav", "clean/b.wav")
    with pytest.raises(EnhanceError, match=r"no clip that can be scored: .*noisy/a\.wav: no partner"):
        find_clips(tmp_path)
    sounds(tmp_path / "tracks", "one/mixture.wav", "two/mixture.wav")
    with pytest.raises(EnhanceError, match=r"no clip that can be scored: .*one: no mixture with a file"):
        find_clips(tmp_path / "tracks")
