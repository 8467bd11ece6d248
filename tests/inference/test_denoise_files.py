"""One file to another: formats, tags, videos, clipping, noise kept."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from toys import Gain, difference_db, noise

from enhance import audio
from enhance.errors import EnhanceError
from enhance.inference.files import denoise_file
from enhance.inference.output import nearest_subtype
from enhance.inference.tasks import Result, Settings, Task

CPU = torch.device("cpu")


def run(
    source: Path,
    target: Path,
    model: torch.nn.Module | None = None,
    prevent_clipping: bool = False,
    **paths: Path,
) -> Result:
    settings = Settings("", prevent_clipping=prevent_clipping)
    return denoise_file(Task(source, target, **paths), model or Gain(), CPU, settings)


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(("suffix", "subtype", "limit"), [
    ("wav", "PCM_16", -np.inf), ("wav", "PCM_24", -np.inf), ("wav", "FLOAT", -120.0),
    ("wav", "ULAW", -np.inf),
    ("flac", "PCM_16", -np.inf), ("flac", "PCM_24", -np.inf), ("aiff", "PCM_16", -np.inf),
])  # fmt: skip
def test_lossless_formats(tmp_path: Path, suffix: str, subtype: str, limit: float, channels: int, rate: int):
    source, target = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    soundfile.write(source, noise(0.3, rate, channels).T[:-7], rate, subtype)
    result = run(source, target)
    before, after = soundfile.info(source), soundfile.info(target)
    for name in ("frames", "samplerate", "channels", "format", "subtype"):
        assert getattr(after, name) == getattr(before, name), name
    assert result.seconds == before.frames / rate
    a, b = audio.read(source)[0], audio.read(target)[0]
    if np.isinf(limit):
        np.testing.assert_array_equal(a, b)
    else:
        assert difference_db(b, a) < limit


@pytest.mark.parametrize(("suffix", "subtype", "rate"), [
    ("ogg", "VORBIS", 44100), ("mp3", "MPEG_LAYER_III", 44100), ("mp3", "MPEG_LAYER_III", 16000),
    ("ogg", "OPUS", 48000), ("opus", "OPUS", 48000),
])  # fmt: skip
def test_lossy_formats(tmp_path: Path, suffix: str, subtype: str, rate: int):
    source, target = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    tone = 0.3 * np.sin(2 * np.pi * 500 * np.arange(rate) / rate)
    soundfile.write(source, np.stack((tone, tone), axis=1), rate, subtype, format="MP3" if suffix == "mp3" else "OGG")
    run(source, target)
    before, after = soundfile.info(source), soundfile.info(target)
    assert (after.frames, after.samplerate, after.subtype) == (before.frames, rate, subtype)
    assert difference_db(audio.read(target)[0], audio.read(source)[0]) < -25


@pytest.mark.parametrize("suffix", ["mp3", "ogg"])
def test_what_loses_something_loses_little(tmp_path: Path, suffix: str):
    """Noise is the hardest: at 44.1 kHz with its top, which the encoders' own choice cuts off at 16 kHz."""
    rate = 44100
    soundfile.write(tmp_path / "a.wav", 0.3 * noise(5.0, rate, 2).T, rate)
    run(tmp_path / "a.wav", tmp_path / f"b.{suffix}")
    assert (tmp_path / f"b.{suffix}").stat().st_size * 8 / 5 > 160_000  # bit/s
    before, after = (np.abs(np.fft.rfft(audio.read(tmp_path / name)[0][0])) for name in ("a.wav", f"b.{suffix}"))
    top = slice(16500 * 5, 18000 * 5)
    assert 20 * np.log10(np.linalg.norm(after[top]) / np.linalg.norm(before[top])) > -3


