"""Voice Bank + DEMAND in miniature: found, checked, resampled, split, and written so that all can read it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from voicebank_toys import TEST, TRAIN, archives, recipe, serving, waves, write_folders

from enhance.bench.pairs import check_clip, find_clips
from enhance.data import data_recipe
from enhance.data.pair_store import PairStore
from enhance.data.voicebank import Job, find_pairs, prepare
from enhance.errors import EnhanceError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folders(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folders(original: Path, tmp_path: Path) -> Path:
    """Unpacked archives at 48 kHz, to be spoiled."""
    return Path(shutil.copytree(original, tmp_path / "from"))


@pytest.fixture(scope="module")
def small(original: Path, tmp_path_factory: pytest.TempPathFactory) -> data_recipe.DataRecipe:
    return data_recipe.read(recipe(tmp_path_factory.mktemp("recipe"), archives(original)))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def prepared(original: Path, small: data_recipe.DataRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("prepared") / "data"
    prepare(Job(small, data, original))
    return data


def test_pairs_are_the_resampled_files(prepared):
    store = PairStore(prepared / "pairs")
    assert store.sample_rate == 16000
    assert [pair.id for pair in store.pairs] == sorted(TRAIN)
    for pair in store.pairs:
        for made, wave in zip(store.read(pair), waves(pair.id, 48000), strict=True):
            expected = soxr.resample(wave / 32768, 48000, 16000, "VHQ")
            assert len(made) == pair.frames == -(-len(wave) // 3)
            np.testing.assert_allclose(made, expected[: len(made)], atol=0.6 / 32768)


def test_splits_are_by_speaker_and_labels_from_the_log(prepared):
    store = PairStore(prepared / "pairs")
    assert {pair.id for pair in store.select("valid")} == {"p226_001", "p287_001", "p287_002"}
    assert {pair.speaker for pair in store.select("train")} == {"p227", "p228"}
    assert [(pair.noise, pair.snr) for pair in store.pairs[:2]] == [("bus", "2.5"), ("bus", "7.5")]
    assert store.lengths("train").tolist() == [pair.frames for pair in store.select("train")]
    offsets = [pair.offset for pair in store.pairs]
    assert offsets == np.cumsum([0, *(pair.frames for pair in store.pairs[:-1])]).tolist()


def test_bench_understands_the_test_set_with_its_tags(prepared):
    clips, warnings = find_clips(prepared / "test")
    assert warnings == []
    assert [clip.id for clip in clips] == sorted(TEST)
    assert clips[0].tags == {"speaker": "p232", "noise": "bus", "snr": "2.5"}
    for clip in clips:
        check_clip(clip)
        assert soundfile.info(clip.mixture).subtype == "PCM_16"
        made, rate = soundfile.read(clip.references["speech"], dtype="float32")
        expected = soxr.resample(waves(clip.id, 48000)[1] / 32768, 48000, 16000, "VHQ")
        assert rate == 16000
        np.testing.assert_allclose(made, expected[: len(made)], atol=0.6 / 32768)
    with (prepared / "test" / "tags.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["id", "speaker", "noise", "snr"]


def test_files_at_16_khz_keep_their_bits_in_any_nesting(tmp_path, small):
    source = write_folders(tmp_path / "deep" / "er", 16000)
    (source / "noisy_testset_wav").rename(source / "noisy_testset_wav_16k")
    hidden = tmp_path / "deep" / "__MACOSX" / "clean_testset_wav"  # as packed on a Mac
    hidden.mkdir(parents=True)
    (hidden / "._p232_001.wav").write_bytes(b"not audio")
    prepare(Job(small, tmp_path / "data", tmp_path / "deep"))
    store = PairStore(tmp_path / "data" / "pairs")
    for pair in store.pairs:
        for made, wave in zip(store.read(pair), waves(pair.id, 16000), strict=True):
            np.testing.assert_array_equal(made * 32768, wave)
    for name in TEST:
        made = soundfile.read(tmp_path / "data" / "test" / "noisy" / f"{name}.flac", dtype="int16")[0]
        np.testing.assert_array_equal(made, waves(name, 16000)[0])


def test_the_number_of_processes_and_a_second_run_change_nothing(prepared, original, small, tmp_path):
    prepare(Job(small, tmp_path / "data", original, jobs=2))
    assert tree(tmp_path / "data") == tree(prepared)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    prepare(Job(small, tmp_path / "data", tmp_path / "not looked at"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == times


def test_archives_give_what_their_folders_give(prepared, original, small, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    files = archives(original)
    with serving(files) as server:
        prepare(Job(small, tmp_path / "data", mirror=server.address + "/"))
        assert sorted(path for path, _ in server.requests) == sorted(f"/{name}" for name in files)
        prepare(Job(small, tmp_path / "data", mirror=server.address))
        assert len(server.requests) == len(files)
    made = tree(tmp_path / "data")
    assert {name: data for name, data in made.items() if not name.startswith("archives/")} == tree(prepared)
    assert [name for name in made if name.endswith(".wav")] == []  # what was unpacked is gone
    assert "train 3 pairs" in capsys.readouterr().err


def test_without_the_logs_it_goes_on(original, small, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    files = archives(original)
    del files["logfiles.zip"]
    with serving(files) as server:
        prepare(Job(small, tmp_path / "data", mirror=server.address))
    errors = capsys.readouterr().err
    assert "logfiles.zip: cannot be downloaded" in errors
    assert "no log_testset.txt, so noise and SNR of the pairs are not known" in errors
    assert {pair.noise for pair in PairStore(tmp_path / "data" / "pairs").pairs} == {""}
    assert find_clips(tmp_path / "data" / "test")[0][0].tags == {"speaker": "p232"}


def spoil_count(root: Path) -> None:
    for kind in ("noisy", "clean"):
        (root / f"{kind}_trainset_28spk_wav" / "p228_001.wav").unlink()


def spoil_partner(root: Path) -> None:
    (root / "clean_testset_wav" / "p232_001.wav").rename(root / "clean_testset_wav" / "p232_009.wav")


def spoil_length(root: Path) -> None:
    path = root / "clean_testset_wav" / "p232_001.wav"
    wave, rate = soundfile.read(path)
    soundfile.write(path, wave[:-3], rate)


def spoil_rate(root: Path) -> None:
    path = root / "clean_testset_wav" / "p232_001.wav"
    soundfile.write(path, soundfile.read(path)[0], 44100)


def spoil_file(root: Path) -> None:
    (root / "noisy_testset_wav" / "p257_001.wav").write_bytes(b"RIFF and nothing")


def spoil_folder(root: Path) -> None:
    shutil.rmtree(root / "noisy_trainset_28spk_wav")


def spoil_copy(root: Path) -> None:
    shutil.copytree(root / "noisy_testset_wav", root / "copy" / "noisy_testset_wav")


def spoil_name(root: Path) -> None:
    (root / "noisy_testset_wav" / "b").mkdir()
    shutil.copy(root / "noisy_testset_wav" / "p232_001.wav", root / "noisy_testset_wav" / "b")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_count, "5 pairs in noisy_trainset_28spk_wav, but 6 are expected"),
        (spoil_partner, r"p232_001.wav: no partner of that name: 2 such files"),
        (spoil_length, r"p232_001.wav: 28797 samples, but .* has 28800"),
        (spoil_rate, r"p232_001.wav: 44100 Hz, but .* has 48000 Hz"),
        (spoil_file, r"p257_001.wav: not an audio file"),
        (spoil_folder, "no folder noisy_trainset_28spk_wav with audio: --from takes"),
        (spoil_copy, "two folders noisy_testset_wav"),
        (spoil_name, r"p232_001.wav: .*p232_001.wav has the same name: delete one"),
    ],
)
@pytest.mark.usefixtures("no_ffmpeg")
def test_what_is_wrong_with_the_files_is_one_line_and_nothing_half_made_stays(small, folders, tmp_path, spoil, message):
    # p232_001 lasts 1.38 s; made as long as a round number of samples for the messages above
    for kind in ("noisy", "clean"):
        path = folders / f"{kind}_testset_wav" / "p232_001.wav"
        soundfile.write(path, np.resize(soundfile.read(path, dtype="int16")[0], 28800), 48000)
    spoil(folders)
    with pytest.raises(EnhanceError, match=message) as caught:
        prepare(Job(small, tmp_path / "data", folders))
    assert "\n" not in str(caught.value)
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {"test"}


def test_a_held_out_speaker_must_be_there(small, original, tmp_path):
    wrong = small.model_copy(update={"valid_speakers": ["p226", "p999"]})
    with pytest.raises(EnhanceError, match="no pair of p999, held out"):
        prepare(Job(wrong, tmp_path / "data", original))


@pytest.mark.parametrize("name", ["test", "pairs"])
def test_what_is_not_ours_is_never_replaced(small, original, tmp_path, name):
    precious = tmp_path / "data" / name / "thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")
    with pytest.raises(EnhanceError, match=f"{name}: holds something other than prepared data"):
        prepare(Job(small, tmp_path / "data", original), force=True)
    assert precious.read_text() == "years of work"


def test_an_empty_folder_is_filled(small, original, prepared, tmp_path):
    (tmp_path / "data" / "test").mkdir(parents=True)
    prepare(Job(small, tmp_path / "data", original))
    assert tree(tmp_path / "data") == tree(prepared)


def test_what_was_unpacked_by_hand_stays(small, original, prepared, tmp_path):
    source = Path(shutil.copytree(original, tmp_path / "data" / "archives"))
    before = tree(source)
    prepare(Job(small, tmp_path / "data", source))
    assert tree(source) == before
    assert tree(tmp_path / "data" / "pairs") == tree(prepared / "pairs")


def test_other_settings_need_force(small, prepared, original, tmp_path):
    data = Path(shutil.copytree(prepared, tmp_path / "data"))
    changed = Job(small.model_copy(update={"sample_rate": 8000}), data, original)
    with pytest.raises(EnhanceError, match="prepared with other settings: give --force"):
        prepare(changed)
    assert tree(data) == tree(prepared)
    prepare(changed, force=True)
    assert PairStore(data / "pairs").sample_rate == 8000
    assert soundfile.info(data / "test" / "clean" / "p232_001.flac").samplerate == 8000


def test_the_shipped_data_recipe_is_as_published():
    published = data_recipe.read(ROOT / "recipes" / "voicebank")
    assert (published.train.count, published.test.count) == (11572, 824)
    assert published.valid_speakers == ["p226", "p287"]
    stems = {archive.name.removesuffix(".zip") for archive in published.archives if not archive.optional}
    assert stems == {half for part in (published.train, published.test) for half in (part.noisy, part.clean)}
    assert all(len(archive.md5 or "") == 32 for archive in published.archives if not archive.optional)
    assert all(url.startswith("https://") for archive in published.archives for url in archive.urls)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name = ", "nam = "), r"data.toml: 2 mistake\(s\): name: Field required; nam: Extra inputs"),
        (("count = 3", "count = 0"), r"1 mistake\(s\): test.count"),
        (('"logfiles.zip"', '"../logfiles.zip"'), "without folders"),
        (("[train]", "[train"), "data.toml: not TOML"),
    ],
)
def test_mistakes_in_a_data_recipe_are_named(tmp_path, original, change, message):
    path = recipe(tmp_path, archives(original)) / "data.toml"
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(EnhanceError, match=message):
        data_recipe.read(tmp_path)


def test_pairs_are_found_without_a_log(folders, small, capsys):
    (folders / "log_testset.txt").write_text("p232_001 bus 17.5\nnonsense\np257_001 cafe loud\n")
    found = {pair.id: (pair.noise, pair.snr) for pair in find_pairs(small.test, folders)}
    assert found == {"p232_001": ("bus", "17.5"), "p257_001": ("", ""), "p257_002": ("", "")}
    (folders / "log_testset.txt").unlink()
    assert {pair.noise for pair in find_pairs(small.test, folders)} == {""}
    assert "no log_testset.txt" in capsys.readouterr().err
