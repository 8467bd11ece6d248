"""What to do: from names on the command line to a task a file, listed as they are done. Imports nothing heavy."""

from __future__ import annotations

import glob
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

from enhance.audio import SOUNDS, VIDEOS
from enhance.errors import EnhanceError
from enhance.inference.remote import asking, is_remote, is_url, matches, place


@dataclass(frozen=True)
class Task:
    """One input and what is to be made of it."""

    source: Path
    target: Path
    noise: Path | None = None  # where to write what was removed
    plot: Path | None = None  # where to draw spectrograms of before and after
    problem: str = ""  # why it must not be done

    @property
    def outputs(self) -> list[Path]:
        return [path for path in (self.target, self.noise, self.plot) if path is not None]

    def moved(self, places: Mapping[Path, Path]) -> Self:
        """The same with other places for some of its files."""
        names = {name: places[path] for name, path in vars(self).items() if name != "problem" and path in places}
        return replace(self, **names)


@dataclass(frozen=True)
class SeparationTask:
    """One input and where its parts go, by name: sources of a model, and ``residual``, what the others leave."""

    source: Path
    target: Path  # the folder of the parts
    parts: dict[str, Path]
    plot: Path | None = None  # where to draw spectrograms of the input and of its parts
    problem: str = ""  # why it must not be done

    @property
    def outputs(self) -> list[Path]:
        return [*self.parts.values(), *([self.plot] if self.plot else [])]

    def moved(self, places: Mapping[Path, Path]) -> Self:
        """The same with other places for some of its files; its folder is then that of the parts."""
        parts = {name: places.get(path, path) for name, path in self.parts.items()}
        plot = places.get(self.plot, self.plot) if self.plot else None
        target = next(iter(parts.values())).parent
        return replace(self, source=places.get(self.source, self.source), target=target, parts=parts, plot=plot)


AnyTask = Task | SeparationTask


@dataclass(frozen=True)
class Settings:
    """What holds for all files of a run."""

    model: str
    device: str = "auto"
    strength: float = 1.0
    prevent_clipping: bool = False
    blend: bool = False  # ``model`` is the file of a blend
    wiener: bool = False  # estimates of several sources are filtered once more


@dataclass(frozen=True)
class Result:
    """What became of one input; ``error`` is empty if all went well."""

    source: Path
    target: Path
    noise: Path | None = None
    plot: Path | None = None
    seconds: float = 0.0  # of audio
    sample_rate: int = 0  # Hz
    channels: int = 0
    elapsed: float = 0.0  # seconds of wall time
    peak: float = 0.0  # of the output, full scale is 1
    clipped: int = 0  # samples cut off at full scale
    lowered_db: float = 0.0  # by how much the whole file was lowered to prevent that
    warnings: tuple[str, ...] = ()
    error: str = ""
    parts: dict[str, Path] | None = None  # of a separation

    @property
    def rtf(self) -> float:
        """Real-time factor: wall time per second of audio."""
        return self.elapsed / self.seconds if self.seconds else 0.0


def plan(
    inputs: Sequence[str],
    output: str | None,
    keep_noise: bool = False,
    plot: bool = False,
    force: bool = False,
    ours: Callable[[Path], bool] = lambda path: False,
) -> Iterator[Task]:
    """What to do for files, folders, patterns, URLs, listed as it is asked for: a million files need no memory.

    One file goes to ``output`` (by default ``name.clean.wav`` beside ``name.wav``), or into it if that is a
    folder; several files and folders go into ``output`` as a folder, with their structure kept. What was
    removed goes to ``output.noise.wav``, a picture to ``output.png``. Nothing is written.

    Raises EnhanceError, before the first task, for missing inputs and an output that cannot hold them all. A
    task has a ``problem`` if its output is an input, another one's output, or exists, unless ``force`` or it is
    ``ours``, written by an earlier run.
    """
    with asking(place(output or inputs[0])):
        yield from _planned(inputs, output, keep_noise, plot, force, ours)


