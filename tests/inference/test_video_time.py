"""Sound stays where it is beside the picture, in all that ffmpeg reads and writes."""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from enhance.ffmpeg import Decoder, Encoder, encoder, sound_tracks
from enhance.mpeg import broadcast

RATE = 48000
OFFSET = 0.48  # s, between the starts of picture and sound
TOLERANCE = 0.025  # s: a frame of MP2


def film(path: Path, ffmpeg: str, picture: float = 0, sound: float = 0, tracks: int = 1) -> Path:
    """A picture and tracks of noise that start so many seconds after another."""
    sources = f"-itsoffset {picture} -f lavfi -i testsrc=d=2:s=96x64:r=25 -itsoffset {sound} -f lavfi -i"
    noise = f"anoisesrc=d=2:r={RATE}:a=0.3:s=1"
    coding = f"-map 0 {'-map 1 ' * tracks}-c:v mpeg2video -c:a mp2"
    command = [ffmpeg, "-loglevel", "error", *sources.split(), noise, *coding.split(), path]
    subprocess.run(command, check=True)
    return path


def halve(source: Path, target: Path, track: int = 0) -> np.ndarray:
    """Write ``source`` again, a track of it at half the level; what was read ``(channels, time)``."""
    with contextlib.closing(Decoder(source, track)) as reader:
        codec = encoder(reader.tracks[track].codec, reader.channels) if source.suffix == target.suffix else ""
        more = codec, "", reader.tracks, track
        with contextlib.closing(Encoder(target, reader.sample_rate, reader.channels, source, *more)) as writer:
            blocks = []
            while (block := reader.read(10_000)).shape[1]:
                writer.write(block / 2)
                blocks.append(block)
            writer.finish()
        assert not reader.warning
    return np.concatenate(blocks, axis=1)


def first(path: Path, stream: str, ffmpeg: str) -> float:
    """When a track starts, in s of the file's own clock."""
    command = [ffmpeg, "-loglevel", "error", "-copyts", "-i", path, "-map", stream, "-c", "copy", "-f", "framecrc", "-"]
    listing = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    unit = re.search(r"^#tb 0: (\d+)/(\d+)", listing, flags=re.MULTILINE)
    stamps = map(int, re.findall(r"^0, +-?\d+, +(-?\d+),", listing, flags=re.MULTILINE))
    assert unit
    return min(stamp for stamp in stamps if stamp > -(1 << 62)) * int(unit[1]) / int(unit[2])  # not all have one


def late(path: Path, ffmpeg: str, track: int = 0) -> float:
    """How many seconds after the picture the noise is heard."""
    command = [ffmpeg, "-loglevel", "error", "-i", path, "-map", f"0:a:{track}", "-ac", "1", "-f", "f32le", "-"]
    sound = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<f4")
    silence = int(np.argmax(np.abs(sound) > 0.03)) / RATE
    return first(path, f"0:a:{track}", ffmpeg) + silence - first(path, "0:v:0", ffmpeg)


@pytest.mark.parametrize(("name", "target"), [
    ("a.ts", "b.ts"), ("a.m2ts", "b.m2ts"), ("a.mpg", "b.mpg"), ("a.mkv", "b.mkv"), ("a.mov", "b.mov"),
    ("a.ts", "b.mkv"), ("a.mpg", "b.mov"),
])  # fmt: skip
@pytest.mark.parametrize("starts", [(0, OFFSET), (OFFSET, 0)])
def test_sound_stays_beside_its_picture(tmp_path: Path, ffmpeg: str, name: str, target: str, starts):
    source = film(tmp_path / name, ffmpeg, *starts)
    before = late(source, ffmpeg)
    if starts[1] or name.endswith("ts"):  # else the container has both begin at once
        assert before == pytest.approx(starts[1] - starts[0], abs=TOLERANCE)
    halve(source, tmp_path / target)
    assert late(tmp_path / target, ffmpeg) == pytest.approx(before, abs=TOLERANCE)


@pytest.mark.parametrize("track", [0, 1])
def test_so_does_each_of_several_tracks(tmp_path: Path, ffmpeg: str, track: int):
    source, target = film(tmp_path / "a.ts", ffmpeg, 0, OFFSET, tracks=2), tmp_path / "b.ts"
    halve(source, target, track)
    for each in (0, 1):
        assert late(target, ffmpeg, each) == pytest.approx(late(source, ffmpeg, each), abs=TOLERANCE)


def test_sound_without_a_picture_begins_at_once(tmp_path: Path, ffmpeg: str):
    """Whatever the clock of the file says: it begins at 1.4 s in MPEG-TS."""
    source = film(tmp_path / "a.ts", ffmpeg, 0, OFFSET)
    alone = tmp_path / "b.ts"
    subprocess.run([ffmpeg, "-loglevel", "error", "-copyts", "-i", source, "-vn", "-c", "copy", alone], check=True)
    assert first(alone, "0:a", ffmpeg) > OFFSET
    sound, silent = read(alone), read(source)
    gap = silent.shape[1] - sound.shape[1]
    assert gap == pytest.approx(OFFSET * RATE, abs=TOLERANCE * RATE)
    assert not silent[:, : gap - 1].any()
    np.testing.assert_array_equal(silent[:, gap + 1000 :], sound[:, 1000:])


def test_a_track_that_is_announced_and_does_not_come_is_no_hindrance(tmp_path: Path, ffmpeg: str):
    source = film(tmp_path / "a.ts", ffmpeg, 0, OFFSET, tracks=2)
    packets = np.frombuffer(source.read_bytes(), np.uint8).reshape(-1, 188)
    numbers = (packets[:, 1].astype(int) & 31) << 8 | packets[:, 2]
    expected = read(source)
    source.write_bytes(packets[numbers != 0x102].tobytes())
    np.testing.assert_array_equal(read(source), expected)


def test_what_ffmpeg_writes_is_not_what_it_reads():
    """It speaks of an output that copies before it says that it begins."""
    track = (
        "  Stream #0:1[0x2](und): Audio: aac (LC), 48000 Hz, mono, fltp\n    Metadata:\n      title           : Mine\n"
    )
    written = "Output #1, null, to 'pipe:':\n  Stream #1:0: Video: h264\n    Metadata:\n      handler_name    : Other\n"
    (found,) = sound_tracks(f"{track}{written}Stream mapping:\n  Stream #0:1 -> #0:0\n")
    assert found.tags == ("language=und", "title=Mine")


def test_broadcast_is_known_by_its_packets(tmp_path: Path, ffmpeg: str):
    for name in ("a.ts", "a.m2ts", "a.mpg"):
        assert broadcast(film(tmp_path / name, ffmpeg))
    cut = tmp_path / "cut.ts"
    cut.write_bytes((tmp_path / "a.ts").read_bytes()[100:])
    assert broadcast(cut)
    for name in ("a.mkv", "a.mov", "a.avi"):
        assert not broadcast(film(tmp_path / name, ffmpeg))
    assert not broadcast(tmp_path / "none.ts")
    for data in (b"", b"G", b"G" * 188, bytes(10_000)):
        cut.write_bytes(data)
        assert not broadcast(cut)


def read(path: Path) -> np.ndarray:
    with contextlib.closing(Decoder(path)) as reader:
        return reader.read(10 * RATE)