@pytest.mark.skipif(os.name == "nt", reason="rights of another kind")
def test_who_may_not_read_the_input_may_not_read_the_output(tmp_path: Path):
    audio.write(tmp_path / "a.wav", noise(0.3, 16000), 16000)
    for mode, expected in ((0o600, 0o600), (0o440, 0o640 & ~0o022)):
        (tmp_path / "a.wav").chmod(mode)
        run(tmp_path / "a.wav", tmp_path / f"{mode}.wav")
        assert (tmp_path / f"{mode}.wav").stat().st_mode & 0o777 == expected
    (tmp_path / "there.wav").touch(0o600)
    (tmp_path / "a.wav").chmod(0o644)
    run(tmp_path / "a.wav", tmp_path / "there.wav")
    assert (tmp_path / "there.wav").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("source", "target", "expected"), [
    ("PCM_16", "flac", ("FLAC", "PCM_16")), ("PCM_24", "flac", ("FLAC", "PCM_24")),
    ("FLOAT", "flac", ("FLAC", "PCM_24")), ("PCM_U8", "flac", ("FLAC", "PCM_S8")),
    ("FLOAT", "aiff", ("AIFF", "FLOAT")), ("ULAW", "flac", ("FLAC", "PCM_16")),
    ("PCM_24", "ogg", ("OGG", "VORBIS")), ("PCM_16", "mp3", ("MP3", "MPEG_LAYER_III")),
])  # fmt: skip
def test_another_ending_is_another_container(tmp_path: Path, source: str, target: str, expected: tuple[str, str]):
    soundfile.write(tmp_path / "a.wav", noise(0.3, 16000)[0], 16000, source)
    run(tmp_path / "a.wav", tmp_path / f"b.{target}")
    info = soundfile.info(tmp_path / f"b.{target}")
    assert (info.format, info.subtype, info.frames) == (*expected, 4800)


@pytest.mark.parametrize(("suffix", "subtype", "expected"), [
    (".wav", "VORBIS", "PCM_16"), (".wav", "ALAC_24", "PCM_24"), (".flac", "DOUBLE", "PCM_24"),
    (".wav", "", "PCM_16"), (".opus", "PCM_16", "OPUS"), (".mp3", "FLOAT", "MPEG_LAYER_III"),
])  # fmt: skip
def test_nearest_subtype(suffix: str, subtype: str, expected: str):
    assert nearest_subtype(suffix, subtype) == expected


def test_tags_are_kept(tmp_path: Path):
    for suffix in ("flac", "ogg", "wav"):
        with soundfile.SoundFile(tmp_path / f"a.{suffix}", "w", 16000, 1) as sound:
            sound.title, sound.artist, sound.comment = "A talk", "Ann Üß", "third take"
            sound.write(noise(0.3, 16000)[0])
        run(tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}")
        with soundfile.SoundFile(tmp_path / f"b.{suffix}") as sound:
            assert (sound.title, sound.artist, sound.comment) == ("A talk", "Ann Üß", "third take")


def test_clipping_is_counted_and_prevented_if_asked(tmp_path: Path):
    source = tmp_path / "a.wav"
    wave = np.zeros((1, 16000), dtype=np.float32)
    wave[0, 8000:8010] = 0.8
    audio.write(source, wave, 16000, "PCM_16")
    result = run(source, tmp_path / "b.wav", Gain(2.0))
    assert (result.clipped, result.peak) == (10, pytest.approx(1.6, abs=1e-3))
    assert "10 samples clipped" in result.warnings[0]
    assert audio.read(tmp_path / "b.wav")[0].max() == 32767 / 32768
    lowered = run(source, tmp_path / "nope" / ".." / "c.wav", Gain(2.0), prevent_clipping=True)
    assert (lowered.clipped, lowered.warnings) == (0, ())
    assert lowered.lowered_db == pytest.approx(4.08, abs=0.01)
    assert audio.read(tmp_path / "c.wav")[0].max() == 32767 / 32768
    quiet = run(source, tmp_path / "d.wav", Gain(1.0), prevent_clipping=True)
    assert quiet.lowered_db == 0
    np.testing.assert_array_equal(audio.read(tmp_path / "d.wav")[0], audio.read(source)[0])


def test_clipping_of_the_noise_is_counted(tmp_path: Path):
    audio.write(tmp_path / "a.wav", np.full((1, 1000), 0.9, dtype=np.float32), 16000)
    result = run(tmp_path / "a.wav", tmp_path / "b.wav", Gain(-1.0), noise=tmp_path / "b.noise.wav")
    assert result.clipped == 0
    assert result.warnings == (f"{tmp_path / 'b.noise.wav'}: 1000 samples clipped at full scale",)


