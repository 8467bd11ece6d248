"""Files with several tracks of sound: one is denoised, and nothing else is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import Gain

from enhance import audio
from enhance import ffmpeg as ffmpeg_process
from enhance.errors import EnhanceError
from enhance.inference.files import denoise_file
from enhance.inference.tasks import Result, Settings, Task

CPU = torch.device("cpu")
TONES = (440, 880, 1760)  # Hz, of the tracks


@pytest.fixture
def film(tmp_path: Path, ffmpeg: str) -> Path:
    """A picture, three tracks of sound in three codecs, the second being that which players take, and subtitles."""
    (tmp_path / "words.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    sounds = [part for tone in TONES for part in ("-f", "lavfi", "-i", f"sine={tone}:d=2:r=44100,volume=4")]
    target = tmp_path / "film.mkv"
    options = "-map 0 -map 1 -map 2 -map 3 -map 4 -c:v mpeg4 -c:a:0 aac -c:a:1 ac3 -c:a:2 flac -c:s srt -b:a:0 96k"
    tags = "-metadata:s:a:0 language=ger -metadata:s:a:1 language=eng -disposition:a:0 0 -disposition:a:1 default"
    command = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=d=2:s=96x64:r=10", *sounds]
    command += ["-i", tmp_path / "words.srt", *options.split(), *tags.split(), "-metadata:s:a:1", "title=Second mic"]
    subprocess.run([*command, target], check=True)
    return target


def run(source: Path, target: Path, gain: float = 0.5, track: int | None = None, **paths: Path) -> Result:
    return denoise_file(Task(source, target, **paths), Gain(gain), CPU, Settings("", track=track))


def streams(path: Path) -> list[dict[str, Any]]:
    probe = shutil.which("ffprobe")
    assert probe
    command = [probe, "-v", "error", "-show_streams", "-of", "json", path]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]


def described(path: Path) -> list[tuple[str, str, str, int]]:
    tags = [(each, each.get("tags", {})) for each in streams(path)]
    return [
        (each["codec_name"], tag.get("language", ""), tag.get("title", ""), each["disposition"]["default"])
        for each, tag in tags
    ]


def packets(path: Path, stream: str, ffmpeg: str) -> list[str]:
    command = [ffmpeg, "-loglevel", "error", "-i", path, "-map", stream, "-c", "copy", "-f", "framemd5", "-"]
    listing = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return [line.split(",")[-1] for line in listing.splitlines() if not line.startswith("#")]


def tone(path: Path, track: int) -> tuple[float, float]:
    """The strongest frequency of a track in Hz, and its level."""
    wave, rate = audio.read(path, track)
    middle = wave[0, rate // 2 : rate // 2 + rate]
    return float(np.argmax(np.abs(np.fft.rfft(middle)))) * rate / len(middle), float(middle.std())


@pytest.mark.parametrize("track", [None, 1, 2, 3])
def test_one_track_is_denoised_and_the_others_are_copied(film: Path, ffmpeg: str, track: int | None):
    target = film.with_name("clean.mkv")
    result = run(film, target, track=track)
    place = (track or 1) - 1
    assert sorted(described(target)) == sorted(described(film))
    for number, frequency in enumerate(TONES):
        same = packets(target, f"0:a:{number}", ffmpeg) == packets(film, f"0:a:{number}", ffmpeg)
        assert same == (number != place)
        (heard, level), (_, before) = (tone(path, number + 1) for path in (target, film))
        assert heard == frequency
        assert level == pytest.approx((0.5 if number == place else 1) * before, rel=0.02)
    for kind in ("0:v", "0:s"):
        assert packets(target, kind, ffmpeg) == packets(film, kind, ffmpeg)
    expected = "has 3 sound tracks; took the first, the others are copied (--track takes another)"
    assert result.warnings == (() if track else (f"{film}: {expected}",))


@pytest.mark.parametrize("before", ["", "[0x2](und)", "(en-US)", "[0x1c0](eng,ger)", "()"])
def test_a_track_is_known_whatever_its_language(before: str):
    text = f"  Stream #0:1{before}: Audio: flac, 44100 Hz, mono, s32 (24 bit)\n"
    (track,) = ffmpeg_process.sound_tracks(f"{text}Stream mapping:\n  Stream #0:0: Audio: pcm_f32be\n")
    assert (track.codec, track.subtype) == ("flac", "PCM_24")


def test_another_container_has_all_tracks_too(film: Path, ffmpeg: str):
    target = film.with_name("clean.mp4")
    run(film, target, track=2)
    assert [tone(target, number)[0] for number in (1, 2, 3)] == list(TONES)
    assert packets(target, "0:v", ffmpeg) == packets(film, "0:v", ffmpeg)
    sounds = [each for each in streams(target) if each["codec_type"] == "audio"]
    assert [each["tags"]["language"] for each in sounds] == ["ger", "eng", "und"]


def test_of_sound_alone_there_is_one_track(film: Path):
    result = run(film, film.with_name("clean.wav"), noise=film.with_name("noise.wav"))
    assert result.warnings == (
        f"{film}: has 3 sound tracks; took the first, the others are left out (--track takes another)",
    )
    assert tone(film.with_name("clean.wav"), 1)[0] == TONES[0]
    run(film, film.with_name("clean.flac"), track=3)
    assert tone(film.with_name("clean.flac"), 1)[0] == TONES[2]


def test_the_noise_of_a_film_is_one_track(film: Path):
    run(film, film.with_name("clean.mkv"), track=3, noise=film.with_name("clean.noise.mkv"))
    assert [each["codec_name"] for each in streams(film.with_name("clean.noise.mkv"))] == ["flac"]


def test_a_track_that_is_not_there(film: Path):
    with pytest.raises(EnhanceError, match=r"film\.mkv: --track 4, but there are 3 sound tracks: give 1 to 3"):
        run(film, film.with_name("clean.mkv"), track=4)
    run(film, film.with_name("one.wav"))
    run(film, film.with_name("one.m4a"))
    for name in ("one.wav", "one.m4a"):
        with pytest.raises(EnhanceError, match=rf"{name}: --track 2, but there is one sound track: leave it out"):
            run(film.with_name(name), film.with_name("clean.wav"), track=2)
    assert not film.with_name("clean.wav").exists()


@pytest.mark.parametrize(("suffix", "options", "codec"), [
    ("mkv", "-c:a aac", "aac"), ("mkv", "-c:a ac3 -ar 48000", "ac3"), ("mkv", "-c:a libmp3lame", "mp3"),
    ("mkv", "-c:a libopus", "opus"), ("ts", "-c:a aac", "aac"), ("avi", "-c:a ac3 -ar 48000", "ac3"),
    ("ogv", "-c:v libtheora -c:a libvorbis -ar 8000", "vorbis"), ("mp4", "-c:a aac -ar 8000", "aac"),
])  # fmt: skip
def test_a_lossy_codec_stays_what_it_is(tmp_path: Path, ffmpeg: str, suffix: str, options: str, codec: str):
    source, target = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    sources = "-f lavfi -i testsrc=d=1:s=96x64:r=10 -f lavfi -i sine=440:d=1:r=16000 -shortest"
    subprocess.run([ffmpeg, "-loglevel", "error", *f"{sources} {options}".split(), source], check=True)
    run(source, target)
    kinds = [[(each["codec_name"], each.get("sample_rate")) for each in streams(path)] for path in (source, target)]
    assert kinds[0] == kinds[1]
    assert codec in [name for name, _ in kinds[1]]


def test_the_picture_on_the_cover_stays(tmp_path: Path, ffmpeg: str):
    source, target = tmp_path / "book.m4b", tmp_path / "clean.m4b"
    sources = "-f lavfi -i sine=440:d=1 -f lavfi -i testsrc=d=1:s=64x64:r=1 -frames:v 1"
    options = "-map 0 -map 1 -c:v mjpeg -pix_fmt yuvj420p -disposition:v attached_pic -c:a aac"
    subprocess.run([ffmpeg, "-loglevel", "error", *f"{sources} {options}".split(), source], check=True)
    run(source, target)
    assert packets(target, "0:v", ffmpeg) == packets(source, "0:v", ffmpeg)
    assert [each["disposition"]["attached_pic"] for each in streams(target)] == [
        each["disposition"]["attached_pic"] for each in streams(source)
    ]
    assert not audio.info(target).video


def test_what_a_format_cannot_hold_is_not_blamed_on_the_disk(tmp_path: Path, ffmpeg: str):
    audio.write(tmp_path / "a.wav", np.zeros((1, 96000), np.float32), 96000)
    with pytest.raises(EnhanceError, match=r"a\.mkv: cannot be written \(ffmpeg: .*\): take another format"):
        run(tmp_path / "a.wav", tmp_path / "a.mkv")  # Vorbis, which is not written at 96 kHz
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
