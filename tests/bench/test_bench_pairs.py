"""Clips are picked, fingerprinted and checked, and estimates of them found."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from enhance.bench.pairs import check_clip, estimate_path, find_clips, fingerprint, pick
from enhance.bench.records import Clip
from enhance.errors import EnhanceError


def sound(path: Path, frames: int = 80, rate: int = 16000, channels: int = 1, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal((frames, channels)), rate)
    return path


def sounds(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        sound(folder / name, seed=seed)


# ---- picks


def clips_named(count: int) -> list[Clip]:
    return [Clip(f"c{number:03}", Path("x.wav"), {}) for number in range(count)]


def test_a_pick_depends_on_the_seed_and_not_on_the_order():
    clips = clips_named(100)
    picked = pick(clips, 20)
    assert len({clip.id for clip in picked}) == 20
    assert picked == sorted(picked, key=lambda clip: clip.id) == pick(clips[::-1], 20)
    assert picked != pick(clips, 20, seed=1)
    assert {clip.id for clip in picked} < {clip.id for clip in pick(clips, 21)}
    assert pick(clips, 1000) == clips


def test_every_clip_is_picked_as_often_as_any_other():
    clips = clips_named(40)
    counts = np.zeros(40)
    for seed in range(500):
        counts[[int(clip.id[1:]) for clip in pick(clips, 10, seed)]] += 1
    chi_square = np.sum((counts - 125) ** 2 / 125) / 0.75  # drawn without replacement
    assert chi_square < 72.1  # the 99.9th percentile of 39 degrees of freedom is 72.05


def test_a_pick_of_none_is_refused():
    with pytest.raises(EnhanceError, match="--limit 0: leaves nothing to score"):
        pick(clips_named(3), 0)


# ---- fingerprints


def test_a_fingerprint_is_of_ids_sources_and_contents(tmp_path):
    sounds(tmp_path / "one", "noisy/a.wav", "noisy/b.wav", "clean/a.wav", "clean/b.wav")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (find_clips(tmp_path / name)[0] for name in ("one", "two"))
    print_of = fingerprint(one)
    assert len(print_of) == 16
    assert int(print_of, 16) >= 0
    assert print_of == fingerprint(two) == fingerprint(two[::-1])
    assert fingerprint(one[:1]) != print_of
    renamed = [Clip("c", one[0].mixture, one[0].references), one[1]]
    other_source = [Clip("a", one[0].mixture, {"vocals": one[0].references["speech"]}), one[1]]
    swapped = [Clip("a", one[0].references["speech"], {"speech": one[0].mixture}), one[1]]
    data = bytearray(two[1].references["speech"].read_bytes())
    data[-1] ^= 1
    two[1].references["speech"].write_bytes(data)
    assert len({print_of, *map(fingerprint, (renamed, other_source, swapped, two))}) == 5


def test_a_file_that_is_missing_changes_the_fingerprint_and_stops_nothing(tmp_path):
    clip = Clip("gone", tmp_path / "gone.wav", {})
    missing = fingerprint([clip])
    clip.mixture.write_bytes(b"here")
    assert fingerprint([clip]) != missing


# ---- checks


def test_a_clip_that_fits_passes(tmp_path):
    mixture, reference = sound(tmp_path / "a.wav", 800, channels=2), sound(tmp_path / "b.flac", 800, channels=2)
    check_clip(Clip("a", mixture, {"speech": reference}))
    check_clip(Clip("a", mixture, {}))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"frames": 797}, r"clean\.wav: 3 samples shorter than .*noisy\.wav: cut"),
        ({"frames": 1000}, r"clean\.wav: 200 samples longer than .*noisy\.wav"),
        ({"rate": 48000}, r"clean\.wav: 48000 Hz, but .*noisy\.wav has 16000 Hz: resample"),
        ({"channels": 2}, r"clean\.wav: stereo, but .*noisy\.wav is mono"),
        ({"channels": 6}, r"clean\.wav: of 6 channels, but .*noisy\.wav is mono"),
        ({"frames": 0}, r"clean\.wav: holds no samples"),
    ],
)
def test_a_clip_that_does_not_fit_is_refused(tmp_path, reference, message):
    clip = Clip("a", sound(tmp_path / "noisy.wav", 800), {})
    clip.references["speech"] = sound(tmp_path / "clean.wav", **{"frames": 800, **reference})
    with pytest.raises(EnhanceError, match=message):
        check_clip(clip)


def test_the_second_source_is_checked_too(tmp_path):
    references = {"s1": sound(tmp_path / "s1.wav"), "s2": sound(tmp_path / "s2.wav", 81)}
    with pytest.raises(EnhanceError, match=r"s2\.wav: 1 samples longer"):
        check_clip(Clip("a", sound(tmp_path / "mix.wav"), references))


def test_an_empty_mixture_is_refused_without_references_too(tmp_path):
    with pytest.raises(EnhanceError, match=r"noisy\.wav: holds no samples"):
        check_clip(Clip("a", sound(tmp_path / "noisy.wav", 0), {}))
    (tmp_path / "no.wav").write_text("words")
    with pytest.raises(EnhanceError, match=r"no\.wav: not an audio file"):
        check_clip(Clip("a", tmp_path / "no.wav", {}))


def test_files_whose_headers_only_estimate_their_length_are_counted(tmp_path, ffmpeg):
    mixture = sound(tmp_path / "noisy.wav", 16007)
    lossless = tmp_path / "clean.m4a"  # ffmpeg says 1.00 s
    subprocess.run([ffmpeg, "-loglevel", "error", "-i", mixture, "-c:a", "alac", lossless], check=True)
    check_clip(Clip("a", mixture, {"speech": lossless}))


# ---- estimates


def test_an_estimate_is_found_by_id_or_by_the_name_of_the_mixture(tmp_path):
    clip = Clip("fileid_2", Path("noisy/x_snr15_fileid_2.wav"), {})
    by_stem = sound(tmp_path / "x_snr15_fileid_2.WAV")
    assert estimate_path(tmp_path, clip, "speech", 1).samefile(by_stem)
    by_id = sound(tmp_path / "fileid_2.flac")
    assert estimate_path(tmp_path, clip, "speech", 1) == by_id
    deep = Clip("a.b/c.d", Path("noisy/a.b/c.d.wav"), {})
    by_path = sound(tmp_path / "a.b/c.d.ogg")
    assert estimate_path(tmp_path, deep, "speech", 1) == by_path


def test_estimates_of_several_sources_lie_in_a_folder(tmp_path):
    clip = Clip("A - one", Path("A - one/mixture.wav"), {})
    drums = sound(tmp_path / "A - one/drums.wav")
    assert estimate_path(tmp_path, clip, "drums", 2) == drums
    with pytest.raises(EnhanceError, match=r"no estimate of vocals of clip A - one: .* be .*A - one/vocals\.wav"):
        estimate_path(tmp_path, clip, "vocals", 2)
    assert estimate_path(tmp_path, clip, "drums", 1) == drums  # what a separator of one source writes
    assert estimate_path(tmp_path, clip, "drums", 1) != sound(tmp_path / "A - one.wav")
    assert estimate_path(tmp_path, clip, "drums", 1) == tmp_path / "A - one.wav"


def test_missing_and_ambiguous_estimates_are_refused(tmp_path):
    clip = Clip("a", Path("noisy/a.wav"), {})
    with pytest.raises(EnhanceError, match=r"no estimate of clip a: it should be .*/a\.wav"):
        estimate_path(tmp_path, clip, "speech", 1)
    sounds(tmp_path, "a.wav", "a.flac")
    with pytest.raises(EnhanceError, match=r"several estimates of clip a, a\.wav and a\.flac"):
        estimate_path(tmp_path, clip, "speech", 1)


@pytest.mark.parametrize(("id", "mixture"), [("one/a", "one/a.wav"), ("track", "track/mixture.wav")])
def test_a_name_that_other_clips_may_share_is_not_taken(tmp_path, id, mixture):
    sounds(tmp_path, "a.wav", "mixture.wav")
    with pytest.raises(EnhanceError, match=f"no estimate of clip {id}"):
        estimate_path(tmp_path, Clip(id, Path(mixture), {}), "speech", 1)
