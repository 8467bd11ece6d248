"""Recordings in tar files, in WebDataset's format: read from end to end, from a disk or from any URL that fsspec opens.

A shard holds recordings of one kind and split, ``KEY.flac`` (mono, 16 bit) and ``KEY.json`` (its labels) each, in a
random order that scatters every speaker over all shards. ``index.json`` beside them says which shards there are, with
checksums and the lengths of all recordings: what a run hears, and when, follows from it without reading any audio.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from enhance.data.manifest import Clip
from enhance.data.pool import in_order
from enhance.data.samples import AGAIN
from enhance.data.store import INDEX, Done, Entry, Recordings, attempt, check_place, decode, left_out, simulated, strict
from enhance.errors import EnhanceError
from enhance.files import appearing

SHARD_SECONDS = 1800.0  # of audio: some 30 MB
PAUSES = (1.0, 5.0, 25.0)  # seconds before another try to read


@dataclass(frozen=True)
class Shard:
    """A tar file, and how many samples each of its recordings has."""

    name: str
    kind: str
    split: str
    sha256: str
    frames: tuple[int, ...]


def build(
    folder: Path,
    clips: Iterable[Clip],
    responses: Iterable[tuple[str, np.ndarray]],
    sample_rate: int,
    jobs: int,
    done: Done = strict,
    shard_seconds: float = SHARD_SECONDS,
) -> ShardSet:
    """As :func:`enhance.data.store.build`, but into shards."""
    check_place(folder)
    with appearing(folder) as partial_folder:
        recordings = _recordings(list(clips), responses, sample_rate, jobs)
        with contextlib.closing(recordings):
            _write(partial_folder, recordings, sample_rate, shard_seconds, done)
    return ShardSet(folder)


class Encoded(NamedTuple):
    """A FLAC file, how many samples it has, and whether all of them are zero."""

    flac: bytes
    frames: int
    silent: bool


def _recordings(
    clips: list[Clip], responses: Iterable[tuple[str, np.ndarray]], sample_rate: int, jobs: int
) -> Generator[tuple[Clip, Encoded | EnhanceError], None, None]:
    """All that is to be written, the clips in a random order."""
    clips = [clips[number] for number in np.random.default_rng(0).permutation(len(clips))]
    read_file = partial(attempt, partial(_encode_file, sample_rate=sample_rate))
    encoded = in_order(read_file, [clip.path for clip in clips], jobs)
    with contextlib.closing(encoded):
        yield from zip(clips, encoded, strict=True)
    for clip, samples in simulated(responses):
        yield clip, _encode(samples, sample_rate)


def _encode_file(path: Path, sample_rate: int) -> Encoded:
    return _encode(decode(path, sample_rate), sample_rate)


def _encode(samples: np.ndarray, sample_rate: int) -> Encoded:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format="FLAC", subtype="PCM_16")
    return Encoded(file.getvalue(), len(samples), not samples.any())


class _Writer:
    """The shard of one kind and split that is being filled, and those that are full."""

    def __init__(self, folder: Path, kind: str, split: str, most_frames: float) -> None:
        self.folder, self.kind, self.split, self.most_frames = folder, kind, split, most_frames
        self.shards: list[Shard] = []
        self.frames: list[int] = []

    def add(self, clip: Clip, encoded: Encoded) -> None:
        if not self.frames:
            self.path = self.folder / f"{self.kind}-{self.split}-{len(self.shards):06d}.tar"
            self.tar = tarfile.open(self.path, "w")  # noqa: SIM115
        key = f"{self.path.stem}-{len(self.frames):06d}"
        for ending, data in (("flac", encoded.flac), ("json", json.dumps(clip.labels).encode())):
            member = tarfile.TarInfo(f"{key}.{ending}")  # of no time and no owner: the same bytes each time
            member.size = len(data)
            self.tar.addfile(member, io.BytesIO(data))
        self.frames.append(encoded.frames)
        if sum(self.frames) >= self.most_frames:
            self.close()

    def close(self) -> None:
        if not self.frames:
            return
        self.tar.close()
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.shards.append(Shard(self.path.name, self.kind, self.split, digest, tuple(self.frames)))
        self.frames = []


def _write(
    folder: Path,
    recordings: Iterable[tuple[Clip, Encoded | EnhanceError]],
    sample_rate: int,
    shard_seconds: float,
    done: Done,
) -> None:
    """Shards and index into an empty folder."""
    writers: dict[tuple[str, str], _Writer] = {}
    for clip, encoded in recordings:
        if isinstance(encoded, EnhanceError):
            done(clip, encoded)
            continue
        place = (clip.kind, clip.split)
        if place not in writers:
            writers[place] = _Writer(folder, *place, shard_seconds * sample_rate)
        if not left_out(clip, encoded.silent):
            writers[place].add(clip, encoded)
        done(clip, None)
    for writer in writers.values():
        writer.close()
    shards = [shard for place in sorted(writers) for shard in writers[place].shards]
    digest = hashlib.sha256("".join(shard.sha256 for shard in shards).encode())
    index = {
        "sample_rate": sample_rate,
        "fingerprint": digest.hexdigest()[:16],
        "shards": [vars(shard) for shard in shards],
    }
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


class ShardSet:
    """A prepared data set in shards below ``folder``, a folder or a URL; EnhanceError if there is none."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = str(folder).rstrip("/")
        try:
            index = json.loads(_read(f"{self.folder}/{INDEX}"))
            self.shards = [Shard(**{**shard, "frames": tuple(shard["frames"])}) for shard in index["shards"]]
            self.sample_rate: int = index["sample_rate"]
            self.fingerprint: str = index["fingerprint"]
        except FileNotFoundError:
            raise EnhanceError(f"{folder}: no prepared data set", "run `enhance prepare --shards` first") from None
        except KeyError:
            raise EnhanceError(f"{folder}: prepared, but not as shards", "set data.kind to mixtures or pairs") from None
        except (ValueError, TypeError):
            raise EnhanceError(f"{self.folder}/{INDEX}: damaged", AGAIN) from None

    def select(self, kind: str, split: str) -> list[Shard]:
        """The shards of one kind and split, in the order of the index."""
        return [shard for shard in self.shards if shard.kind == kind and shard.split == split]

    def seconds(self, kind: str, split: str) -> float:
        """Of audio of one kind and split."""
        return sum(sum(shard.frames) for shard in self.select(kind, split)) / self.sample_rate

    def read(self, shards: Sequence[Shard]) -> Recordings:
        """All recordings of some shards, in memory. EnhanceError for one that cannot be read or was changed."""
        import soundfile

        entries: list[Entry] = []
        pieces: list[np.ndarray] = []
        start = 0
        for shard in shards:
            for labels, flac in self._members(shard):
                samples = soundfile.read(io.BytesIO(flac), dtype="int16")[0]
                entries.append(Entry(**labels, start=start, frames=len(samples)))
                pieces.append(samples)
                start += len(samples)
        return Recordings(self.folder, self.sample_rate, entries, np.concatenate(pieces))

    def _members(self, shard: Shard) -> Iterator[tuple[dict[str, str], bytes]]:
        """Labels and FLAC file of each recording of a shard."""
        data = _read(f"{self.folder}/{shard.name}", shard.sha256)
        files: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                ending = member.name.rpartition(".")[2]
                files[ending] = file.read()
                if ending == "json":
                    yield json.loads(files["json"]), files["flac"]

    def held_out(self) -> Recordings:
        """What validation draws from: the first shard of each kind of the split ``valid``."""
        kinds = sorted({shard.kind for shard in self.shards})
        return self.read([shard for kind in kinds for shard in self.select(kind, "valid")[:1]])


def _read(url: str, sha256: str | None = None) -> bytes:
    """A whole file, at the fourth try at the latest; FileNotFoundError where nothing says that there is one."""
    import fsspec

    for pause in (*PAUSES, None):
        try:
            with fsspec.open(url, "rb") as file:
                data: bytes = file.read()  # pyright: ignore[reportAttributeAccessIssue]
            if sha256 is None or hashlib.sha256(data).hexdigest() == sha256:
                return data
            reason = "not the file that was prepared"
        except FileNotFoundError:
            if sha256 is None:
                raise
            reason = "no such file"
        except Exception as error:  # each of fsspec's file systems has its own
            reason = str(error) or type(error).__name__
        if pause is None or "://" not in url:  # a local file will not be another one in a moment
            break
        time.sleep(pause)
    raise EnhanceError(f"{url}: cannot be read ({reason})", "copy the shards again, or prepare them again")
