"""What became of each file, a line of JSON each, and from it what a rerun still has to do. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from enhance.errors import EnhanceError
from enhance.files import not_written
from enhance.inference.remote import asking
from enhance.inference.tasks import Result, Settings, Task

LONGEST = 1 << 20  # bytes of a line


class Records:
    """A file of records that is gone on with.

    A file is done if a record without an error has the same names, size and time of change of the input, weights
    of the model and options, and if its outputs are there; the last record of an output counts. Two digests are
    kept of each. EnhanceError if ``path`` cannot be read or written, or holds something else.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        from enhance.models.checkpoint import find

        weights = hashlib.sha256(find(settings.model).read_bytes()).hexdigest()[:16]
        self.path = path
        self.options = {
            "model": settings.model,
            "weights": weights,
            "strength": settings.strength,
            "prevent_clipping": settings.prevent_clipping,
        }
        self.written: dict[int, int] = {}  # an output that there is a record of -> what it is done for, 0 if nothing
        self.skipped = 0
        self.stamps: dict[Path, dict[str, int]] = {}  # of inputs on the way
        self.whole = 0  # bytes of whole lines
        if path.exists():
            self._load()

    def _load(self) -> None:
        """Read what is there, up to a last line that a kill cut off."""
        if not self.path.is_file():
            raise EnhanceError(f"{self.path}: is a folder or a device", "give another --records")
        try:
            lines = self.path.open("rb")
        except OSError as error:
            raise EnhanceError(f"{self.path}: cannot be read ({error.strerror})", "give another --records") from None
        with lines:
            for number, line in enumerate(iter(lambda: lines.readline(LONGEST), b""), start=1):
                if not line.endswith(b"\n") and len(line) < LONGEST:
                    return
                try:
                    record = json.loads(line)
                    key, failed = _key(record), bool(record["error"])
                except (ValueError, KeyError, TypeError):
                    what = f"{self.path}: line {number} is not of enhance denoise"
                    raise EnhanceError(what, "give another --records") from None
                target = _digest(record["target"])
                if not failed:
                    self.written.update((_digest(record[name]), 0) for name in ("noise", "plot") if record.get(name))
                    self.written[target] = key
                elif target in self.written:
                    self.written[target] = 0
                self.whole += len(line)

    def wrote(self, path: Path) -> bool:
        """Is it an output of an earlier run?"""
        return _digest(str(path)) in self.written

    def begin(self) -> None:
        """Make the file, without the line that was cut off; EnhanceError if it cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.truncate(self.whole)
        except OSError as error:
            raise not_written(self.path, error) from None

    def missing(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """Those that are not done, in their order; to be taken one at a time."""
        for task in tasks:
            try:
                with asking(task.source):
                    about = task.source.stat()
            except (OSError, EnhanceError):  # its reader says why
                yield task
                continue
            stamp = {"size": about.st_size, "mtime_ns": about.st_mtime_ns}
            names = {"source": str(task.source), "target": str(task.target)}
            extras = {"noise": task.noise and str(task.noise), "plot": task.plot and str(task.plot)}
            key = _key({**names, **extras, **stamp, **self.options})
            if self.written.get(_digest(names["target"])) == key and all(path.exists() for path in task.outputs):
                self.skipped += 1
                continue
            self.stamps[task.source] = stamp
            yield task

    def write(self, result: Result, record: dict[str, Any]) -> None:
        """Append what became of a file: ``record`` is what it says of it."""
        stamp = self.stamps.pop(result.source, {"size": None, "mtime_ns": None})
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps({**record, **stamp, **self.options}, default=str).encode() + b"\n")
        except OSError as error:
            raise not_written(self.path, error) from None


def _key(record: dict[str, Any]) -> int:
    """What identifies an input, its outputs and the settings."""
    names = ("source", "target", "size", "mtime_ns", "weights", "strength", "prevent_clipping")
    return _digest([*(record[name] for name in names), record.get("noise"), record.get("plot")])


def _digest(value: Any) -> int:
    return int.from_bytes(hashlib.blake2b(json.dumps(value).encode(), digest_size=8).digest(), "big")
