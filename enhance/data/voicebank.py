"""Voice Bank + DEMAND, and what is laid out like it: archives or folders to pairs for training and for a test.

In ``DATA``: ``archives/`` (what was downloaded), ``.unpacked/`` (until all is done), ``pairs/`` (a
:mod:`~enhance.data.pair_store`) and ``test/`` (FLAC files that ``enhance bench`` takes). Each of their parts is there
complete or not at all, so that a run that was stopped is simply started again.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from enhance import audio
from enhance.audio import SOUNDS
from enhance.console import note, progress, warn
from enhance.data import archives, pair_store
from enhance.data.archives import UNPACKED
from enhance.data.data_recipe import DataRecipe, Half, check_place
from enhance.data.pool import in_order
from enhance.errors import EnhanceError
from enhance.files import appearing, replacing

PAIRS, TEST = "pairs", "test"
ABOUT, TAGS = "about.json", "tags.csv"
MARKS = {PAIRS: pair_store.INDEX, TEST: ABOUT}  # the file that tells that a folder is ours


@dataclass(frozen=True)
class Found:
    """A pair of files of one name, and what a log says of it."""

    id: str
    noisy: Path
    clean: Path
    noise: str = ""
    snr: str = ""

    @property
    def speaker(self) -> str:
        return self.id.partition("_")[0]  # p226_001


@dataclass(frozen=True)
class Job:
    """One preparation: what, into which folder, and where from."""

    recipe: DataRecipe
    data: Path
    source: Path | None = None  # unpacked folders; None to download
    mirror: str | None = None  # address to take all archives from
    jobs: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """What decides on the result: kept beside it."""
        return self.recipe.model_dump(include={"name", "sample_rate", "valid_speakers"})


def prepare(job: Job, force: bool = False) -> None:
    """Make ``pairs/`` and ``test/`` in the folder of the job, each of them if it is not there (or if ``force``).

    EnhanceError if archives or files are not to be had or not as the recipe says, or if the folders hold
    something else or something prepared in another way.
    """
    for name in (TEST, PAIRS):
        check_place(job.data / name, MARKS, job.settings, force)
    job.data.mkdir(parents=True, exist_ok=True)
    for name, half, make in ((TEST, job.recipe.test, _make_test), (PAIRS, job.recipe.train, _make_pairs)):
        folder = job.data / name
        if force or not (folder / MARKS[name]).is_file():
            pairs = find_pairs(half, _provide(job, half))
            with appearing(folder) as partial:
                make(job, partial, pairs)
        note(f"{folder}: {_summary(folder)}")
    shutil.rmtree(job.data / UNPACKED, ignore_errors=True)


def _summary(folder: Path) -> str:
    if folder.name == TEST:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return f"{about['clips']} pairs, {about['seconds'] / 3600:.2f} h"
    store = pair_store.PairStore(folder)
    hours = {split: store.lengths(split).sum() / store.sample_rate / 3600 for split in pair_store.SPLITS}
    counts = [f"{split} {len(store.select(split))} pairs, {hours[split]:.2f} h" for split in pair_store.SPLITS]
    return f"{'; '.join(counts)}; fingerprint {store.fingerprint}"


# ---- where the files come from


def _provide(job: Job, half: Half) -> Path:
    """A folder below which the files of one half lie: the one that was given, else downloaded and unpacked."""
    if job.source is not None:
        return job.source
    for archive in job.recipe.archives:
        if not archive.optional and archive.stem not in (half.noisy, half.clean):
            continue
        try:
            archives.provide(archive, job.data, job.mirror)
        except EnhanceError as error:
            if not archive.optional:
                raise
            warn(f"{error}. Going on without it")
    return job.data / UNPACKED


def find_pairs(half: Half, root: Path) -> list[Found]:
    """The pairs of one half of the data below ``root``, sorted by name.

    EnhanceError for a folder that is missing or there twice, for files without partner, and if their number
    is not the expected one.
    """
    files = {name: _files(_folder(root, name)) for name in (half.noisy, half.clean)}
    noisy, clean = files.values()
    if alone := sorted(noisy.keys() ^ clean.keys()):
        path = noisy.get(alone[0]) or clean[alone[0]]
        raise EnhanceError(f"{path}: no partner of that name", f"{len(alone)} such files; unpack both archives again")
    if len(noisy) != half.count:
        what = f"{root}: {len(noisy):,} pairs in {half.noisy}, but {half.count:,} are expected"
        raise EnhanceError(what, "unpack the archives again, or correct `count` in data.toml")
    labels = _log(root, half.log)
    return [Found(name, noisy[name], clean[name], *labels.get(name, ())) for name in sorted(noisy)]


def _folder(root: Path, name: str) -> Path:
    """The folder of that name that holds audio; one that ends in ``_16k``, as some converted copies do, if none."""
    for wanted in (name, f"{name}_16k"):
        places = {path for path in (root, *root.rglob(wanted)) if path.name == wanted and path.is_dir()}
        found = sorted(path for path in places if places.isdisjoint(path.parents) and _sounds(path))
        if len(found) > 1:
            raise EnhanceError(f"{root}: two folders {wanted}, {found[0]} and {found[1]}", "give the one to be used")
        if found:
            return found[0]
    raise EnhanceError(f"{root}: no folder {name} with audio", "--from takes a folder with the unpacked archives")


def _sounds(folder: Path) -> list[Path]:
    """Copying from a Mac leaves hidden files ``._name.wav`` about."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS and not path.name.startswith("."))
    return sorted(path for path in paths if path.is_file())