def _planned(
    inputs: Sequence[str],
    output: str | None,
    keep_noise: bool,
    plot: bool,
    force: bool,
    ours: Callable[[Path], bool],
) -> Iterator[Task]:
    listings = [_listed(name, output) for name in inputs]
    found = _each_once(itertools.chain.from_iterable(listings)) if len(inputs) > 1 else listings[0]
    first, second = next(found), next(found, None)
    single = len(inputs) == 1 and second is None and not place(inputs[0]).is_dir()
    folder = _output_folder(output, single)
    outputs = _Outputs(
        inputs, output, lambda path: force or ours(path), alone=len(inputs) == 1 and not keep_noise and not plot
    )
    for source, name in itertools.chain([first], [second] if second else [], found):
        if folder is not None:
            target = folder / name
        else:
            target = place(output) if output else _beside(source, f".clean{source.suffix}")
        noise = _beside(target, f".noise{target.suffix}") if keep_noise else None
        task = Task(source, target, noise, _beside(target, ".png") if plot else None)
        yield replace(task, problem=outputs.problem(task))


def plan_separation(
    inputs: Sequence[str],
    output: str,
    names: Sequence[str],
    ending: str | None = None,
    plot: bool = False,
    force: bool = False,
    ours: Callable[[Path], bool] = lambda path: False,
) -> Iterator[SeparationTask]:
    """What to do for files, folders, patterns, URLs, listed as it is asked for; nothing is written.

    ``NAME.wav`` goes to ``output/NAME/PART.wav``, folders with their structure kept, a picture to
    ``output/NAME/spectrograms.png``. ``ending`` is that of all parts, by default the input's, but ``.wav`` for a video.
    Raises EnhanceError, and gives tasks a ``problem``, as :func:`plan` does.
    """
    with asking(place(output)):
        yield from _planned_separation(inputs, output, names, ending, plot, lambda path: force or ours(path))


def _planned_separation(
    inputs: Sequence[str],
    output: str,
    names: Sequence[str],
    ending: str | None,
    plot: bool,
    replaceable: Callable[[Path], bool],
) -> Iterator[SeparationTask]:
    folder = place(output)
    if folder.exists() and not folder.is_dir():
        raise EnhanceError(f"{output}: is a file", "give a folder with -o")
    outputs = _Outputs(inputs, output, replaceable, alone=False)
    for source, name in _each_once(itertools.chain.from_iterable([_listed(name, output) for name in inputs])):
        suffix = ending or (source.suffix if source.suffix.lower() in SOUNDS else ".wav")
        target = folder / name.with_suffix("")
        parts = {part: target / f"{part}{suffix}" for part in names}
        task = SeparationTask(source, target, parts, target / "spectrograms.png" if plot else None)
        yield replace(task, problem=outputs.problem(task))


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(target.stem + ending)


Found = Iterator[tuple[Path, Path]]  # an input file, and its name below the output folder


def _listed(name: str, output: str | None) -> Found:
    """The input files of an argument; EnhanceError if there are none."""
    if is_url(name) and not name.endswith("://"):
        name = name.rstrip("/")  # which https:// would keep, unlike the names of what is in it
    path = place(name)
    with asking(path):
        if not path.is_dir():
            return ((file, Path(file.name)) for file in _matches(name))
    files = _sound_files(path, place(output).resolve() if output else None)
    if (first := next(files, None)) is None:
        raise EnhanceError(f"{name}: no audio files in this folder", "give a folder with recordings")
    return ((file, Path(str(file.relative_to(path)))) for file in itertools.chain([first], files))


def _matches(name: str) -> list[Path]:
    """The files that a name or a pattern means, sorted; EnhanceError if there are none."""
    if place(name).exists():
        return [place(name)]
    if not glob.has_magic(name):
        raise EnhanceError(f"{name}: no such file", "check the name")
    if is_url(name):
        found = matches(name)
    else:
        found = sorted(Path(match) for match in glob.glob(name, recursive=True))  # noqa: PTH207 (absolute too)
    if not (files := [match for match in found if match.is_file()]):
        raise EnhanceError(f"{name}: no file matches", "check the pattern")
    return files


def _each_once(found: Iterable[tuple[Path, Path]]) -> Found:
    seen: set[str] = set()
    for source, name in found:
        if str(source) not in seen:
            seen.add(str(source))
            yield source, name