def test_a_full_disk_is_blamed_on_the_file_that_did_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError("no room")

    audio.write(tmp_path / "a.wav", noise(0.5, 16000), 16000)
    monkeypatch.setattr(audio.SoundFileWriter, "write", full)
    with pytest.raises(EnhanceError, match=r"b\.wav: cannot be written \(no room\)"):
        run(tmp_path / "a.wav", tmp_path / "b.wav", plot=tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_float_file_may_pass_full_scale(tmp_path: Path):
    audio.write(tmp_path / "a.wav", noise(0.5, 16000, level=0.5), 16000, "FLOAT")
    result = run(tmp_path / "a.wav", tmp_path / "b.wav", Gain(4.0))
    assert result.clipped == 0
    assert result.peak > 2
    np.testing.assert_array_equal(audio.read(tmp_path / "b.wav")[0], 4 * audio.read(tmp_path / "a.wav")[0])


def test_noise_and_clean_add_up_to_the_input(tmp_path: Path):
    audio.write(tmp_path / "a.wav", noise(1, 44100, 2), 44100, "FLOAT")
    run(tmp_path / "a.wav", tmp_path / "b.wav", Gain(0.3), noise=tmp_path / "b.noise.wav")
    whole, clean, rest = (audio.read(tmp_path / name)[0] for name in ("a.wav", "b.wav", "b.noise.wav"))
    np.testing.assert_allclose(clean + rest, whole, atol=1e-7)
    assert difference_db(rest, 0.7 * whole) < -30


@pytest.fixture
def video(tmp_path: Path, ffmpeg: str) -> Path:
    """Three seconds of test picture whose sound begins, with a click, half a second late."""
    wave = np.zeros((1, 2 * 44100), dtype=np.float32)
    wave[0, :2000] = 0.5 * np.sin(np.arange(2000) * 0.2)
    wave[0, 44100:46100] = 0.5 * np.sin(np.arange(2000) * 0.2)
    audio.write(tmp_path / "sound.wav", wave, 44100)
    subprocess.run([ffmpeg, "-loglevel", "error", "-f", "lavfi",
                    "-i", "testsrc=duration=3:size=96x64:rate=10",
                    "-itsoffset", "0.5", "-i", str(tmp_path / "sound.wav"), "-map", "0:v", "-map", "1:a",
                    "-c:v", "mpeg4", "-c:a", "aac", "-metadata", "title=A film", str(tmp_path / "talk.mp4")],
                   check=True)  # fmt: skip
    return tmp_path / "talk.mp4"


def packets(path: Path, ffmpeg: str) -> str:
    """Checksums of the packets of the pictures."""
    command = [
        ffmpeg,
        "-loglevel",
        "error",
        "-i",
        str(path),
        "-map",
        "0:v",
        "-c",
        "copy",
        "-f",
        "framemd5",
        "-",
    ]
    listing = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return "\n".join(line.split(",")[-1] for line in listing.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_video_keeps_its_pictures_and_its_time(video: Path, ffmpeg: str, suffix: str):
    target = video.with_name(f"talk-clean.{suffix}")
    result = run(video, target)
    assert result.seconds == pytest.approx(2.5, abs=0.06)
    assert packets(target, ffmpeg) == packets(video, ffmpeg)
    assert audio.info(target).video
    assert audio.info(target).tags["title"] == "A film"
    clicks = [np.argmax(np.abs(audio.read(path)[0][0]) > 0.2) / 44100 for path in (video, target)]
    assert clicks == pytest.approx([0.5, 0.5], abs=0.005)
    levels = [np.std(audio.read(path)[0]) for path in (video, target)]  # the encoder shifts phases
    assert levels[1] == pytest.approx(levels[0], rel=0.05)
    assert left_behind(video.parent) == []


def test_the_sound_of_a_video_alone(video: Path, ffmpeg: str):
    run(video, video.with_name("a.wav"), noise=video.with_name("a.noise.wav"))
    info = audio.info(video.with_name("a.wav"))
    assert (info.container, info.subtype, info.sample_rate, info.tags["title"]) == (
        "WAV",
        "PCM_16",
        44100,
        "A film",
    )
    run(video, video.with_name("a.m4a"))
    assert not audio.info(video.with_name("a.m4a")).video


def test_what_a_codec_cannot_hold_goes_through_ffmpeg(tmp_path: Path, ffmpeg: str):
    """MP3 ends at 48 kHz, Opus knows five rates: ffmpeg resamples to one that they have."""
    audio.write(tmp_path / "a.wav", noise(1, 96000), 96000)
    run(tmp_path / "a.wav", tmp_path / "b.mp3")
    assert audio.info(tmp_path / "b.mp3").sample_rate == 48000


def test_what_needs_ffmpeg_says_so(tmp_path: Path, no_ffmpeg: None):
    audio.write(tmp_path / "a.wav", noise(0.1, 16000), 16000)
    with pytest.raises(EnhanceError, match=r"b\.m4a: writing 1 channels at 16000 Hz as m4a needs ffmpeg"):
        run(tmp_path / "a.wav", tmp_path / "b.m4a")
    with pytest.raises(EnhanceError, match=re.escape("b.txt: .txt is not a format that can be written")):
        run(tmp_path / "a.wav", tmp_path / "b.txt")


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path):
    wave = noise(5, 16000)
    wave[0, 70000] = np.nan
    audio.write(tmp_path / "a.wav", wave, 16000, "FLOAT")
    with pytest.raises(EnhanceError, match="sample 70000"):
        run(tmp_path / "a.wav", tmp_path / "b.wav", noise=tmp_path / "b.noise.wav", plot=tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_folder_that_is_none(tmp_path: Path):
    audio.write(tmp_path / "a.wav", noise(0.1, 16000), 16000)
    with pytest.raises(EnhanceError, match="cannot be written"):
        run(tmp_path / "a.wav", tmp_path / "a.wav" / "b.wav")


def test_the_plot(tmp_path: Path):
    from matplotlib.image import imread

    audio.write(tmp_path / "a.wav", noise(1, 44100, 2), 44100)
    run(tmp_path / "a.wav", tmp_path / "b.wav", Gain(0.001), plot=tmp_path / "b.png")
    picture = imread(tmp_path / "b.png")
    assert picture.shape[1] == 1440
    before, after = np.split(picture[100:-100, 100:1100, :3].mean(axis=(1, 2)), 2)
    assert before.mean() > 2 * after.mean()  # louder is brighter


@pytest.mark.parametrize("name", ["\udcff.wav", "録音.wav", "$a_b.wav"])
def test_the_plot_of_a_file_of_any_name(tmp_path: Path, name: str, recwarn: pytest.WarningsRecorder):
    audio.write(tmp_path / name, noise(0.5, 16000), 16000)
    run(tmp_path / name, tmp_path / "b.wav", plot=tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 1000
    assert not [each for each in recwarn if "Glyph" in str(each.message)]


def test_what_ffmpeg_has_no_encoder_for_is_not_blamed_on_the_disk(tmp_path: Path, ffmpeg: str):
    audio.write(tmp_path / "a.wav", noise(0.5, 16000), 16000)
    with pytest.raises(EnhanceError, match=r"b\.ape: cannot be written .*: take another format"):
        run(tmp_path / "a.wav", tmp_path / "b.ape")


def test_flac_in_ogg_stays_lossless(tmp_path: Path, ffmpeg: str):
    audio.write(tmp_path / "a.wav", noise(0.5, 16000), 16000)
    subprocess.run([ffmpeg, "-v", "error", "-i", tmp_path / "a.wav", "-c:a", "flac", tmp_path / "a.oga"], check=True)
    run(tmp_path / "a.oga", tmp_path / "b.oga")
    np.testing.assert_array_equal(audio.read(tmp_path / "b.oga")[0], audio.read(tmp_path / "a.wav")[0])


def test_the_plot_of_a_long_signal_stays_small():
    from enhance.inference.plot import COLUMNS, Spectrogram

    spectrogram = Spectrogram(8000)
    seconds = 100
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000 * seconds) / 8000).astype(np.float32)
    tone[: 4000 * seconds] = 0
    for block in np.split(tone, 50):
        spectrogram.push(block[None])
    picture = spectrogram.decibels()
    assert COLUMNS <= picture.shape[1] <= 2 * COLUMNS
    row = round(1000 / 4000 * picture.shape[0])
    half = picture.shape[1] // 2
    assert picture[row, half + 5 :].min() > -1.0  # a full-scale sine is 0 dB
    assert picture[:, : half - 5].max() < -100