def _files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _sounds(folder):
        if found.setdefault(path.stem, path) is not path:
            raise EnhanceError(f"{path}: {found[path.stem]} has the same name", "delete one of them")
    return found


def _log(root: Path, name: str | None) -> dict[str, tuple[str, str]]:
    """Noise and SNR by id, from lines of ``ID NOISE SNR``; empty, with a warning, where there is no such file."""
    path = next((path for path in sorted(root.rglob(name)) if path.is_file()), None) if name else None
    if path is None:
        if name:
            warn(f"{root}: no {name}, so noise and SNR of the pairs are not known")
        return {}
    lines = map(str.split, path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {line[0]: (line[1], f"{float(line[2]):g}") for line in lines if len(line) == 3 and _number(line[2])}


def _number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


# ---- what is made of them

Decoded = tuple[np.ndarray, np.ndarray]  # mixture and target, int16 (time,)


def decode(noisy: Path, clean: Path, sample_rate: int) -> Decoded:
    """Both files as mono int16 ``(time,)`` at ``sample_rate``; what is there already keeps its bits.

    Resampled by soxr, VHQ; what is over full scale then is clipped. EnhanceError, naming the file, for one that
    cannot be read, and for a pair of two lengths or rates.
    """
    (mixture, rate), (target, clean_rate) = audio.read(noisy), audio.read(clean)
    if rate != clean_rate:
        raise EnhanceError(f"{clean}: {clean_rate} Hz, but {noisy} has {rate} Hz", "unpack the archives again")
    if mixture.shape[1] != target.shape[1]:
        what = f"{clean}: {target.shape[1]} samples, but {noisy} has {mixture.shape[1]}"
        raise EnhanceError(what, "unpack the archives again")
    return _samples(mixture, rate, sample_rate), _samples(target, rate, sample_rate)


def _decode_pair(pair: Found, sample_rate: int) -> Decoded:
    return decode(pair.noisy, pair.clean, sample_rate)


def _samples(wave: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    mono = audio.resample(wave.mean(axis=0), rate, sample_rate)
    return np.rint(mono * 32768.0).clip(-32768, 32767).astype(np.int16)


def _make_pairs(job: Job, folder: Path, pairs: list[Found]) -> None:
    rate, held_out = job.recipe.sample_rate, job.recipe.valid_speakers
    if missing := set(held_out) - {pair.speaker for pair in pairs}:
        what = f"{job.data}: no pair of {', '.join(sorted(missing))}, held out for validation"
        raise EnhanceError(what, "correct `valid_speakers` in data.toml")

    def labels(pair: Found) -> pair_store.Labels:
        split = "valid" if pair.speaker in held_out else "train"
        return {"id": pair.id, "speaker": pair.speaker, "split": split, "noise": pair.noise, "snr": pair.snr}

    with _decoded(job, PAIRS, pairs) as decoded:
        pair_store.write(folder, ((labels(pair), *waves) for pair, waves in decoded), rate, job.settings)


def _make_test(job: Job, folder: Path, pairs: list[Found]) -> None:
    rate, seconds = job.recipe.sample_rate, 0.0
    with _decoded(job, TEST, pairs) as decoded:
        for pair, waves in decoded:
            for kind, wave in zip(("noisy", "clean"), waves, strict=True):
                audio.write(folder / kind / f"{pair.id}.flac", wave / np.float32(32768), rate, "PCM_16")
            seconds += len(waves[0]) / rate
    with (folder / TAGS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "speaker", "noise", "snr"))
        writer.writerows((pair.id, pair.speaker, pair.noise, pair.snr) for pair in pairs)
    about = {"settings": job.settings, "clips": len(pairs), "seconds": round(seconds, 3)}
    with replacing(folder / ABOUT) as temporary:
        temporary.write_text(json.dumps(about), encoding="utf-8")


@contextlib.contextmanager
def _decoded(job: Job, name: str, pairs: list[Found]) -> Iterator[Iterator[tuple[Found, Decoded]]]:
    """The pairs in their order with their samples, decoded in the processes of the job."""

    def counted(done: Callable[[], object]) -> Iterator[tuple[Found, Decoded]]:
        for pair, wave in zip(pairs, waves, strict=True):
            yield pair, wave
            done()

    with progress("{task.completed}/{task.total} pairs") as bar:
        task = bar.add_task(name, total=len(pairs))
        rate = job.recipe.sample_rate
        waves = in_order(partial(_decode_pair, sample_rate=rate), pairs, job.jobs)
        with contextlib.closing(waves):
            yield counted(lambda: bar.advance(task))
