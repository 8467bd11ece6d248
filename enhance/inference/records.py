"""What became of each file, a line of JSON each, and from it what a rerun still has to do. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from enhance.errors import EnhanceError
from enhance.files import not_written
from enhance.inference.remote import asking, is_url
from enhance.inference.tasks import AnyTask, Result, SeparationTask, Settings, real

Kind = TypeVar("Kind", bound=AnyTask)
LONGEST = 1 << 20  # bytes of a line
BEGINNING = b'{"source": '  # of every line
FLAGS = ("wiener", "independent", "linked")  # settings that are recorded where they are true
PATHS = ("source", "target", "noise", "plot")


class Records:
    """A file of records that is gone on with.

    A file is done if a record without an error has the same names, size and time of change of the input, weights
    of the model and options, and if its outputs are there; the last record of an output counts. Two digests are
    kept of each. EnhanceError if ``path`` cannot be read or written, or holds something else.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.folder = str(Path.cwd())
        self.options: dict[str, Any] = {
            "model": settings.model,
            "weights": _weights(settings),
            "strength": settings.strength,
            "prevent_clipping": settings.prevent_clipping,
        }
        for name in FLAGS:
            if getattr(settings, name):
                self.options[name] = True
        if settings.listen is not None:
            self.options["listen"] = settings.listen
        if settings.precision != "32-true":
            self.options["precision"] = settings.precision
        if settings.track is not None:
            self.options["track"] = settings.track
        self.written: dict[int, int] = {}  # an output that there is a record of -> what it is done for, 0 if nothing
        self.skipped = 0
        self.stamps: dict[Path, dict[str, int]] = {}  # of inputs on the way
        self.whole = 0  # bytes of whole lines
        self.cut = 0  # bytes of a last line that a kill cut off
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
                if not line.endswith(b"\n") and BEGINNING[: len(line)] == line[: len(BEGINNING)]:
                    self.cut = len(line)
                    return
                try:
                    record = _placed(json.loads(line))
                    key, failed = _key(record), bool(record["error"])
                except (ValueError, KeyError, TypeError):
                    what = f"{self.path}: line {number} is none that --records wrote"
                    raise EnhanceError(what, "give another --records") from None
                target = _digest(record["target"])
                if not failed:
                    others = [record[name] for name in ("noise", "plot") if record.get(name)]
                    self.written.update((_digest(name), 0) for name in (*others, *(record.get("parts") or {}).values()))
                    self.written[target] = key
                elif target in self.written:
                    self.written[target] = 0
                self.whole += len(line)

    def wrote(self, path: Path) -> bool:
        """Is it an output of an earlier run?"""
        return _digest(_absolute(str(path), self.folder)) in self.written

    def check(self, tasks: Iterable[AnyTask]) -> None:
        """EnhanceError if the records have the name of an input or output."""
        here = _absolute(str(self.path), self.folder)
        if any(_absolute(str(path), self.folder) == here for task in tasks for path in (task.source, *task.outputs)):
            raise EnhanceError(f"--records {self.path}: is an input or an output as well", "give another --records")

    def begin(self) -> None:
        """Make the file, without the line that was cut off; EnhanceError if it cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                if self.cut and file.tell() == self.whole + self.cut:  # else another run goes on with it
                    file.truncate(self.whole)
        except OSError as error:
            raise not_written(self.path, error) from None

    def missing(self, tasks: Iterable[Kind]) -> Iterator[Kind]:
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
            if isinstance(task, SeparationTask):
                extras: dict[str, Any] = {"parts": {name: str(path) for name, path in task.parts.items()}}
            else:
                extras = {"noise": task.noise and str(task.noise)}
            record = _placed({**names, **extras, "plot": task.plot and str(task.plot), **stamp, **self.options})
            if self.written.get(_digest(record["target"])) == _key(record) and _all_there(task):
                self.skipped += 1
                continue
            self.stamps[task.source] = stamp
            yield task

    def write(self, result: Result, record: dict[str, Any]) -> None:
        """Append what became of a file: ``record`` is what it says of it."""
        stamp = self.stamps.pop(result.source, {"size": None, "mtime_ns": None})
        try:
            with self.path.open("ab") as file:
                line = {**record, **stamp, **self.options, "folder": self.folder}
                file.write(json.dumps(line, default=str).encode() + b"\n")
        except OSError as error:
            raise not_written(self.path, error) from None


class Existing:
    """Outputs that are there and stay as they are; what ``wrote`` knows is not among them: its record decides."""

    def __init__(self, wrote: Callable[[Path], bool]) -> None:
        self.wrote = wrote
        self.count = 0  # of inputs all of whose outputs are there
        self.failed: list[Result] = []  # inputs of whose outputs some are there

    def missing(self, tasks: Iterable[Kind]) -> Iterator[Kind]:
        """Those of which nothing is there, in their order; to be taken one at a time."""
        for task in tasks:
            try:
                there = [] if task.problem else [path for path in task.outputs if self._stays(path)]
            except EnhanceError as error:
                task, there = replace(task, problem=str(error)), []
            if not there:
                yield task
            elif len(there) == len(task.outputs):
                self.count += 1
            else:
                names = ", ".join(map(str, there))
                error = EnhanceError(
                    f"{names}: there already, while other outputs of {task.source} are to be made",
                    "remove it, or take --force in place of --skip-existing",
                )
                self.failed.append(Result(task.source, task.target, error=str(error)))

    def _stays(self, path: Path) -> bool:
        with asking(path):
            return real(path).exists() and not self.wrote(path)


def _weights(settings: Settings) -> str:
    """A digest of the model's weights; of a blend, of the file and of all its models'."""
    from enhance.models.checkpoint import find

    if settings.blend:
        from enhance.inference.blend import read_blend

        files = [Path(settings.model), *read_blend(settings.model)[0].values()]
    else:
        files = [find(settings.model)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _all_there(task: AnyTask) -> bool:
    """Whether all its outputs exist; not, where that is refused: its writer says why."""
    try:
        for path in task.outputs:
            with asking(path):
                if not real(path).exists():
                    return False
    except EnhanceError:
        return False
    return True


def _placed(record: dict[str, Any]) -> dict[str, Any]:
    """With whole paths: names are those of the folder in which the command was given."""
    folder = record.get("folder") or str(Path.cwd())
    placed = {**record, **{name: _absolute(record[name], folder) for name in PATHS if record.get(name)}}
    if record.get("parts"):
        placed["parts"] = {name: _absolute(path, folder) for name, path in record["parts"].items()}
    return placed


def _absolute(name: str, folder: str) -> str:
    return name if is_url(name) else os.path.normpath(Path(folder, name))


def _key(record: dict[str, Any]) -> int:
    """What identifies an input, its outputs and the settings."""
    names = ("source", "target", "size", "mtime_ns", "weights", "strength", "prevent_clipping")
    may_lack = ("noise", "plot", "parts", *FLAGS, "listen", "precision", "track")
    return _digest([*(record[name] for name in names), *(record.get(name) for name in may_lack)])


def _digest(value: Any) -> int:
    return int.from_bytes(hashlib.blake2b(json.dumps(value).encode(), digest_size=8).digest(), "big")
