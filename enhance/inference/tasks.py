"""What to do: from names on the command line to a task a file, listed as they are done. Imports nothing heavy."""

from __future__ import annotations

import glob
import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from enhance.audio import SOUNDS, VIDEOS
from enhance.errors import EnhanceError
from enhance.inference.inputs import MIXTURE, Found, below, each_once, find, fits, fixed_part, inside, listed
from enhance.inference.remote import asking, is_remote, place, writes_nothing

MOST_LISTENED = 600.0  # s that are kept in memory until a model begins


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
    independent: bool = False  # channels are separated one by one
    linked: bool = False  # channels are denoised with one mask
    listen: float | None = None  # s that a model with memory hears before it begins, where that is not its own choice
    precision: str = "32-true"  # see enhance.nn.precision
    track: int | None = None  # of sound, in files with several, counted from 1; the first where nobody says


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


def check_listen(seconds: float | None) -> None:
    """EnhanceError for what is no number of seconds to listen to."""
    if seconds is not None and not 0 <= seconds <= MOST_LISTENED:
        raise EnhanceError(f"listen {seconds:g}", f"give seconds from 0, which begins at once, to {MOST_LISTENED:g}")


def plan(
    inputs: Sequence[str],
    output: str | None,
    ending: str | None = None,
    keep_noise: bool = False,
    plot: bool = False,
    force: bool = False,
    ours: Callable[[Path], bool] = lambda path: False,
) -> Iterator[Task]:
    """What to do for files, folders, patterns, URLs, listed as it is asked for: a million files need no memory.

    One file goes to ``output`` (by default ``name.clean.wav`` beside ``name.wav``), or into it if that is a
    folder; several files and folders go into ``output`` as a folder, with their structure kept. What was
    removed goes to ``output.noise.wav``, a picture to ``output.png``. ``ending`` is that of all outputs, by default
    the input's. What lies below ``output`` is no input, if that is inside of an input folder or of the folder that a
    pattern begins with. Nothing is written.

    Raises EnhanceError, before the first task, for missing inputs, an output that cannot hold them all, and one file
    with another ending. A task has a ``problem`` if its output is an input or would be one the next time, is another
    one's output, or exists, unless ``force`` or it is ``ours``, written by an earlier run.
    """
    with asking(place(output or inputs[0])):
        yield from _planned(inputs, output, ending, keep_noise, plot, lambda path: force or ours(path))


def _planned(
    inputs: Sequence[str],
    output: str | None,
    ending: str | None,
    keep_noise: bool,
    plot: bool,
    replaceable: Callable[[Path], bool],
) -> Iterator[Task]:
    listings = [listed(name, output) for name in inputs]
    found = each_once(itertools.chain.from_iterable(listings)) if len(inputs) > 1 else listings[0]
    first, second = next(found), next(found, None)
    single = len(inputs) == 1 and second is None and not place(inputs[0]).is_dir()
    folder = _output_folder(output, single)
    if ending and output and folder is None and place(output).suffix.lower() != ending:
        what = f"{output}: does not end in {ending}, as --format says"
        raise EnhanceError(what, "leave --format out, or give a folder with a / at its end")
    alone = len(inputs) == 1 and not (ending or keep_noise or plot)
    outputs = _Outputs(inputs, output, replaceable, alone)
    for source, name in itertools.chain([first], [second] if second else [], found):
        if folder is not None:
            target = folder / (_beside(name, ending) if ending else name)
        else:
            target = place(output) if output else _own_place(source, ending)
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
    ``output/NAME/spectrograms.png``. ``NAME/mixture.wav`` goes there too, and of a folder with such a file no other
    file is taken. Files of a folder that differ in their endings alone keep them: ``output/NAME.wav/PART.wav``.
    ``ending`` is that of all parts, by default the input's, but ``.wav`` for a video.
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
    if real(folder).exists() and not real(folder).is_dir():
        raise EnhanceError(f"{output}: is a file", "give a folder with -o")
    if not real(folder).exists() and folder.suffix.lower() in SOUNDS | VIDEOS:
        raise EnhanceError(f"{output}: is the name of a file", "give a folder with -o: each part is a file in it")
    outputs = _Outputs(inputs, output, replaceable, alone=False)
    listings = [listed(name, output, mixtures=True) for name in inputs]
    for source, track in _tracks(each_once(itertools.chain.from_iterable(listings))):
        suffix = ending or (source.suffix if source.suffix.lower() in SOUNDS else ".wav")
        target = folder / track
        parts = {part: target / f"{part}{suffix}" for part in names}
        task = SeparationTask(source, target, parts, target / "spectrograms.png" if plot else None)
        yield replace(task, problem=outputs.problem(task))


