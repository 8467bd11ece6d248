"""Recordings whose sources lie apart, in three layouts, to stems for training and to a test set.

``sources``
    a folder a source, with a file a recording: ``s1/ID.wav``, ``s2/ID.wav`` (LibriMix),
``tracks``
    a folder a recording, with a file a source, or a folder of files that are summed (MUSDB18-HQ:
    ``ARTIST - TITLE/vocals.wav``); or a file a recording, ``NAME.stem.mp4``, whose audio streams are the mixture,
    drums, bass, other and vocals (MUSDB18),
``moisesdb``
    ``TRACK/data.json`` and ``TRACK/STEM/ID.wav``; stems that are no sources belong to ``other``.

In ``DATA``: ``stems/`` (a :mod:`~enhance.data.stem_store`) and ``test/``, a folder a recording, which ``enhance bench``
takes. Each is there complete or not at all.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from enhance import audio
from enhance.audio import SOUNDS
from enhance.console import note, progress, warn
from enhance.data import stem_store
from enhance.data.data_recipe import StemRecipe, check_place
from enhance.data.manifest import unit_hash
from enhance.data.pool import in_order
from enhance.data.stem_store import SPLITS
from enhance.errors import EnhanceError
from enhance.files import appearing, replacing

STORE, TEST = "stems", "test"
ABOUT = "about.json"
MARKS = {STORE: stem_store.INDEX, TEST: ABOUT}  # the file that tells that a folder is ours
STREAMS = {"mixture": 0, "drums": 1, "bass": 2, "other": 3, "vocals": 4}  # of a .stem.mp4
MIXTURE, OTHER = "mixture", "other"


class Part(NamedTuple):
    """A file, or one of its audio streams."""

    path: Path
    stream: int | None = None


@dataclass(frozen=True)
class Found:
    """A recording: the files of each source (of silence none), and of its mixture where there is one."""

    id: str
    artist: str  # the unit of splits
    sources: dict[str, list[Part]]
    mixture: Part | None = None


@dataclass(frozen=True)
class Job:
    """One preparation: what, into which folder, and where from."""

    recipe: StemRecipe
    data: Path
    source: Path
    jobs: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """What decides on the result: kept beside it."""
        return self.recipe.model_dump(mode="json")


def prepare(job: Job, force: bool = False) -> None:
    """Make ``stems/`` and, if the recipe has a test set, ``test/``, each if it is not there (or if ``force``).

    EnhanceError if the files are not as the recipe says, or if the folders hold something else or something prepared
    in another way.
    """
    wanted = [TEST, STORE] if job.recipe.test is not None else [STORE]
    for name in wanted:
        check_place(job.data / name, MARKS, job.settings, force)
    splits: dict[str, list[Found]] = {}
    for name in wanted:
        folder = job.data / name
        if force or not (folder / MARKS[name]).is_file():
            splits = splits or find_splits(job.recipe, job.source)
            job.data.mkdir(parents=True, exist_ok=True)
            with appearing(folder) as partial_folder:
                (_make_test if name == TEST else _make_store)(job, partial_folder, splits)
        note(f"{folder}: {_summary(folder)}")


def _summary(folder: Path) -> str:
    if folder.name == TEST:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return f"{about['recordings']} recordings, {about['seconds'] / 3600:.2f} h"
    store = stem_store.StemStore(folder)
    counts = [f"{split} {len(store.select(split))} recordings, {store.seconds(split) / 3600:.2f} h" for split in SPLITS]
    return f"{', '.join(store.sources)}; {'; '.join(counts)}; fingerprint {store.fingerprint}"


# ---- which recordings there are, and what they are for


def find_splits(recipe: StemRecipe, root: Path) -> dict[str, list[Found]]:
    """The recordings of each split below ``root``, sorted by id; ``test`` may be empty.

    EnhanceError for a folder that is missing, and for a split for training or validation without recordings.
    """
    found = find_recordings(recipe, root / recipe.train)
    splits: dict[str, list[Found]] = {"train": found, "valid": [], TEST: []}
    for name, where in ((TEST, recipe.test), ("valid", recipe.valid)):
        if isinstance(where, str):
            splits[name] = find_recordings(recipe, root / where)
        elif where is not None:
            held_out = _listed(found, where, root) if isinstance(where, list) else _share(found, where, name)
            splits[name] = [track for track in splits["train"] if track.id in held_out]
            splits["train"] = [track for track in splits["train"] if track.id not in held_out]
    for name in SPLITS:
        if not splits[name]:
            raise EnhanceError(f"{root}: no recording is left for split {name!r}", "look at `valid` in data.toml")
    return splits


def _listed(found: list[Found], names: list[str], root: Path) -> set[str]:
    known = {track.id for track in found}
    if missing := [name for name in names if name not in known]:
        warn(
            f"{root}: {len(missing)} of the recordings held out for validation are not there, {missing[0]!r} the first"
        )
    return set(names)


def _share(found: list[Found], share: float, split: str) -> set[str]:
    """Recordings of the artists whom a hash of their names picks, so that more recordings never move others."""
    return {track.id for track in found if unit_hash(f"{split} {track.artist}") < share}


def find_recordings(recipe: StemRecipe, folder: Path) -> list[Found]:
    """The recordings in a folder of that layout, sorted by id. EnhanceError if it is missing, or nothing is in it."""
    if not folder.is_dir():
        raise EnhanceError(f"{folder}: no such folder", "--from takes the folder that holds it")
    find = {"sources": _in_source_folders, "tracks": _in_track_folders, "moisesdb": _in_moisesdb}[recipe.layout]
    found = sorted(find(recipe, folder), key=lambda track: track.id)
    if not found:
        raise EnhanceError(f"{folder}: no recording with {', '.join(recipe.sources)}", "see the recipe's README")
    return found


def _sounds(folder: Path) -> list[Path]:
    """Copying from a Mac leaves hidden files ``._name.wav`` about."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in paths if path.suffix.lower() in SOUNDS and not path.name.startswith("."))


