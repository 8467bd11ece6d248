"""Where the loudspeakers of a file stand is said to ffmpeg, which would guess it from their number."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import Gain

from enhance.ffmpeg import Decoder, Encoder, Track, encoder, placed, speakers
from enhance.inference.files import denoise_file
from enhance.inference.tasks import Settings, Task

RATE = 48000
TONES = (300, 400, 500, 600, 700, 800, 900, 1000)  # Hz, of the channels


def surround(path: Path, ffmpeg: str, layout: str, codec: str) -> Path:
    """A second with a tone of its own in each channel."""
    tones = "|".join(f"0.1*sin({frequency}*2*PI*t)" for frequency in TONES[: speakers(layout)])
    source = f"aevalsrc={tones}:c={layout}:s={RATE}:d=1"
    subprocess.run([ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", source, "-c:a", codec, path], check=True)
    return path


def halve(source: Path, target: Path, whole: bool = True, codec: str | None = None) -> None:
    with contextlib.closing(Decoder(source)) as reader:
        track = reader.tracks[0]
        if codec is None:
            codec = encoder(track.codec, reader.channels)
        tracks, layout = (reader.tracks, "") if whole else ((), track.layout)
        more = codec, track.subtype if codec else "", tracks, 0, layout
        with contextlib.closing(Encoder(target, RATE, reader.channels, source, *more)) as writer:
            while (block := reader.read(10_000)).shape[1]:
                writer.write(block / 2)
            writer.finish()


def heard(path: Path) -> tuple[str, np.ndarray]:
    """The layout, and the level of each tone in each channel ``(channels, tones)``."""
    with contextlib.closing(Decoder(path)) as reader:
        sound = reader.read(2 * RATE)[:, RATE // 4 : RATE * 3 // 4]
        levels = np.abs(np.fft.rfft(sound)) * 2 / sound.shape[1]  # (channels, F), 2 Hz apart
        return reader.tracks[0].layout, levels[:, [frequency // 2 for frequency in TONES]]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("layout", "suffix", "codec"), [
    ("mono", "m4a", "aac"), ("stereo", "m4a", "aac"), ("3.0", "m4a", "aac"), ("3.0", "m4a", "alac"),
    ("quad", "m4a", "aac"), ("3.0", "mka", "flac"), ("quad", "mka", "flac"), ("5.1(side)", "mka", "flac"),
    ("5.1", "mka", "flac"), ("7.1", "mka", "wavpack"), ("3.0", "mka", "ac3"), ("quad", "mov", "pcm_s16le"),
    ("5.1(side)", "mov", "pcm_s24le"),
])  # fmt: skip
def test_loudspeakers_stand_where_they_stood(
    tmp_path: Path, ffmpeg: str, layout: str, suffix: str, codec: str, whole: bool
):
    source, target = surround(tmp_path / f"a.{suffix}", ffmpeg, layout, codec), tmp_path / f"b.{suffix}"
    halve(source, target, whole)
    (before, levels), (after, halves) = heard(source), heard(target)
    assert before == after == layout
    np.testing.assert_allclose(halves, levels / 2, atol=0.002)
    assert (levels.diagonal() > 0.09).sum() >= speakers(layout) - layout.endswith(".1")  # of which AAC keeps the bass


def test_so_do_those_of_what_was_removed(tmp_path: Path, ffmpeg: str):
    source = surround(tmp_path / "a.mka", ffmpeg, "3.0", "flac")
    task = Task(source, tmp_path / "b.mka", noise=tmp_path / "b.noise.mka")
    denoise_file(task, Gain(0.5), torch.device("cpu"), Settings(""))
    expected, levels = heard(source)
    for path in task.outputs:
        found = heard(path)
        assert found[0] == expected == "3.0"
        np.testing.assert_allclose(found[1], levels / 2, atol=0.01)


@pytest.mark.parametrize("layout", ["3.0", "quad", "5.0(side)", "5.1(side)", "7.1(wide)"])
def test_what_opus_refuses_it_guesses(tmp_path: Path, ffmpeg: str, layout: str):
    source, target = surround(tmp_path / "a.mka", ffmpeg, layout, "flac"), tmp_path / "b.mka"
    if not encoder("opus", 2):
        pytest.skip("an ffmpeg without Opus")
    halve(source, target, codec="libopus")
    after, levels = heard(target)
    assert after == layout.partition("(")[0]
    assert len(levels) == speakers(layout)


def test_the_layout_of_a_track():
    rest = "fltp, 72 kb/s (default)"
    for layout in ("mono", "stereo", "3.0", "5.1(side)", "7.1(wide-side)", "quad", "3 channels"):
        assert Track(f"aac (LC) (mp4a / 0x6134706D), 48000 Hz, {layout}, {rest}").layout == layout
    assert Track("flac, 44100 Hz, stereo").layout == "stereo"
    assert Track("mp3 ([3][0][0][0] / 0x0003), 0 channels, fltp").layout == ""


@pytest.mark.parametrize(("layout", "count"), [
    ("mono", 1), ("stereo", 2), ("2.1", 3), ("quad(side)", 4), ("5.0", 5), ("5.1(side)", 6), ("hexagonal", 6),
    ("7.1(wide-side)", 8), ("octagonal", 8), ("", 0), ("3 channels", 0), ("downmix", 0), ("binaural", 0),
    ("3.1.2", 0), ("22.2", 0), ("ambisonic 1", 0), ("4 channels (FL+FR+LFE+BC)", 0),
])  # fmt: skip
def test_loudspeakers_are_counted(layout: str, count: int):
    assert speakers(layout) == count
    assert placed(layout, count or 2, "", ".m4a") == (["-channel_layout", layout] if count else [])


def test_a_layout_of_another_number_is_not_believed():
    """Such as that of HE-AAC with parametric stereo, which is mono until it is decoded."""
    assert placed("mono", 2, "aac", ".m4a") == []


@pytest.mark.parametrize(("codec", "suffix"), [("libopus", ".mkv"), ("", ".webm"), ("", ".opus")])
def test_opus_is_known_by_its_container_too(codec: str, suffix: str):
    assert placed("5.1(side)", 6, codec, suffix) == []
    assert placed("3.0", 3, codec, suffix) == ["-channel_layout", "3.0"]
    assert placed("5.1(side)", 6, "aac", ".mkv") == ["-channel_layout", "5.1(side)"]
