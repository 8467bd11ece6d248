"""Archives: unpacked whole or not at all, and nothing of them lands anywhere else."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from enhance.data import unpack as module
from enhance.data.unpack import unpack
from enhance.errors import EnhanceError

CONTENTS = {"set/p1_001.wav": np.random.default_rng(0).bytes(50_000), "set/deep/p1_002.wav": b"two", "readme..txt": b""}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder in a folder, so that what leaves it is seen."""
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    return tmp_path / "outer" / "inner"


def write(path: Path, contents: dict[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            member = zipfile.ZipInfo("placeholder")
            member.filename = name  # the constructor would make it harmless
            for attribute, value in attributes.items():
                setattr(member, attribute, value)
            archive.writestr(member, data, zipfile.ZIP_DEFLATED)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_is_there_with_progress_and_only_once(place):
    archive = write(place / "a.zip", CONTENTS)
    seen: list[tuple[int, int]] = []
    unpack(archive, place / "a", lambda there, total: seen.append((there, total)))
    assert tree(place / "a") == CONTENTS
    assert seen == [(50_000, 50_003), (50_003, 50_003), (50_003, 50_003)]
    assert sorted(path.name for path in place.iterdir()) == ["a", "a.zip"]
    archive.write_bytes(b"not read again")
    unpack(archive, place / "a")
    assert tree(place / "a") == CONTENTS


def test_what_a_killed_run_left_is_replaced(place):
    (place / ".a.partial" / "set").mkdir(parents=True)
    (place / ".a.partial" / "set" / "p1_001.wav").write_bytes(b"half")
    (place / ".a.partial" / "rest").write_bytes(b"old")
    unpack(write(place / "a.zip", CONTENTS), place / "a")
    assert tree(place / "a") == CONTENTS
    assert not (place / ".a.partial").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "set/../../evil",
        "/evil",
        "//host/evil",
        "..\\evil",
        "\\evil",
        "C:\\evil",
        "C:evil",
        "a\\..\\..\\b",
        "..",
    ],
)
def test_a_name_that_leads_out_is_refused(place, name):
    archive = write(place / "a.zip", {"good.wav": b"good", name: b"evil"})
    with pytest.raises(EnhanceError, match="leads out of the folder; nothing was unpacked"):
        unpack(archive, place / "a")
    assert tree(place.parent.parent) == {"outer/inner/a.zip": archive.read_bytes()}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(place, kind):
    archive = write(place / "a.zip", {"link": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16)
    with pytest.raises(EnhanceError, match="'link' is a link or a device"):
        unpack(archive, place / "a")
    assert tree(place) == {"a.zip": archive.read_bytes()}


def test_two_files_of_one_name_are_refused(place):
    archive = write(place / "a.zip", {"A.wav": b"1", "a.WAV": b"2"})
    with pytest.raises(EnhanceError, match=r"'a.WAV' is there twice"):
        unpack(archive, place / "a")


def test_an_encrypted_archive_is_refused(place):
    archive = write(place / "a.zip", {"a.wav": b"1"})
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory at the end
    archive.write_bytes(data)
    with pytest.raises(EnhanceError, match=r"'a.wav' is encrypted"):
        unpack(archive, place / "a")


def test_a_bomb_is_refused(place):
    archive = write(place / "a.zip", {"zeros": bytes(10_000_000)})
    assert archive.stat().st_size < 20_000
    with pytest.raises(EnhanceError, match="1 files of 10,000,000 bytes are too much"):
        unpack(archive, place / "a")
    assert not (place / "a").exists()


def test_too_many_files_are_refused(place, monkeypatch):
    monkeypatch.setattr(module, "MOST_FILES", 2)
    with pytest.raises(EnhanceError, match="3 files of 50,003 bytes are too much"):
        unpack(write(place / "a.zip", CONTENTS), place / "a")


def test_more_than_the_disk_takes_is_refused(place, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 50_000}))
    with pytest.raises(EnhanceError, match=r"GB free, but a.zip unpacks to .*: make room"):
        unpack(write(place / "a.zip", CONTENTS), place / "a")