def _in_source_folders(recipe: StemRecipe, folder: Path) -> Iterator[Found]:
    names = [*recipe.sources, *(name for name in recipe.optional if (folder / name).is_dir())]
    files = {name: {path.stem: path for path in _sounds(folder / name)} for name in names}
    for name in sorted(set().union(*files.values())):
        if missing := [source for source in names if name not in files[source]]:
            raise EnhanceError(f"{folder / missing[0]}: no {name}", f"{names[0]}/ and the others need the same names")
        yield Found(name, name, {source: [Part(files[source][name])] for source in names})


def _in_track_folders(recipe: StemRecipe, folder: Path) -> Iterator[Found]:
    for place in sorted(folder.iterdir()):
        if place.name.startswith("."):
            continue
        artist = place.name.partition(" - ")[0]
        if place.name.endswith(".stem.mp4"):
            if unknown := [name for name in recipe.sources if name not in STREAMS]:
                raise EnhanceError(f"{place}: no stream of {unknown[0]}", f"it has {', '.join(STREAMS)}")
            sources = {name: [Part(place, STREAMS[name])] for name in recipe.sources}
            yield Found(place.name.removesuffix(".stem.mp4"), artist, sources, Part(place, STREAMS[MIXTURE]))
        elif place.is_dir():
            files = {path.stem: path for path in _sounds(place)}
            names = [name for name in (*recipe.sources, *recipe.optional) if name in files or (place / name).is_dir()]
            parts = {name: [files[name]] if name in files else _sounds(place / name) for name in names}
            if missing := [name for name in recipe.sources if name not in names]:
                raise EnhanceError(f"{place}: no {missing[0]}", f"a recording needs {', '.join(recipe.sources)}")
            mixture = Part(files[MIXTURE]) if MIXTURE in files else None
            yield Found(place.name, artist, {name: [*map(Part, paths)] for name, paths in parts.items()}, mixture)


def _in_moisesdb(recipe: StemRecipe, folder: Path) -> Iterator[Found]:
    for about in sorted(folder.glob("*/data.json")):
        sources: dict[str, list[Part]] = {name: [] for name in recipe.sources}
        try:
            described = json.loads(about.read_text(encoding="utf-8"))
            for stem in described["stems"]:
                source = stem["stemName"] if stem["stemName"] in sources else OTHER
                files = [f"{track['id']}.{track['extension']}" for track in stem["tracks"]]
                sources[source] += [Part(about.parent / stem["stemName"] / file) for file in files]
            artist = str(described["artist"])
        except (ValueError, KeyError, TypeError) as error:
            raise EnhanceError(f"{about}: not a description of MoisesDB ({error!r})", "unpack it again") from None
        yield Found(about.parent.name, artist, sources)


# ---- what is made of them


