"""Chunks of WAV, time code and markers: byte for byte in the output, whose audio is what it is without them."""

from __future__ import annotations

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
from enhance.inference import broadcast
from enhance.inference.broadcast import append_chunks, read_chunks
from enhance.inference.files import denoise_file, separate_file
from enhance.inference.tasks import SeparationTask, Settings, Task

CPU = torch.device("cpu")
BEXT = b"A scene".ljust(256, b"\0") + b"A recorder".ljust(82, b"\0") + struct.pack("<QH", 48000 * 3600, 1) + bytes(254)
BOTH = [(b"bext", BEXT + b"A=PCM,F=16000\r\n"), (b"iXML", b"<BWFXML><SCENE>12</SCENE></BWFXML>")]


def packed(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def recording(path: Path, before: list = (), after: list = (), seconds: float = 5.0, **options: str) -> Path:
    """A sound file with these chunks before and after its audio."""
    soundfile.write(path, noise(seconds, 16000, 2).T, 16000, **options)
    data = path.read_bytes()
    place = data.index(b"data")
    whole = data[:place] + b"".join(packed(*each) for each in before) + data[place:]
    whole += b"".join(packed(*each) for each in after)
    if whole[:4] == b"RIFF":
        whole = whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
    path.write_bytes(whole)
    return path


def denoised(source: Path, target: Path) -> bytes:
    denoise_file(Task(source, target), Gain(0.5), CPU, Settings(""))
    return target.read_bytes()


@pytest.mark.parametrize(("before", "after"), [(BOTH, []), ([], BOTH), (BOTH[:1], BOTH[1:])])
@pytest.mark.parametrize("more", [b"", b" "], ids=["even", "odd"])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT"])
def test_a_wav_keeps_them_and_its_audio(tmp_path: Path, before: list, after: list, more: bytes, subtype: str):
    before, after = ([(name, content + more) for name, content in each] for each in (before, after))
    source = recording(tmp_path / "a.wav", before, after, 5 + 1 / 16000, subtype=subtype)
    plain = denoised(recording(tmp_path / "b.wav", seconds=5 + 1 / 16000, subtype=subtype), tmp_path / "plain.wav")
    found = denoised(source, tmp_path / "out.wav")
    assert read_chunks(tmp_path / "out.wav") == before + after
    assert found[8:] == plain[8:] + b"".join(packed(*each) for each in before + after)
    assert struct.unpack("<I", found[4:8]) == (len(found) - 8,)
    about = soundfile.info(tmp_path / "out.wav")
    assert (about.frames, about.samplerate, about.subtype) == (80001, 16000, subtype)
    for wave in (audio.read(tmp_path / "out.wav")[0], soundfile.read(tmp_path / "out.wav")[0].T):
        np.testing.assert_array_equal(wave, audio.read(tmp_path / "plain.wav")[0])


def test_every_part_and_what_was_removed_keep_them(tmp_path: Path):
    source = recording(tmp_path / "a.wav", BOTH)
    parts = {name: tmp_path / "out" / f"{name}.wav" for name in ("x", "y")}
    separate_file(SeparationTask(source, tmp_path / "out", parts), Shares({"x": 0.3, "y": 0.7}), CPU, Settings(""))
    denoise_file(Task(source, tmp_path / "b.wav", tmp_path / "b.noise.wav"), Gain(0.5), CPU, Settings(""))
    for path in (*parts.values(), tmp_path / "b.wav", tmp_path / "b.noise.wav"):
        assert read_chunks(path) == BOTH
        assert soundfile.info(path).frames == 80000


def test_markers_keep_their_places_and_labels(tmp_path: Path):
    """Three markers, of which the second is called Answer; texts of the file are in a list of their own."""
    places = [struct.pack("<II4sIII", number, 0, b"data", 0, 0, 16000 * number) for number in (1, 2, 3)]
    label = b"labl" + struct.pack("<II", 11, 2) + b"Answer\0\0"
    marks = [(b"cue ", struct.pack("<I", 3) + b"".join(places)), (b"LIST", b"adtl" + label)]
    texts = (b"LIST", b"INFO" + b"INAM" + struct.pack("<I", 6) + b"A take")
    source = recording(tmp_path / "a.wav", [texts], [*marks, (b"id3 ", b"ID3\4\0\0\0\0\0\0")])
    denoised(source, tmp_path / "b.wav")
    assert read_chunks(tmp_path / "b.wav") == [texts, *marks, (b"id3 ", b"ID3\4\0\0\0\0\0\0")]
    assert audio.info(tmp_path / "b.wav").tags["title"] == "A take"
    assert (tmp_path / "b.wav").read_bytes().count(b"INAM") == 1


def test_texts_are_kept_whatever_they_are_called_and_however_they_are_written(tmp_path: Path):
    """``Café`` as Windows wrote it before UTF-8, and an engineer, of whom libsndfile knows nothing."""
    title, engineer = "Café".encode("cp1252") + b"\0\0", b"Ann\0"
    content = b"INFO" + packed(b"INAM", title) + packed(b"IENG", engineer)
    source = recording(tmp_path / "a.wav", [(b"LIST", content)])
    denoised(source, tmp_path / "b.wav")
    assert read_chunks(tmp_path / "b.wav") == [(b"LIST", content)]
    denoised(tmp_path / "b.wav", tmp_path / "c.flac")
    assert audio.info(tmp_path / "c.flac").tags["title"] == "Café"
    denoised(tmp_path / "b.wav", tmp_path / "d.rf64")  # to which no chunks are added
    assert audio.info(tmp_path / "d.rf64").tags["title"] == "Café"


@pytest.mark.parametrize(("channels", "mask"), [(3, 0x7), (4, 0x107), (6, 0x3F), (6, 0x60F), (8, 0x63F)])
def test_each_channel_keeps_its_loudspeaker(tmp_path: Path, channels: int, mask: int):
    source = tmp_path / "a.wav"
    soundfile.write(source, noise(1.0, 16000, channels).T, 16000, subtype="PCM_16", format="WAVEX")
    data = source.read_bytes()
    place = data.index(b"fmt ") + 8 + 20
    source.write_bytes(data[:place] + struct.pack("<I", mask) + data[place + 4 :])
    made = denoised(source, tmp_path / "b.wav")
    assert struct.unpack_from("<I", made, made.index(b"fmt ") + 28) == (mask,)
    np.testing.assert_allclose(audio.read(tmp_path / "b.wav")[0], 0.5 * audio.read(source)[0], atol=1e-4)


def test_only_between_wavs(tmp_path: Path):
    source = recording(tmp_path / "a.wav", BOTH)
    for ending in ("flac", "rf64", "aiff"):
        denoised(source, tmp_path / f"out.{ending}")
        assert soundfile.info(tmp_path / f"out.{ending}").frames == 80000
        assert read_chunks(tmp_path / f"out.{ending}") == []
    assert read_chunks(recording(tmp_path / "b.rf64", BOTH)) == BOTH
    denoised(tmp_path / "b.rf64", tmp_path / "c.wav")
    assert read_chunks(tmp_path / "c.wav") == BOTH
    denoised(tmp_path / "out.flac", tmp_path / "d.wav")
    assert read_chunks(tmp_path / "d.wav") == []


def test_after_audio_whose_size_the_header_does_not_hold(tmp_path: Path):
    path = recording(tmp_path / "a.rf64", BOTH[:1], BOTH[1:])
    data = path.read_bytes()
    place = data.index(b"data") + 4
    assert data[12:16] == b"ds64"
    path.write_bytes(data[:place] + struct.pack("<I", 0xFFFFFFFF) + data[place + 4 :])
    assert read_chunks(path) == BOTH
    path.write_bytes(b"RIFF" + data[4:12] + data[data.index(b"fmt ") : place] + bytes(4) + data[place + 4 :])
    assert read_chunks(path) == BOTH[:1]  # as written into a pipe: what follows are samples


def test_nothing_to_add_changes_nothing(tmp_path: Path):
    path = recording(tmp_path / "a.wav", [(b"junk", b"123")])
    before = path.read_bytes()
    assert read_chunks(path) == []
    append_chunks(path, [])
    assert path.read_bytes() == before


def test_a_wav_stays_below_four_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = recording(tmp_path / "a.wav")
    before = path.read_bytes()
    monkeypatch.setattr(broadcast, "LARGE", len(before) + 20)
    append_chunks(path, BOTH)
    assert path.read_bytes() == before


def test_what_is_cut_off_is_left_out(tmp_path: Path):
    path = recording(tmp_path / "a.wav", [(b"odd ", b"123"), *BOTH])
    data, whole = path.read_bytes(), []
    for length in (0, 3, 11, 12, 40, *(data.index(name) + more for name in (b"iXML", b"data") for more in (0, 7, 9))):
        path.write_bytes(data[:length])
        whole.append(len(read_chunks(path)))
    assert whole == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    path.write_bytes(data[: data.index(b"iXML") + 4] + struct.pack("<I", 0x7FFFFFFF) + data[data.index(b"iXML") + 8 :])
    assert read_chunks(path) == BOTH[:1]
    with pytest.raises(EnhanceError, match=r"none\.wav: cannot be read"):
        read_chunks(tmp_path / "none.wav")


@given(st.sampled_from([b"RIFF", b"RF64"]), st.binary(max_size=200))
def test_whatever_is_in_it_there_is_no_error(tmp_path_factory: pytest.TempPathFactory, magic: bytes, rest: bytes):
    path = tmp_path_factory.getbasetemp() / "random.wav"
    path.write_bytes(magic + bytes(4) + b"WAVE" + rest)
    assert all(name in (*broadcast.WANTED, b"LIST") for name, _ in read_chunks(path))
