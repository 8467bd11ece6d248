"""One process a run: who trains holds a lock in the folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from enhance.errors import EnhanceError
from enhance.files import not_written

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = ".lock"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """``folder``, made if it is not there, for this process alone. EnhanceError if another one trains there.

    The system releases the lock when the process ends, however that happens; the empty file stays, for to delete it
    could give two processes a lock each. Where a system or a file system has no locks, nobody is kept out.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / NAME).open("w", encoding="utf-8")
    except OSError as error:
        raise not_written(folder, error) from None
    with file:
        _lock(file, folder)
        yield


def _lock(file: IO[str], folder: Path) -> None:
    if fcntl is None:
        return
    try:
        # Not flock: the loader's workers would inherit that, and hold it for seconds after a training was killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        hint = "wait for its end, or give another --output"
        raise EnhanceError(f"{folder}: another process trains here", hint) from None
    except OSError:  # a file system without locks
        return
