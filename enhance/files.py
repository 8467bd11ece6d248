"""Files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from enhance.errors import EnhanceError, NotEncoded

MACHINE = hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()  # a host's name may be long

LONG_NAME = 200  # bytes; file systems take 255, and a temporary name is longer


def temporary_name(target: Path) -> Path:
    """A hidden name beside ``target``, with its ending, that tells which process of which machine writes there."""
    return target.with_name(f".{label(target.name)}.{MACHINE}.{os.getpid()}.part{target.suffix}")


def label(name: str) -> str:
    """What stands for the name of a target in temporary names: itself, or a hash where nothing more would fit."""
    raw = os.fsencode(name)
    return name if len(raw) < LONG_NAME else hashlib.blake2b(raw, digest_size=16).hexdigest()


def remove_stale(targets: Iterable[Path], everyone: bool = False) -> None:
    """Delete temporary files for these targets whose process was killed before it could clean up.

    With ``everyone`` those of any process: for who knows that nobody writes these targets.
    """
    names: dict[Path, set[str]] = {}
    for target in targets:
        place = target.resolve()
        names.setdefault(place.parent, set()).add(label(place.name))
    for folder, wanted in names.items():
        for name, left in stale(folder, everyone).items():
            for path in left if name in wanted else ():
                path.unlink(missing_ok=True)


def stale(folder: Path, everyone: bool = False) -> dict[str, list[Path]]:
    """Temporary files in ``folder`` whose process is gone, or ``everyone``'s, by the :func:`label` of their target.

    Whether a process of another machine is gone cannot be seen from here: it is taken to be at work.
    """
    left: dict[str, list[Path]] = {}
    there = isinstance(folder, Path) and folder.is_dir()  # what has a URL appears when it is complete
    for path in folder.iterdir() if there else ():
        found = re.fullmatch(r"\.(.+)\.(\w+)\.(\d+)\.part(\.\w+)?", path.name)
        if found and (everyone or (found[2] == MACHINE and not _alive(int(found[3])))):
            left.setdefault(found[1], []).append(path)
    return left


def _alive(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end the process, and a file in use cannot be deleted anyway
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def not_written(target: Path, error: OSError) -> EnhanceError:
    """What to raise where the system refuses to write ``target``."""
    reason = error.strerror or str(error)
    another = "take another format, such as .wav"
    hint = another if isinstance(error, NotEncoded) else "is the disk full or the folder protected?"
    return EnhanceError(f"{target}: cannot be written ({reason})", hint)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary name in the folder of ``target``: at the end it is synced and becomes ``target``.

    After an error or an interruption it is removed, and ``target`` is as before. EnhanceError with the
    system's reason if the folder or the disk refuses.
    """
    target = target.resolve()
    temporary = temporary_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():  # who may read it stays as it was, where the file system knows
            with contextlib.suppress(OSError):
                temporary.chmod(target.stat().st_mode)
        temporary.replace(target)
    except OSError as error:
        raise not_written(target, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def no_empty_folder(folder: Path) -> Iterator[None]:
    """After an error an empty ``folder``, to which only the caller writes, goes if it is new, and so do its parents."""
    new = [path for path in (folder, *folder.parents) if not path.exists()] if isinstance(folder, Path) else []
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in new:
                path.rmdir()  # refuses where there is something in it
        raise


@contextlib.contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """An empty folder beside ``folder``, which it replaces at the end; what a killed run left there is deleted.

    EnhanceError with the system's reason if the folder or the disk refuses.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    except OSError as error:
        raise not_written(folder, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
