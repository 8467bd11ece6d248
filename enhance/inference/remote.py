"""Files that are not on this machine: whatever fsspec opens by its URL. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

from enhance.errors import EnhanceError

if TYPE_CHECKING:
    from enhance.inference.tasks import AnyTask, Result

Kind = TypeVar("Kind", bound="AnyTask")
LISTINGS = 16  # of folders that a file system keeps in memory


def is_url(name: str) -> bool:
    """Is it ``s3://bucket/folder`` and not a path of this machine?"""
    return "://" in name


def place(name: str) -> Path:
    """A path, or where a URL points, which answers as a path does; EnhanceError for what fsspec does not open."""
    if not is_url(name):
        return Path(name)
    from upath import UPath

    try:
        there = UPath(name, max_paths=LISTINGS)
        _ = there.fs
    except (ValueError, ImportError) as error:
        hint = "take s3://, gs://, az://, https:// or another that fsspec knows, and install its package"
        raise EnhanceError(f"{name}: {error}", hint) from None
    return cast(Path, there)


def is_remote(path: Path) -> bool:
    """Does it come from the URL of another machine?"""
    return not isinstance(path, Path)


def local_name(path: Path) -> str:
    """What a file is called here: of a web address the last part of its path, without the query behind it."""
    if not is_remote(path) or not writes_nothing(path):
        return path.name
    return unquote(PurePosixPath(urlsplit(str(path)).path).name) or path.name


def writes_nothing(path: Path) -> bool:
    """Is it on a server of the web, from which one can read but not write there?"""
    return is_remote(path) and urlsplit(str(path)).scheme in ("http", "https")


@contextlib.contextmanager
def asking(path: Path) -> Iterator[None]:
    """EnhanceError with the URL for whatever its file system raises, or the name of the file for an OSError here."""
    try:
        yield
    except EnhanceError:
        raise
    except Exception as error:  # each of fsspec's file systems has its own
        if not is_remote(path):
            if not isinstance(error, OSError):
                raise
            reason = error.strerror or str(error)
            raise EnhanceError(f"{error.filename or path}: {reason}", "check the name and the permissions") from None
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, FileNotFoundError):
            raise EnhanceError(f"{path}: there is no such file or bucket", "check the address") from None
        refused = isinstance(error, PermissionError) or "credentials" in reason
        what = f"{path}: access is refused ({reason})" if refused else f"{path}: {reason}"
        hint = "check the credentials and what they allow" if refused else "check the address and the connection"
        raise EnhanceError(what, hint) from None


def matches(pattern: str) -> list[Path]:
    """The files of a pattern of URLs, sorted."""
    where = cast(Any, place(pattern))
    with asking(where):
        return [place(where.fs.unstrip_protocol(found)) for found in sorted(where.fs.glob(where.path))]


def with_copies(task: Kind, work: Callable[[Kind], Result]) -> Result:
    """Do ``work`` with what is remote in a temporary folder: the input is fetched before, outputs are sent when done.

    An output is sent under its own name at once; if one cannot be, those that were not there before are taken back.
    Raises EnhanceError.
    """
    far: list[Any] = [path for path in (task.source, *task.outputs) if is_remote(path)]
    if not far:
        return work(task)
    with tempfile.TemporaryDirectory(prefix="enhance-") as folder:
        folders = {path.parent: Path(folder, str(number)) for number, path in enumerate(far)}
        near = {path: folders[path.parent] / local_name(path) for path in far}
        for path in near.values():
            path.parent.mkdir(exist_ok=True)
        if task.source in near:
            with asking(task.source):
                far[0].fs.get_file(far[0].path, str(near[far[0]]))

        def named(text: str) -> str:
            for path, copy in near.items():
                text = text.replace(str(copy), str(path))
            return text

        try:
            result = work(task.moved(near))
        except EnhanceError as error:
            raise EnhanceError(named(error.what), error.hint) from None
        _send({near[path]: path for path in far if path is not task.source})
    places = {name: path for name, path in vars(task).items() if name != "problem"}
    return replace(result, **places, warnings=tuple(map(named, result.warnings)))


def _send(outputs: dict[Path, Any]) -> None:
    sent: list[Any] = []
    try:
        for near, far in reversed(outputs.items()):  # the target last: where it is, all is
            with asking(far):
                new = len(outputs) > 1 and not far.fs.exists(far.path)
                far.fs.put_file(str(near), far.path)
            if new:
                sent.append(far)
    except BaseException:
        for far in sent:
            with contextlib.suppress(Exception):
                far.fs.rm_file(far.path)
        raise