def real(path: Path) -> Path:
    """The file that is written under this name: links are followed, and ``nope/..`` is here though nope is not."""
    return path if is_remote(path) else path.resolve()


def _own_place(source: Path, ending: str | None) -> Path:
    """Where the result of a file goes if nobody says; EnhanceError for one on a server that takes nothing."""
    if writes_nothing(source):
        raise EnhanceError(f"{source}: nothing can be written there", "say with -o where the result is to go")
    return _beside(source, f".clean{ending or source.suffix}")


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(target.stem + ending)


def _tracks(found: Found) -> Found:
    """Inputs with the names of their folders of parts below the output folder."""
    for _, group in itertools.groupby(found, lambda pair: pair[0].parent):
        named = [(source, _track(source, name)) for source, name in group]
        count = Counter(track for _, track in named)
        for source, track in named:
            yield source, track.with_name(track.name + source.suffix) if count[track] > 1 else track


def _track(source: Path, name: Path) -> Path:
    if name.stem != MIXTURE:
        return name.with_suffix("")
    if name.parent.name:
        return name.parent
    folder = source.parent if source.parent.name not in ("", "..") else source.parent.resolve()
    return Path(folder.name or MIXTURE)


def _output_folder(output: str | None, single: bool) -> Path | None:
    """The folder that ``output`` is; None if it is a file, or beside the input."""
    if output is None:
        if not single:
            raise EnhanceError("several inputs", "give a folder for the results with -o")
        return None
    folder = place(output)
    with asking(folder):
        there = real(folder).is_dir()
    if single and not (there or output.endswith(("/", os.sep))):
        return None
    if not there and (real(folder).exists() or folder.suffix.lower() in SOUNDS | VIDEOS):
        raise EnhanceError(f"{output}: is one file, but there are several inputs", "give a folder with -o")
    return folder


class _Outputs:
    """Says what must not be written."""

    def __init__(
        self, inputs: Sequence[str], output: str | None, replaceable: Callable[[Path], bool], alone: bool
    ) -> None:
        self.replaceable = replaceable
        self.alone = alone  # files of one folder, one output each: no two can have the same
        self.output = place(output).resolve() if output else None
        others = [name for name in inputs if not place(name).is_dir()]
        self.files = {file.resolve() for name in others for file in find(name, self.output)}
        self.roots = [(place(name).resolve(), ["**"]) for name in inputs if place(name).is_dir()]
        for name in others if output else []:
            if glob.has_magic(name) and not place(name).exists():
                root = fixed_part(name)
                self.roots.append((root.resolve(), list(place(name).parts[len(root.parts) :])))
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
        whole = path.resolve()
        file = path if is_remote(path) else whole
        there = file.exists()
        if self._is_input(whole) or (there and not is_remote(path) and not is_remote(source) and file.samefile(source)):
            what = "is an input as well as an output" if there else "would be an input the next time"
            raise EnhanceError(f"{path}: {what}", "choose another name with -o")
        if not self.alone:
            writer = self.writers.setdefault(str(whole), source)
            if writer is not source:
                what = f"{path}: would be written from both {writer} and {source}"
                raise EnhanceError(what, "run them apart, into different folders")
        if there and not file.is_file():
            raise EnhanceError(f"{path}: exists and is not a file", "choose another name with -o")
        if there and not self.replaceable(path):
            raise EnhanceError(f"{path}: exists", "choose another name with -o, or add --force or --skip-existing")

    def _is_input(self, path: Path) -> bool:
        """Is this file one of those that are listed, whether it was already or not?"""
        return path in self.files or any(self._is_listed(path, root, pattern) for root, pattern in self.roots)

    def _is_listed(self, path: Path, root: Path, pattern: Sequence[str]) -> bool:
        if self.output is not None and inside(self.output, root) and below(path, self.output):
            return False
        return below(path, root) and fits(path.parts[len(root.parts) :], pattern)


def check_folders(tasks: Iterable[AnyTask]) -> None:
    """EnhanceError unless files can be made where the outputs go, or in the nearest folder above that exists."""
    paths = (path for task in tasks for path in task.outputs if not is_remote(path))
    for folder, meant in {(path.parent, real(path).parent) for path in paths}:
        try:
            there = next(path for path in (meant, *meant.parents) if path.exists())
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            reason = f"cannot write there ({error.strerror})"
            raise EnhanceError(f"{folder}: {reason}", "choose another folder with -o") from None