@pytest.mark.parametrize("damage", ["a bit", "the end", "everything"])
def test_a_damaged_archive_leaves_nothing(place, damage):
    archive = write(place / "a.zip", CONTENTS)
    data = bytearray(archive.read_bytes())
    data[20_000] ^= 1
    archive.write_bytes({"a bit": data, "the end": data[:40_000], "everything": b"<html>"}[damage])
    with pytest.raises(EnhanceError, match=r"a\.zip: damaged \(.+\): delete it and run the command again"):
        unpack(archive, place / "a")
    assert list(tree(place)) == ["a.zip"]
    assert list(place.iterdir()) == [archive]


def write_tar(path: Path, contents: dict[str, bytes], **attributes: object) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for attribute, value in attributes.items():
                setattr(member, attribute, value)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_a_tar_file_is_unpacked_whole_with_progress_and_only_once(place):
    archive = write_tar(place / "a.tar.gz", CONTENTS)
    seen: list[tuple[int, int]] = []
    unpack(archive, place / "a", lambda there, total: seen.append((there, total)))
    assert tree(place / "a") == CONTENTS
    assert len(seen) == 3
    assert {total for _, total in seen} == {archive.stat().st_size}
    assert seen == sorted(seen)
    archive.write_bytes(b"not read again")
    unpack(archive, place / "a")
    assert tree(place / "a") == CONTENTS


@pytest.mark.parametrize("name", ["../evil", "set/../../evil", "/evil", "..\\evil", "C:\\evil", ".."])
def test_a_name_in_a_tar_file_that_leads_out_is_refused(place, name):
    archive = write_tar(place / "a.tar.gz", {"good.wav": b"good", name: b"evil"})
    with pytest.raises(EnhanceError, match="leads out of the folder; nothing was unpacked"):
        unpack(archive, place / "a")
    assert tree(place.parent.parent) == {"outer/inner/a.tar.gz": archive.read_bytes()}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_file_are_refused(place, kind):
    archive = write_tar(place / "a.tar.gz", {"link": b""}, type=kind, linkname="/etc/passwd")
    with pytest.raises(EnhanceError, match="'link' is a link or a device"):
        unpack(archive, place / "a")
    assert list(place.iterdir()) == [archive]


def test_bombs_and_doubles_in_a_tar_file_are_refused(place, monkeypatch):
    with pytest.raises(EnhanceError, match="1 files of 10,000,000 bytes are too much"):
        unpack(write_tar(place / "a.tar.gz", {"zeros": bytes(10_000_000)}), place / "a")
    with pytest.raises(EnhanceError, match=r"'a.WAV' is there twice"):
        unpack(write_tar(place / "a.tar.gz", {"A.wav": b"1", "a.WAV": b"2"}), place / "a")
    monkeypatch.setattr(module, "MOST_FILES", 2)
    with pytest.raises(EnhanceError, match="3 files of 50,003 bytes are too much"):
        unpack(write_tar(place / "a.tar.gz", CONTENTS), place / "a")
    assert [path.name for path in place.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("damage", ["a bit", "the end", "the checksum", "everything", "no tar file"])
def test_a_damaged_tar_file_leaves_nothing(place, damage):
    archive = write_tar(place / "a.tar.gz", CONTENTS)
    data = bytearray(archive.read_bytes())
    data[20_000] ^= 1
    whole = archive.read_bytes()
    archive.write_bytes(
        {
            "a bit": bytes(data),
            "the end": whole[:40_000],
            "the checksum": whole[:-6],
            "everything": b"<html>",
            "no tar file": gzip.compress(b"<html>" * 500),
        }[damage]
    )
    with pytest.raises(EnhanceError, match=r"a\.tar\.gz: damaged \(.+\): delete it and run the command again"):
        unpack(archive, place / "a")
    assert list(place.iterdir()) == [archive]
