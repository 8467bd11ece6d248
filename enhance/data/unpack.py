"""Zip archives from elsewhere, unpacked without trust in what they say."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from enhance.errors import EnhanceError
from enhance.files import not_written

MOST_FILES = 200_000
MOST_RATIO = 100  # of unpacked to packed size; 16-bit audio stays under 5, bombs are in the thousands
CHUNK = 1 << 20  # bytes


def unpack(archive: Path, folder: Path, progress: Callable[[int, int], object] = lambda there, total: None) -> None:
    """Unpack a zip file into ``folder``, which is there complete or not at all; nothing to do if it is there.

    ``progress`` gets the bytes that are written, and of how many. EnhanceError, before anything is written, for
    a name that leaves the folder, a link, a device, an encrypted or doubled file, far too many or too large ones,
    and for a full disk; and for an archive that is damaged.
    """
    if folder.is_dir():
        return
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            total = check(archive, opened.infolist(), partial.parent)
            there = 0
            partial.mkdir(parents=True)
            for member in members:
                there += _extract(opened, member, partial)
                progress(there, total)
        partial.replace(folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise EnhanceError(f"{archive}: damaged ({error})", "delete it and run the command again") from None
    except OSError as error:
        raise not_written(folder, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check(archive: Path, members: list[zipfile.ZipInfo], place: Path) -> int:
    """Bytes that the members unpack to; EnhanceError if one of them, or all together, should not be unpacked."""

    def refuse(why: str) -> EnhanceError:
        return EnhanceError(f"{archive}: {why}; nothing was unpacked", "get it from where its authors published it")

    names: set[str] = set()
    for member in members:
        name = member.filename
        kind = stat.S_IFMT(member.external_attr >> 16)
        if not _stays_inside(name):
            raise refuse(f"{name!r} leads out of the folder")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse(f"{name!r} is a link or a device")
        if member.flag_bits & 1:
            raise refuse(f"{name!r} is encrypted")
        if name.casefold() in names:  # one file where names have no case
            raise refuse(f"{name!r} is there twice")
        names.add(name.casefold())
    total = sum(member.file_size for member in members)
    if len(members) > MOST_FILES or total > MOST_RATIO * archive.stat().st_size:
        raise refuse(f"{len(members):,} files of {total:,} bytes are too much for its size")
    if total > (free := shutil.disk_usage(place).free):
        what = f"{place}: {free / 1e9:.1f} GB free, but {archive.name} unpacks to {total / 1e9:.1f} GB"
        raise EnhanceError(what, "make room or choose another folder")
    return total


def _stays_inside(name: str) -> bool:
    """On every system: neither a root, nor a drive, nor a step upwards."""
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    rooted = posix.is_absolute() or windows.drive or windows.root
    return bool(name.strip("/")) and not rooted and ".." not in windows.parts and "\0" not in name


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> int:
    path = folder / member.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(member) as source, path.open("xb") as file:  # x: never through what is there
        shutil.copyfileobj(source, file, CHUNK)
        return file.tell()
