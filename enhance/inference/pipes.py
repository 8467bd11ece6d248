"""``-`` on the command line, standard input and output, by way of temporary files. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from enhance.audio import CONTAINERS, info
from enhance.console import progress
from enhance.errors import EnhanceError
from enhance.files import not_written
from enhance.inference.inputs import find
from enhance.inference.remote import local_name
from enhance.inference.tasks import Result

PIPE = "-"
BLOCK = 1 << 20  # bytes
ENDINGS = {"WAVEX": ".wav", **{container: ending for ending, container in reversed(CONTAINERS.items())}}


@dataclass(frozen=True)
class Piped:
    """Arguments of a command with files in the place of ``-``."""

    inputs: list[str]
    output: str | None
    places: Mapping[Path, str] = field(default_factory=dict)  # temporary files, and what they stand for

    def named(self, text: str) -> str:
        """A message with the names that the user gave."""
        for path, name in self.places.items():
            text = text.replace(str(path), name)
        return text

    def renamed(self, result: Result) -> Result:
        """A result with the names that the user gave."""
        places = {path: Path(name) for path, name in self.places.items()}
        return replace(
            result,
            source=places.get(result.source, result.source),
            target=places.get(result.target, result.target),
            warnings=tuple(map(self.named, result.warnings)),
            error=self.named(result.error),
        )


@contextlib.contextmanager
def piped(
    inputs: Sequence[str],
    output: str | None,
    ending: str | None,
    beside: Sequence[str] = (),
    never: Sequence[str] = (),
) -> Iterator[Piped]:
    """Take standard input, if that is an input, and write standard output at the end, if that is the output.

    Of an input that is piped the output is so too, unless ``output`` says where else. What goes to standard output ends
    in ``ending`` or is of the input's format. EnhanceError for ``-`` among several inputs, for a terminal, for options
    that were given and write ``beside`` the output, if that is standard output, and for those that ``never`` go with
    either.
    """
    if PIPE not in inputs and output != PIPE:
        yield Piped(list(inputs), output)
        return
    if len(inputs) > 1:
        raise EnhanceError(f"{PIPE}: standard input or output with several inputs", "give one input alone")
    (name,), to_pipe = inputs, output in (None, PIPE)
    if never:
        raise EnhanceError(f"{never[0]}: is for files, not for {PIPE}", "leave it out, or give files")
    if to_pipe and beside:
        raise EnhanceError(f"{beside[0]}: the output is {PIPE}, standard output", "write to a file with -o")
    if to_pipe and sys.stdout is None:
        raise EnhanceError(f"{PIPE}: standard output is closed", "give -o FILE")
    if to_pipe and sys.stdout.isatty():
        raise EnhanceError(f"{PIPE}: standard output is a terminal", "give -o FILE, or send it into a file or a pipe")
    with tempfile.TemporaryDirectory(prefix="enhance-") as folder:
        places: dict[Path, str] = {}
        try:
            if name == PIPE:
                source = _taken(Path(folder))
                places[source] = PIPE
                name, suffix = str(source), source.suffix
            else:
                suffix = Path(local_name(_one(name))).suffix
            target = Path(folder, f"stdout{ending or suffix}")
            if to_pipe:
                if not target.suffix:
                    raise EnhanceError(
                        f"{PIPE}: a format without an ending of its own", "give --format wav, or -o FILE"
                    )
                places[target] = PIPE
            yield Piped([name], str(target) if to_pipe else output, places)
        except EnhanceError as error:
            raise EnhanceError(Piped([], None, places).named(error.what), error.hint) from None
        if to_pipe and target.exists():
            _send(target)


def _one(name: str) -> Path:
    """The file of that name; EnhanceError unless it is one."""
    found = find(name, None)
    if len(found) > 1 or found[0].is_dir():
        raise EnhanceError(f"{name}: several files into standard output", "give a folder with -o")
    return found[0]


def _send(path: Path) -> None:
    """The file into standard output; EnhanceError where that takes no more, unless its reader has left."""
    try:
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, BLOCK)
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or what is left is tried again at the end
        if isinstance(error, BrokenPipeError):
            raise
        raise not_written(Path(PIPE), error) from None


def _taken(folder: Path) -> Path:
    """All of standard input in a file, whose ending is that of its format where it has one."""
    if sys.stdin is None:
        raise EnhanceError(f"{PIPE}: standard input is closed", "send a recording into it, or give a file")
    if sys.stdin.isatty():
        raise EnhanceError(f"{PIPE}: standard input is a terminal", "send a recording into it, or give a file")
    path = folder / "stdin"
    try:
        with path.open("wb") as file, progress("{task.fields[size]}") as bar:
            line = bar.add_task("reading standard input", total=None, size="")
            for block in _blocks(sys.stdin.buffer):
                file.write(block)
                bar.update(line, size=f"{file.tell() / 1e6:.0f} MB")
    except OSError as error:
        raise EnhanceError(f"{PIPE}: cannot be kept in {folder.parent} ({error.strerror})", "set TMPDIR") from None
    try:
        about = info(path)
    except EnhanceError as error:
        raise EnhanceError(error.what.replace(str(path), PIPE), error.hint) from None
    ending = ".opus" if about.subtype == "OPUS" else ENDINGS.get(about.container, "")
    return path.rename(path.with_suffix(ending))


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block
