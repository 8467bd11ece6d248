"""What to do: from names on the command line to one task a file. Imports nothing heavy."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enhance.audio import SOUNDS, VIDEOS
from enhance.errors import EnhanceError


@dataclass(frozen=True)
class Task:
    """One input and what is to be made of it."""

    source: Path
    target: Path
    noise: Path | None = None  # where to write what was removed
    plot: Path | None = None  # where to draw spectrograms of before and after

    @property
    def outputs(self) -> list[Path]:
        return [path for path in (self.target, self.noise, self.plot) if path is not None]


@dataclass(frozen=True)
class SeparationTask:
    """One input and where its parts go, by name: sources of a model, and ``residual``, what the others leave."""

    source: Path
    target: Path  # the folder of the parts
    parts: dict[str, Path]

    @property
    def outputs(self) -> list[Path]:
        return [*self.parts.values()]


AnyTask = Task | SeparationTask


@dataclass(frozen=True)
class Settings:
    """What holds for all files of a run."""

    model: str
    device: str = "auto"
    strength: float = 1.0
    prevent_clipping: bool = False
    blend: bool = False  # ``model`` is the file of a blend


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
    inputs: Sequence[str], output: str | None, keep_noise: bool = False, plot: bool = False, force: bool = False
) -> list[Task]:
    """What to do for files, folders and patterns; nothing is written, but every name is checked.

    One file goes to ``output`` (by default ``name.clean.wav`` beside ``name.wav``), or into it if that is a
    folder; several files and folders go into ``output`` as a folder, with their structure kept. What was
    removed goes to ``output.noise.wav``, a picture to ``output.png``. Raises EnhanceError for missing inputs,
    two inputs with one output, an output that is an input or exists (unless ``force``), and for a folder
    where nothing can be written.
    """
    found = _find_inputs(inputs, output)
    targets = _find_targets(inputs, found, output)
    tasks = [
        Task(
            source,
            target,
            _beside(target, f".noise{target.suffix}") if keep_noise else None,
            _beside(target, ".png") if plot else None,
        )
        for (source, _), target in zip(found, targets, strict=True)
    ]
    _check_outputs(tasks, force)
    return tasks


def plan_separation(
    inputs: Sequence[str], output: str, names: Sequence[str], ending: str | None = None, force: bool = False
) -> list[SeparationTask]:
    """What to do for files, folders and patterns; nothing is written, but every name is checked.

    ``NAME.wav`` goes to ``output/NAME/PART.wav``, folders with their structure kept. ``ending`` is that of all
    outputs, by default the input's, but ``.wav`` for a video. Raises EnhanceError as :func:`plan` does.
    """
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise EnhanceError(f"{output}: is a file", "give a folder with -o")
    tasks = []
    for source, name in _find_inputs(inputs, output):
        suffix = ending or (source.suffix if source.suffix.lower() in SOUNDS else ".wav")
        target = folder / name.with_suffix("")
        tasks.append(SeparationTask(source, target, {part: target / f"{part}{suffix}" for part in names}))
    _check_outputs(tasks, force)
    return tasks


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(target.stem + ending)


def _find_inputs(inputs: Sequence[str], output: str | None) -> list[tuple[Path, Path]]:
    """Every input file once and its name below the output folder, in the order given, folders sorted."""
    found: dict[Path, Path] = {}
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            below = _sound_files(path, Path(output).resolve() if output else None)
            if not below:
                raise EnhanceError(f"{name}: no audio files in this folder", "give a folder with recordings")
            found.update((file, file.relative_to(path)) for file in below)
        elif path.exists():
            found.setdefault(path, Path(path.name))
        elif glob.has_magic(name):
            matches = sorted(Path(match) for match in glob.glob(name, recursive=True))  # noqa: PTH207 (absolute too)
            files = [match for match in matches if match.is_file()]
            if not files:
                raise EnhanceError(f"{name}: no file matches", "check the pattern")
            for file in files:
                found.setdefault(file, Path(file.name))
        else:
            raise EnhanceError(f"{name}: no such file", "check the name")
    return list(found.items())


def _sound_files(folder: Path, excluded: Path | None) -> list[Path]:
    """Sound and video files below ``folder`` by their endings, sorted; not hidden, not below ``excluded``."""
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (Path(parent) / name).resolve() != excluded
        )
        files += [
            Path(parent) / name
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in SOUNDS | VIDEOS
        ]
    return sorted(files)


def _find_targets(inputs: Sequence[str], found: list[tuple[Path, Path]], output: str | None) -> list[Path]:
    single = len(inputs) == 1 and len(found) == 1 and not Path(inputs[0]).is_dir()
    if output is None:
        if not single:
            raise EnhanceError("several inputs", "give a folder for the results with -o")
        source = found[0][0]
        return [_beside(source, f".clean{source.suffix}")]
    folder = Path(output)
    if single and not (folder.is_dir() or output.endswith(("/", os.sep))):
        return [folder]
    if not folder.is_dir() and (folder.exists() or folder.suffix.lower() in SOUNDS | VIDEOS):
        raise EnhanceError(f"{output}: is one file, but there are several inputs", "give a folder with -o")
    return [folder / name for _, name in found]


def _check_outputs(tasks: Sequence[AnyTask], force: bool) -> None:
    sources = {task.source.resolve() for task in tasks}
    writers: dict[Path, Path] = {}
    for task in tasks:
        for path in task.outputs:
            resolved = path.resolve()
            if resolved in sources:
                raise EnhanceError(f"{path}: is an input as well as an output", "choose another name with -o")
            if resolved in writers:
                both = f"{writers[resolved]} and {task.source}"
                raise EnhanceError(f"{path}: would be written from both {both}", "run them apart")
            writers[resolved] = task.source
            if path.exists() and not path.is_file():
                raise EnhanceError(f"{path}: exists and is not a file", "choose another name with -o")
            if path.exists() and not force:
                raise EnhanceError(f"{path}: exists", "choose another name with -o, or add --force")
    for folder in {path.parent for path in writers}:
        _check_folder(folder)


def _check_folder(folder: Path) -> None:
    """EnhanceError unless files can be made in ``folder``, or in the nearest one above it that exists."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        reason = f"cannot write there ({error.strerror})"
        raise EnhanceError(f"{folder}: {reason}", "choose another folder with -o") from None
