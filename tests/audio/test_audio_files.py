"""Reading and writing sound files."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import noise

from enhance import audio
from enhance.errors import EnhanceError
from enhance.inference.output import choose_encoding, written


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_U8", 8), ("PCM_16", 16), ("PCM_24", 24)])
@pytest.mark.parametrize("container", ["wav", "flac", "aiff"])
def test_integers_survive_reading_and_writing_bit_for_bit(tmp_path: Path, container: str, subtype: str, bits: int):
    if (container, subtype) == ("flac", "PCM_U8"):
        subtype = "PCM_S8"
    top = 1 << (bits - 1)
    numbers = np.random.default_rng(0).integers(-top, top, (2, 5000))
    numbers[:, :2] = -top, top - 1
    first, second = tmp_path / f"a.{container}", tmp_path / f"b.{container}"
    soundfile.write(first, (numbers.T << (32 - bits)).astype(np.int32), 44100, subtype)
    wave, rate = audio.read(first)
    assert rate == 44100
    np.testing.assert_array_equal(wave, (numbers / top).astype(np.float32))
    audio.write(second, wave, rate, subtype)
    again = soundfile.read(second, dtype="int32")[0]
    np.testing.assert_array_equal(again.T >> (32 - bits), numbers)


def test_samples_over_full_scale_are_clipped_not_wrapped(tmp_path: Path):
    writer = audio.SoundFileWriter(tmp_path / "a.wav", 8000, 1, "WAV", "PCM_16", {})
    writer.write(np.array([[1.5, -1.5, 1.0, -1.0, 0.5]], dtype=np.float32))
    writer.finish()
    assert writer.clipped == 2
    assert soundfile.read(tmp_path / "a.wav", dtype="int16")[0].tolist() == [
        32767,
        -32768,
        32767,
        -32768,
        16384,
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5000), st.integers(1, 6000))
def test_blocks_put_together_are_the_file(
    tmp_path_factory: pytest.TempPathFactory, channels: int, frames: int, block: int
):
    path = tmp_path_factory.mktemp("blocks") / "a.wav"
    wave = noise(frames / 8000, 8000, channels)
    audio.write(path, wave, 8000, "FLOAT")
    with audio.opened(path) as reader:
        parts = list(audio.blocks(reader, block))
    assert all(part.shape[1] == block for part in parts[:-1])
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), wave)


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac"])
def test_a_file_that_is_cut_off_gives_what_is_there_and_a_warning(tmp_path: Path, suffix: str):
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    audio.write(whole, noise(3, 16000), 16000)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    wave = audio.read(whole)[0]
    with audio.opened(cut) as reader:
        assert reader.info.frames == pytest.approx(48000, abs=3)
        part = np.concatenate(list(audio.blocks(reader, 10000)), axis=1)
        assert "cut off, the header promises 3.00 s" in reader.warning
    assert 24000 < part.shape[1] < 34000
    np.testing.assert_array_equal(part, wave[:, : part.shape[1]])


def test_a_stream_of_unknown_length_is_no_cut_off_file(tmp_path: Path, ffmpeg: str):
    import subprocess

    audio.write(tmp_path / "a.wav", noise(1, 8000), 8000)
    piped = subprocess.run([ffmpeg, "-i", str(tmp_path / "a.wav"), "-f", "wav", "-"], capture_output=True, check=True)
    (tmp_path / "b.wav").write_bytes(piped.stdout)
    with audio.opened(tmp_path / "b.wav") as reader:
        assert sum(block.shape[1] for block in audio.blocks(reader, 3000)) == 8000
        assert reader.warning == ""


@pytest.mark.parametrize("size", [0x7FFFF000, 0x7FFFFF00, 0xFFFFFFDB])
def test_sizes_that_other_programs_leave_in_a_stream_are_no_promise(tmp_path: Path, size: int):
    """Of sox and arecord among others, which cannot go back to the header of a pipe."""
    audio.write(tmp_path / "a.wav", noise(1, 8000), 8000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    with audio.opened(tmp_path / "a.wav") as reader:
        assert reader.info.frames == 8000
        assert sum(block.shape[1] for block in audio.blocks(reader, 3000)) == 8000
        assert reader.warning == ""
    assert choose_encoding(tmp_path / "b.wav", reader.info).container == "WAV"


@pytest.mark.parametrize(
    ("name", "options", "codec", "subtype"),
    [
        ("a.m4a", "-c:a alac -sample_fmt s16p", "alac", "PCM_16"),
        ("a.m4a", "-c:a alac -sample_fmt s32p -bits_per_raw_sample 24", "alac", "PCM_24"),
        ("a.mkv", "-c:a flac -sample_fmt s16", "flac", "PCM_16"),
        ("a.mov", "-c:a pcm_s24le", "pcm_s24le", "PCM_24"),
        ("a.mov", "-c:a pcm_f32le", "pcm_f32le", "FLOAT"),
        ("a.wv", "-c:a wavpack -sample_fmt s16p", "wavpack", "PCM_16"),
    ],
)
def test_what_lost_nothing_in_ffmpeg_loses_nothing(tmp_path: Path, ffmpeg: str, name, options, codec, subtype):
    import subprocess

    source, target = tmp_path / name, tmp_path / f"out{Path(name).suffix}"
    audio.write(tmp_path / "a.wav", noise(1, 44100, 2), 44100, "PCM_16")
    command = [ffmpeg, "-loglevel", "error", "-i", str(tmp_path / "a.wav"), *options.split(), str(source)]
    subprocess.run(command, check=True)
    wave = audio.read(source)[0]
    with audio.opened(source) as reader:
        assert (reader.info.codec, reader.info.subtype) == (codec, subtype)
        with written(target, reader.info, choose_encoding(target, reader.info)) as output:
            for block in audio.blocks(reader, 10000):
                output.write(block)
            output.finish()
        assert choose_encoding(tmp_path / "b.wav", reader.info).subtype == subtype
    np.testing.assert_array_equal(audio.read(target)[0], wave)
    with audio.opened(target) as again:
        assert (again.info.codec, again.info.subtype) == (codec, subtype)


def test_what_lost_something_has_no_bits(tmp_path: Path, ffmpeg: str):
    import subprocess

    audio.write(tmp_path / "a.wav", noise(1, 44100), 44100)
    subprocess.run([ffmpeg, "-loglevel", "error", "-i", tmp_path / "a.wav", tmp_path / "a.m4a"], check=True)
    about = audio.info(tmp_path / "a.m4a")
    assert (about.codec, about.subtype) == ("aac", "")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_named(tmp_path: Path, value: float):
    wave = noise(2, 16000, 2)
    wave[1, 24000] = value
    audio.write(tmp_path / "a.wav", wave, 16000, "FLOAT")
    with pytest.raises(EnhanceError, match=r"a\.wav: sample 24000 \(at 1\.500 s\) is NaN or infinite"):
        audio.read(tmp_path / "a.wav")


def test_what_soundfile_cannot_read_goes_through_ffmpeg(tmp_path: Path, ffmpeg: str):
    import subprocess

    wave = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100).astype(np.float32) * 0.5
    audio.write(tmp_path / "a.wav", np.stack((wave, 0 * wave)), 44100)
    subprocess.run(
        [
            ffmpeg,
            "-loglevel",
            "error",
            "-i",
            str(tmp_path / "a.wav"),
            "-metadata",
            "title=A tone",
            "-c:a",
            "alac",
            str(tmp_path / "a.m4a"),
        ],
        check=True,
    )
    info = audio.info(tmp_path / "a.m4a")
    assert (info.sample_rate, info.channels, info.seconds, info.video) == (44100, 2, 1.0, False)
    assert info.tags == {"title": "A tone"}
    decoded, _ = audio.read(tmp_path / "a.m4a")
    np.testing.assert_array_equal(decoded, audio.read(tmp_path / "a.wav")[0])


def bad_files(folder: Path) -> dict[str, str]:
    (folder / "text.wav").write_text("This is not a sound.\n" * 40)
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "none.wav", np.zeros((0, 1)), 16000)
    return {
        "missing.wav": "no such file",
        "text.wav": "not an audio file",
        "empty.wav": "holds no samples",
        "none.wav": "holds no samples",
        ".": "is a folder",
    }


def test_each_bad_file_is_named_with_a_reason(tmp_path: Path):
    for name, reason in bad_files(tmp_path).items():
        with pytest.raises(EnhanceError, match=reason) as caught:
            audio.read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_without_ffmpeg_the_message_says_what_is_needed(tmp_path: Path, no_ffmpeg: None):
    (tmp_path / "talk.mp4").write_bytes(b"\0" * 1000)
    with pytest.raises(EnhanceError, match=r"talk\.mp4: reading it needs ffmpeg: install ffmpeg"):
        audio.info(tmp_path / "talk.mp4")
    (tmp_path / "text.wav").write_text("not a sound")
    with pytest.raises(EnhanceError, match=r"text\.wav: not an audio file"):
        audio.info(tmp_path / "text.wav")


def test_a_video_without_sound_is_refused(tmp_path: Path, ffmpeg: str):
    import subprocess

    subprocess.run(
        [
            ffmpeg,
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=duration=1:size=64x48:rate=5",
            "-c:v",
            "mpeg4",
            str(tmp_path / "a.mp4"),
        ],
        check=True,
    )
    with pytest.raises(EnhanceError, match=r"a\.mp4: has no sound"):
        audio.info(tmp_path / "a.mp4")


def test_the_same_sound_gives_the_same_bytes_at_another_time(tmp_path: Path):
    """Of floats libsndfile would write the time of day, in seconds."""
    names = [f"a.{ending}" for ending in ("wav", "aiff", "caf", "w64", "flac")]
    found = []
    for _ in range(2):
        for name in names:
            audio.write(tmp_path / name, noise(1, 4000), 16000, "PCM_24" if name.endswith("flac") else "FLOAT")
        found.append([(tmp_path / name).read_bytes() for name in names])
        time.sleep(1.1)
    assert found[0] == found[1]
