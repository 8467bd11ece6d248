"""Zip and tar archives from elsewhere, unpacked without trust in what they say."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from gzip import BadGzipFile, GzipFile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from enhance.errors import EnhanceError
from enhance.files import not_written

MOST_FILES = 200_000
MOST_RATIO = 100  # of unpacked to packed size; 16-bit audio stays under 5, bombs are in the thousands
CHUNK = 1 << 20  # bytes

Progress = Callable[[int, int], object]  # bytes that are done, and of how many


def unpack(archive: Path, folder: Path, progress: Progress = lambda there, total: None) -> None:
    """Unpack a zip or gzipped tar file into ``folder``, which is there complete or not at all.

    Nothing to do if it is there. ``progress`` gets the bytes that are written of a zip file, those that are read of a
    tar file. EnhanceError, with nothing left of it, for a name that leads out of the folder, a link, a device,
    an encrypted or doubled file, far too many or too large ones, and for a full disk; and for an archive that is
    damaged.
    """
    if folder.is_dir():
        return
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (_unpack_zip if archive.suffix == ".zip" else _unpack_tar)(archive, partial, progress)
        partial.replace(folder)
    except (zipfile.BadZipFile, tarfile.TarError, BadGzipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise EnhanceError(f"{archive}: damaged ({error})", "delete it and run the command again") from None
    except OSError as error:
        raise not_written(folder, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Check:
    """What is known of an archive's members so far; EnhanceError for one that should not be unpacked."""

    def __init__(self, archive: Path) -> None:
        self.archive, self.most = archive, MOST_RATIO * archive.stat().st_size
        self.names: set[str] = set()
        self.total = 0

    def member(self, name: str, size: int, plain: bool, encrypted: bool = False) -> None:
        """``plain``: a file or a folder, and nothing else."""
        if not _stays_inside(name):
            raise self.refuse(f"{name!r} leads out of the folder")
        if not plain:
            raise self.refuse(f"{name!r} is a link or a device")
        if encrypted:
            raise self.refuse(f"{name!r} is encrypted")
        if name.casefold() in self.names:  # one file where names have no case
            raise self.refuse(f"{name!r} is there twice")
        self.names.add(name.casefold())
        self.total += size

    def all(self) -> None:
        """Those that were seen, together."""
        if len(self.names) > MOST_FILES or self.total > self.most:
            raise self.refuse(f"{len(self.names):,} files of {self.total:,} bytes are too much for its size")

    def refuse(self, why: str) -> EnhanceError:
        hint = "get it from where its authors published it"
        return EnhanceError(f"{self.archive}: {why}; nothing was unpacked", hint)


def _unpack_zip(archive: Path, folder: Path, progress: Progress) -> None:
    with zipfile.ZipFile(archive) as opened:
        total = _check_zip(archive, opened.infolist(), folder.parent)
        there = 0
        folder.mkdir(parents=True)
        for member in opened.infolist():
            if not member.is_dir():
                with opened.open(member) as source:
                    there += _write(source, folder / member.filename)
                    progress(there, total)


def _unpack_tar(archive: Path, folder: Path, progress: Progress) -> None:
    """In one pass: its members are known only when all of it has been read."""
    check, size = _Check(archive), archive.stat().st_size
    _check_space(archive, size, folder.parent)  # at least
    folder.mkdir(parents=True)
    with (
        archive.open("rb") as file,
        GzipFile(fileobj=file) as packed,
        tarfile.open(fileobj=packed, mode="r|") as opened,
    ):
        for member in opened:
            check.member(member.name, member.size, member.isfile() or member.isdir())
            check.all()
            source = opened.extractfile(member)
            if source is not None:
                with source:
                    _write(source, folder / member.name)
                progress(file.tell(), size)
        while packed.read(CHUNK):  # to the checksum at its end
            pass


def _check_zip(archive: Path, members: list[zipfile.ZipInfo], place: Path) -> int:
    """Bytes that the members unpack to; EnhanceError if one of them, or all together, should not be unpacked."""
    check = _Check(archive)
    for member in members:
        plain = stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
        check.member(member.filename, member.file_size, plain, bool(member.flag_bits & 1))
    check.all()
    _check_space(archive, check.total, place)
    return check.total


def _check_space(archive: Path, total: int, place: Path) -> None:
    if total > (free := shutil.disk_usage(place).free):
        what = f"{place}: {free / 1e9:.1f} GB free, but {archive.name} unpacks to {total / 1e9:.1f} GB"
        raise EnhanceError(what, "make room or choose another folder")


def _stays_inside(name: str) -> bool:
    """On every system: neither a root, nor a drive, nor a step upwards."""
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    rooted = posix.is_absolute() or windows.drive or windows.root
    return bool(name.strip("/")) and not rooted and ".." not in windows.parts and "\0" not in name


def _write(source: IO[bytes], path: Path) -> int:
    """Bytes written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:  # x: never through what is there
        shutil.copyfileobj(source, file, CHUNK)
        return file.tell()