def _sound_files(folder: Path, excluded: Path | None) -> Iterator[Path]:
    """Sound and video files below ``folder`` by their endings; not hidden, not below ``excluded``.

    In the order of their names, those of a folder before those of the folders in it. A folder that cannot be listed
    stands for what is in it, so that its reader says why. Links to folders are followed, each folder once.
    """
    locked: list[Path] = []
    roots = [] if is_remote(folder) else [folder.resolve()]  # and what links lead to

    def leads_elsewhere(link: Path) -> bool:
        target = link.resolve()
        if any(target.is_relative_to(root) or root.is_relative_to(target) for root in roots):
            return False
        roots.append(target)
        return True

    with asking(folder):
        if is_remote(folder):
            walk = cast(Any, folder).walk()
        else:
            walk = os.walk(folder, followlinks=True, onerror=lambda error: locked.append(Path(error.filename)))
        for parent, folders, names in walk:
            here = place(str(parent))
            folders[:] = [
                name
                for name in sorted(folders)
                if not name.startswith(".")
                and (here / name).resolve() != excluded
                and (not roots or not (here / name).is_symlink() or leads_elsewhere(here / name))
            ]
            for name in sorted(names):
                if not name.startswith(".") and Path(name).suffix.lower() in SOUNDS | VIDEOS:
                    yield here / name
        yield from locked


def _output_folder(output: str | None, single: bool) -> Path | None:
    """The folder that ``output`` is; None if it is a file, or beside the input."""
    if output is None:
        if not single:
            raise EnhanceError("several inputs", "give a folder for the results with -o")
        return None
    folder = place(output)
    with asking(folder):
        there = folder.is_dir()
    if single and not (there or output.endswith(("/", os.sep))):
        return None
    if not there and (folder.exists() or folder.suffix.lower() in SOUNDS | VIDEOS):
        raise EnhanceError(f"{output}: is one file, but there are several inputs", "give a folder with -o")
    return folder


class _Outputs:
    """Says what must not be written."""

    def __init__(
        self, inputs: Sequence[str], output: str | None, replaceable: Callable[[Path], bool], alone: bool
    ) -> None:
        self.replaceable = replaceable
        self.alone = alone  # files of one folder, one output each: no two can have the same
        self.folders = [place(name).resolve() for name in inputs if place(name).is_dir()]
        self.files = {file.resolve() for name in inputs if not place(name).is_dir() for file in _matches(name)}
        self.output = place(output).resolve() if output else None
        self.writers: dict[str, Path] = {}

    def problem(self, task: AnyTask) -> str:
        """What keeps the task from being done; empty if nothing does."""
        try:
            for path in task.outputs:
                with asking(path):
                    self._check(path, task.source)
        except EnhanceError as error:
            return str(error)
        return ""

    def _check(self, path: Path, source: Path) -> None:
        there = path.exists()
        if there and self._is_input(path.resolve()):
            raise EnhanceError(f"{path}: is an input as well as an output", "choose another name with -o")
        if not self.alone:
            writer = self.writers.setdefault(str(path.resolve()), source)
            if writer is not source:
                raise EnhanceError(f"{path}: would be written from both {writer} and {source}", "run them apart")
        if there and not path.is_file():
            raise EnhanceError(f"{path}: exists and is not a file", "choose another name with -o")
        if there and not self.replaceable(path):
            raise EnhanceError(f"{path}: exists", "choose another name with -o, or add --force")

    def _is_input(self, path: Path) -> bool:
        """Is this file one of those that are listed, whether it was already or not?"""
        if path in self.files:
            return True
        for folder in self.folders:
            if _below(path, folder):
                inside = self.output is not None and self.output != folder and _below(self.output, folder)
                return not (inside and self.output is not None and _below(path, self.output))
        return False


def _below(path: Path, folder: Path) -> bool:
    return is_remote(path) == is_remote(folder) and path.is_relative_to(folder)


def check_folders(tasks: Iterable[AnyTask]) -> None:
    """EnhanceError unless files can be made where the outputs go, or in the nearest folder above that exists."""
    for folder in {path.parent for task in tasks for path in task.outputs if not is_remote(path)}:
        try:
            there = next(path for path in (folder, *folder.parents) if path.exists())
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            reason = f"cannot write there ({error.strerror})"
            raise EnhanceError(f"{folder}: {reason}", "choose another folder with -o") from None
