"""What a phone says of a recording: where, when, and with what it was made."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest

from enhance.ffmpeg import Decoder, Encoder

PHONES = {
    "com.apple.quicktime.location.ISO6709": "+48.1000-011.5000+520.000/",
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.creationdate": "2024-05-05T10:00:00+0200",
    "com.android.version": "14",
}
TEXTS = {"title": "My talk", "artist": "Ann"}


def video(path: Path, ffmpeg: str, tags: dict[str, str]) -> Path:
    sources = "-f lavfi -i testsrc=d=1:s=96x64:r=10 -f lavfi -i sine=440:d=1:r=16000 -c:v mpeg4"
    named = [part for name, text in tags.items() for part in ("-metadata", f"{name}={text}")]
    own = ["-movflags", "use_metadata_tags"] if tags.keys() & PHONES.keys() else []
    subprocess.run([ffmpeg, "-loglevel", "error", *sources.split(), *named, *own, path], check=True)
    return path


def copy(source: Path, target: Path, whole: bool = True) -> None:
    with contextlib.closing(Decoder(source)) as reader:
        more = "", "", reader.tracks if whole else ()
        with contextlib.closing(Encoder(target, reader.sample_rate, reader.channels, source, *more)) as writer:
            writer.write(reader.read(100_000))
            writer.finish()


def texts(path: Path, ffmpeg: str) -> dict[str, str]:
    command = [ffmpeg, "-loglevel", "error", "-i", path, "-f", "ffmetadata", "-"]
    listing = subprocess.run(command, capture_output=True, check=True, text=True, encoding="utf-8").stdout
    return dict(line.split("=", 1) for line in listing.splitlines() if "=" in line)


@pytest.mark.parametrize("key", PHONES)
@pytest.mark.parametrize("target", ["b.mov", "b.mp4", "b.m4v"])
def test_what_a_phone_says_stays(tmp_path: Path, ffmpeg: str, key: str, target: str):
    said = {key: PHONES[key], **TEXTS}
    copy(video(tmp_path / "a.mov", ffmpeg, said), tmp_path / target)
    kept = texts(tmp_path / target, ffmpeg)
    assert said.items() <= kept.items()
    assert kept["major_brand"] == {"b.mov": "qt  ", "b.mp4": "isom", "b.m4v": "M4V "}[target]


def test_of_the_sound_alone_too(tmp_path: Path, ffmpeg: str):
    copy(video(tmp_path / "a.mov", ffmpeg, PHONES), tmp_path / "b.mov", whole=False)
    assert PHONES.items() <= texts(tmp_path / "b.mov", ffmpeg).items()


@pytest.mark.parametrize("target", ["b.mov", "b.mp4", "b.m4v"])
def test_other_tags_stay_where_players_look_for_them(tmp_path: Path, ffmpeg: str, target: str):
    copy(video(tmp_path / "a.mp4", ffmpeg, TEXTS), tmp_path / target)
    assert TEXTS.items() <= texts(tmp_path / target, ffmpeg).items()
    assert b"mdta" not in (tmp_path / target).read_bytes()


def test_other_containers_have_no_such_tags(tmp_path: Path, ffmpeg: str):
    source = video(tmp_path / "a.mov", ffmpeg, {**PHONES, **TEXTS})
    for name, whole in (("b.m4a", False), ("b.mkv", True)):
        copy(source, tmp_path / name, whole)
        kept = {key.lower(): text for key, text in texts(tmp_path / name, ffmpeg).items()}
        assert TEXTS.items() <= kept.items()
    assert b"mdta" not in (tmp_path / "b.m4a").read_bytes()
