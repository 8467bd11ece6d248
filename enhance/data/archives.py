"""Archives of a data set: downloaded, checked, unpacked; each step is done once."""

from __future__ import annotations

from pathlib import Path

from enhance.console import note, progress
from enhance.data import download
from enhance.data.data_recipe import Archive
from enhance.data.unpack import unpack

ARCHIVES, UNPACKED = "archives", ".unpacked"  # folders in that of the data set


def provide(archive: Archive, data: Path, mirror: str | None) -> Path:
    """The folder ``data/.unpacked/NAME`` with what is in the archive, which is kept in ``data/archives``.

    ``mirror`` is the address of a folder to take it from, instead of its own. EnhanceError if it is not to be had.
    """
    from rich.progress import DownloadColumn

    unpacked = data / UNPACKED / archive.stem
    if unpacked.is_dir():
        return unpacked
    target = data / ARCHIVES / archive.name
    urls = [f"{mirror.rstrip('/')}/{archive.name}"] if mirror else archive.urls
    note(f"{archive.name}: from {urls[0]}" if not target.exists() else f"{archive.name}: is there already")
    with progress(DownloadColumn(binary_units=False)) as bar:
        task = bar.add_task("download", total=archive.size)

        def show(there: int, total: int | None) -> None:
            bar.update(task, completed=there, total=total)

        download.fetch(urls, target, archive.md5, show, archive.size)
        bar.reset(task, description="unpack")
        unpacked.parent.mkdir(exist_ok=True)
        unpack(target, unpacked, show)
    checked = "MD5 as published" if archive.md5 else "unpacked, no MD5 is published"
    note(f"{archive.name}: {target.stat().st_size:,} bytes, {checked}")
    return unpacked