def decode(track: Found, recipe: StemRecipe) -> tuple[np.ndarray, np.ndarray | None]:
    """Sources as int16 ``(sources, channels, time)`` and the mixture likewise, ``(channels, time)``, if it is a file.

    The files of a source are summed: nothing that reads the result tells them apart. What is there already keeps its
    bits, unless the whole recording is lowered because a sum of files is over full scale. Files of MoisesDB are cut to
    the shortest one. EnhanceError, with the file, for one that cannot be read and, of other layouts, for files of two
    lengths.
    """
    parts = [(name, part) for name, files in track.sources.items() for part in files]
    if not parts:
        raise EnhanceError(f"{track.id}: no file of any source", "unpack it again")
    waves = {part: _read(part, recipe) for _, part in parts}
    if track.mixture is not None:
        waves[track.mixture] = _read(track.mixture, recipe)
    shortest = min(waves, key=lambda part: waves[part].shape[1])
    length = waves[shortest].shape[1]
    for part, wave in waves.items():
        if wave.shape[1] != length and recipe.layout != "moisesdb":
            what = f"{part.path}: {wave.shape[1]} samples, but {shortest.path} has {length}"
            raise EnhanceError(what, "unpack it again")
    stems = np.zeros((len(track.sources), recipe.channels, length), np.float32)
    for name, part in parts:
        stems[list(track.sources).index(name)] += waves[part][:, :length]
    mixture = None if track.mixture is None else waves[track.mixture]
    # Of a recording without a mixture the sum has to fit too: it will be written.
    peak = max(np.abs(stems).max(), np.abs(stems.sum(0)).max() if mixture is None else 0.0)
    gain = np.float32(1 / max(1.0, peak))
    return _samples(stems * gain), None if mixture is None else _samples(mixture * gain)


def _read(part: Part, recipe: StemRecipe) -> np.ndarray:
    """A file as ``(channels, time)`` of the recipe's rate and channels."""
    wave, rate = audio.read(part.path, 1 + (part.stream or 0))
    if recipe.channels == 1:
        wave = wave.mean(axis=0, keepdims=True)
    elif len(wave) == 1:
        wave = wave.repeat(recipe.channels, axis=0)
    elif len(wave) != recipe.channels:
        raise EnhanceError(f"{part.path}: {len(wave)} channels", f"mix them down to {recipe.channels}")
    return audio.resample(wave, rate, recipe.sample_rate)


def _samples(wave: np.ndarray) -> np.ndarray:
    return np.rint(wave * 32768.0).clip(-32768, 32767).astype(np.int16)


def _make_store(job: Job, folder: Path, splits: dict[str, list[Found]]) -> None:
    recipe = job.recipe
    tracks = [(track, split) for split in SPLITS for track in splits[split]]
    names = list(tracks[0][0].sources)
    if other := next((track for track, _ in tracks if list(track.sources) != names), None):
        what = f"{other.id}: has {', '.join(other.sources)}, but {tracks[0][0].id} has {', '.join(names)}"
        raise EnhanceError(what, "all recordings need the same sources")
    with _decoded(job, STORE, [track for track, _ in tracks]) as decoded:
        labelled = (((track.id, split), stems) for (track, split), (stems, _) in zip(tracks, decoded, strict=True))
        stem_store.write(folder, labelled, names, recipe.sample_rate, recipe.channels, job.settings)


def _make_test(job: Job, folder: Path, splits: dict[str, list[Found]]) -> None:
    rate, seconds = job.recipe.sample_rate, 0.0
    if not splits[TEST]:
        raise EnhanceError(f"{job.source}: no recording for the test", "look at `test` in data.toml")
    with _decoded(job, TEST, splits[TEST]) as decoded:
        for track, (stems, mixture) in zip(splits[TEST], decoded, strict=True):
            whole = stems.sum(axis=0, dtype=np.int32).clip(-32768, 32767) if mixture is None else mixture
            for name, wave in zip((*track.sources, MIXTURE), (*stems, whole), strict=True):
                audio.write(folder / track.id / f"{name}.flac", wave / np.float32(32768), rate, "PCM_16")
            seconds += stems.shape[-1] / rate
    about = {"settings": job.settings, "recordings": len(splits[TEST]), "seconds": round(seconds, 3)}
    with replacing(folder / ABOUT) as temporary:
        temporary.write_text(json.dumps(about), encoding="utf-8")


@contextlib.contextmanager
def _decoded(job: Job, name: str, tracks: list[Found]) -> Iterator[Iterator[tuple[np.ndarray, np.ndarray | None]]]:
    """The samples of the recordings in their order, decoded in the processes of the job."""
    with progress("{task.completed}/{task.total} recordings") as bar:
        task = bar.add_task(name, total=len(tracks))
        # A song of four stereo stems has 200 MB: no process works far ahead.
        waves = in_order(partial(decode, recipe=job.recipe), tracks, job.jobs, ahead=1)

        def counted() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
            for found in waves:
                yield found
                bar.advance(task)

        with contextlib.closing(waves):
            yield counted()
