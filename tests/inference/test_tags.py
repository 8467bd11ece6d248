"""Tags before the sound: byte for byte in the output, whose audio is what it is without them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import Gain, Shares, noise

from enhance import audio
from enhance.errors import EnhanceError
from enhance.inference import tags
from enhance.inference.files import denoise_file, separate_file
from enhance.inference.tags import put_tags, read_tags
from enhance.inference.tasks import SeparationTask, Settings, Task

CPU = torch.device("cpu")
TEXTS = ["TITLE=A talk", "LOCATION=Quai 9", "RECORDER=Zoom H5", "location=twice"]
PICTURE = struct.pack(">II9sI16xI", 3, 9, b"image/png", 0, 7000) + b"picture" * 1000  # no real one
CUES = bytes(395) + b"\1" + bytes(8) + b"\xff" + bytes(27)  # the end of the last track, and no other
ID3 = b"ID3\4\0\0" + bytes([0, 0, 100 >> 7, 100 & 127]) + b"CHAP".ljust(100, b"\0")


def comments(texts: list[str], encoder: str = "somebody's") -> bytes:
    strings = [encoder.encode(), *(text.encode() for text in texts)]
    packed = [len(string).to_bytes(4, "little") + string for string in strings]
    return packed[0] + len(texts).to_bytes(4, "little") + b"".join(packed[1:])


KEPT = [(2, b"appl" + b"settings"), (4, comments(TEXTS)), (5, CUES), (6, PICTURE), (6, PICTURE)]


def recording(path: Path, kept: list[tuple[int, bytes]]) -> Path:
    """A FLAC file with these blocks, and a seek table and padding among them."""
    soundfile.write(path, noise(2.0, 16000, 2).T, 16000)
    data = path.read_bytes()
    with path.open("rb") as file:
        own = tags._flac_blocks(file, 0)
        start = file.tell()
    blocks = [own[0], (3, bytes(18)), *kept, (1, bytes(50))]
    head = b"".join(
        bytes([kind | (0x80 if place == len(blocks) - 1 else 0)]) + len(content).to_bytes(3, "big") + content
        for place, (kind, content) in enumerate(blocks)
    )
    path.write_bytes(b"fLaC" + head + data[start:])
    return path


def denoised(source: Path, target: Path) -> Path:
    denoise_file(Task(source, target), Gain(0.5), CPU, Settings(""))
    return target


def texts(block: bytes) -> bytes:
    """Without the name of the encoder."""
    return block[4 + int.from_bytes(block[:4], "little") :]


@pytest.mark.parametrize("before", [b"", ID3], ids=["plain", "behind an ID3 tag"])
def test_a_flac_keeps_them_and_its_audio(tmp_path: Path, before: bytes):
    source = recording(tmp_path / "a.flac", KEPT)
    source.write_bytes(before + source.read_bytes())
    target = denoised(source, tmp_path / "b.flac")
    found = read_tags(target, "FLAC").blocks
    assert [(kind, texts(block) if kind == 4 else block) for kind, block in found] == [
        (kind, texts(block) if kind == 4 else block) for kind, block in KEPT
    ]
    assert b"libFLAC" in dict(found)[4][:40]  # who has encoded it is not who encoded the input
    plain = denoised(recording(tmp_path / "plain.flac", []), tmp_path / "c.flac")
    for read in (lambda path: audio.read(path)[0], lambda path: soundfile.read(path)[0].T):
        np.testing.assert_array_equal(read(target), read(plain))
    assert audio.info(target).tags["title"] == "A talk"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.flac", "b.flac", "c.flac", "plain.flac"]


def test_ffmpeg_reads_the_texts_and_the_picture(tmp_path: Path, ffmpeg: str):
    import subprocess

    picture = "-f lavfi -i testsrc=d=1:s=64x64:r=1 -f lavfi -i sine=d=1 -map 1 -map 0 -frames:v 1 -c:v png"
    command = [*f"{ffmpeg} -loglevel error {picture}".split(), "-disposition:v", "attached_pic", "-metadata", "OWN=Ä"]
    subprocess.run([*command, tmp_path / "a.flac"], check=True)
    target = denoised(tmp_path / "a.flac", tmp_path / "b.flac")
    said = subprocess.run([ffmpeg, "-hide_banner", "-i", target], capture_output=True, check=False).stderr.decode()
    assert "OWN             : Ä" in said
    assert "Video: png" in said
    assert audio.info(target).frames == 44100


def test_an_mp3_keeps_its_tag_and_its_audio(tmp_path: Path):
    soundfile.write(tmp_path / "plain.mp3", noise(2.0, 16000)[0], 16000)
    (tmp_path / "a.mp3").write_bytes(ID3 + (tmp_path / "plain.mp3").read_bytes())
    target = denoised(tmp_path / "a.mp3", tmp_path / "b.mp3")
    plain = denoised(tmp_path / "plain.mp3", tmp_path / "c.mp3")
    assert read_tags(plain, "MP3").blocks == []
    assert target.read_bytes() == ID3 + plain.read_bytes()


def test_every_part_and_what_was_removed_keep_them(tmp_path: Path):
    source = recording(tmp_path / "a.flac", KEPT)
    parts = {name: tmp_path / "out" / f"{name}.flac" for name in ("x", "y")}
    separate_file(SeparationTask(source, tmp_path / "out", parts), Shares({"x": 0.3, "y": 0.7}), CPU, Settings(""))
    denoise_file(Task(source, tmp_path / "b.flac", tmp_path / "b.noise.flac"), Gain(0.5), CPU, Settings(""))
    for path in (*parts.values(), tmp_path / "b.flac", tmp_path / "b.noise.flac"):
        assert [kind for kind, _ in read_tags(path, "FLAC").blocks] == [kind for kind, _ in KEPT]


def test_only_between_files_of_a_kind(tmp_path: Path):
    source = recording(tmp_path / "a.flac", KEPT)
    for ending in ("wav", "mp3", "ogg"):
        target = denoised(source, tmp_path / f"b.{ending}")
        assert b"picture" not in target.read_bytes()
        assert audio.info(target).frames == 32000
    assert read_tags(tmp_path / "b.wav", "WAV").blocks == []


def test_what_is_cut_off_is_left_out(tmp_path: Path):
    path = recording(tmp_path / "a.flac", KEPT)
    data = path.read_bytes()
    for length in (0, 3, 4, 6, 40, data.index(b"picture") + 10):
        path.write_bytes(data[:length])
        assert read_tags(path, "FLAC").blocks == []
    path.write_bytes(ID3[:-1])
    assert read_tags(path, "MP3").blocks == []
    path.write_bytes(ID3[:5] + b"\x10" + ID3[6:] + b"footer 3DI" + b"audio")
    assert read_tags(path, "MP3").blocks == [(0, path.read_bytes()[:-5])]
    with pytest.raises(EnhanceError, match=r"none\.flac: cannot be read"):
        read_tags(tmp_path / "none.flac", "FLAC")


@given(st.sampled_from([b"fLaC", b"ID3", b""]), st.binary(max_size=100))
def test_whatever_is_in_it_there_is_no_error(tmp_path_factory: pytest.TempPathFactory, magic: bytes, rest: bytes):
    path = tmp_path_factory.getbasetemp() / "random.flac"
    path.write_bytes(magic + rest)
    for container in ("FLAC", "MP3", "WAV"):
        found = read_tags(path, container)
        path.write_bytes(magic + rest)
        put_tags(path, container, found)
        assert [kind for kind, _ in read_tags(path, container).blocks] == [kind for kind, _ in found.blocks]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = recording(tmp_path / "a.flac", KEPT)

    def full(*_) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(tags.shutil, "copyfileobj", full)
    with pytest.raises(EnhanceError, match=r"b\.flac: cannot be written \(No space left on device\)"):
        denoised(source, tmp_path / "b.flac")
    assert [path.name for path in tmp_path.iterdir()] == ["a.flac"]
