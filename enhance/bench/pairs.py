"""Pairs: the clips of a data set, a pick and a fingerprint of them, and what to compare with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from enhance.audio import SOUNDS, Info, blocks, info, opened
from enhance.bench import layouts
from enhance.bench.records import Clip
from enhance.errors import EnhanceError

ENDINGS = tuple(ending for lower in sorted(SOUNDS) for ending in (lower, lower.upper()))


def find_clips(data: Path) -> tuple[list[Clip], list[str]]:
    """The clips of a folder or manifest, sorted by id, and a line of warning for each file that cannot be used.

    ``enhance.bench.layouts`` says what is understood, with tags from a CSV file beside the clips. EnhanceError if
    there is no such path, no layout fits, or nothing can be used.
    """
    if not data.exists():
        raise EnhanceError(f"{data}: no such file or folder", "check the name")
    try:
        clips, warnings = _find(data)
    except OSError as error:
        raise EnhanceError(f"{data}: cannot be read ({error})", "check its permissions") from None
    if not clips:
        raise EnhanceError(f"{data}: no clip that can be scored", warnings[0] if warnings else "it lists no audio")
    return sorted(clips, key=lambda clip: clip.id), warnings


def _find(data: Path) -> layouts.Found:
    if data.is_file() and data.suffix.lower() in layouts.MANIFESTS:
        return layouts.read_manifest(data)
    if layouts.is_manifest(data / "manifest.csv"):
        return layouts.read_manifest(data / "manifest.csv")
    if data.is_dir() and (folders := layouts.find_folders(data)):
        clips, warnings = layouts.pair_files(folders)
        place = folders.mixtures.parent
    elif found := layouts.read_tracks(data):
        clips, warnings = found
        place = data
    else:
        raise EnhanceError(f"{data}: not a data set", f"give {layouts.UNDERSTOOD}")
    tags, more = layouts.listed_tags(place)
    return layouts.with_tags(clips, tags), warnings + more


def pick(clips: Iterable[Clip], limit: int, seed: int = 0) -> list[Clip]:
    """``limit`` of the clips (all, if there are fewer) at random, by id; a larger limit adds to a smaller one.

    A hash of seed and id decides: the order of the clips plays no part. EnhanceError for a limit below 1.
    """
    if limit < 1:
        raise EnhanceError(f"--limit {limit}: leaves nothing to score", "give 1 or more")
    drawn = sorted(clips, key=lambda clip: hashlib.sha256(f"{seed} {clip.id}".encode()).digest())[:limit]
    return sorted(drawn, key=lambda clip: clip.id)


def fingerprint(clips: Iterable[Clip]) -> str:
    """16 hex digits that change with any id, source or byte of the files, and not with where they lie.

    What cannot be read counts as such.
    """
    digest = hashlib.sha256()
    for clip in sorted(clips, key=lambda clip: clip.id):
        files = {"mixture": clip.mixture} | {f"source:{name}": path for name, path in sorted(clip.references.items())}
        digest.update(json.dumps([clip.id, {role: _contents(path) for role, path in files.items()}]).encode())
    return digest.hexdigest()[:16]


def _contents(path: Path) -> tuple[int, str]:
    try:
        with path.open("rb") as file:
            contents = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell(), contents
    except OSError as error:  # scoring the clip will say so
        return -1, str(error.strerror)


def check_clip(clip: Clip) -> None:
    """EnhanceError, with the file, where mixture and references do not fit: rate, channels, length, no samples.

    Reads headers only, except of formats whose headers do not know the exact length.
    """
    mixture = info(clip.mixture)
    length = _length(mixture)
    for path in clip.references.values():
        reference = info(path)
        if reference.sample_rate != mixture.sample_rate:
            what = f"{path}: {reference.sample_rate} Hz, but {clip.mixture} has {mixture.sample_rate} Hz"
            raise EnhanceError(what, "resample one of them")
        if reference.channels != mixture.channels:
            what = f"{path}: {_channels(reference.channels)}, but {clip.mixture} is {_channels(mixture.channels)}"
            raise EnhanceError(what, "give as many channels in both")
        if more := _length(reference) - length:
            how = "longer" if more > 0 else "shorter"
            what = f"{path}: {abs(more)} samples {how} than {clip.mixture}"
            raise EnhanceError(what, "cut both to what they have in common")


def _channels(count: int) -> str:
    return {1: "mono", 2: "stereo"}.get(count, f"of {count} channels")


def _length(about: Info) -> int:
    """Samples in a channel. ffmpeg's durations are rounded, those of MP3 may be estimates: these are counted."""
    if about.container and not about.subtype.startswith("MPEG"):
        if about.frames == 0:
            raise EnhanceError(f"{about.path}: holds no samples", "give a recording")
        return about.frames
    with opened(about.path) as reader:
        return sum(block.shape[1] for block in blocks(reader, 1 << 20))


def estimate_path(folder: Path, clip: Clip, source: str, sources: int) -> Path:
    """Where another tool's estimate of a source lies, with any ending of audio.

    ``folder/ID/SOURCE``, as ``enhance separate`` writes them; of one source also ``folder/ID`` or, where ids are
    no paths, a file named as the mixture. EnhanceError, with the clip, if there is none, or more than one.
    """
    stems = [folder / clip.id / source]
    if sources == 1:
        if "/" not in clip.id and clip.mixture.stem != "mixture":  # else other clips may have mixtures of that name
            stems.insert(0, folder / clip.mixture.stem)
        stems.insert(0, folder / clip.id)
    for stem in stems:
        if found := _with_any_ending(stem, (clip.mixture.suffix, *ENDINGS)):
            if len(found) > 1:
                names = " and ".join(path.name for path in found)
                raise EnhanceError(f"{folder}: several estimates of clip {clip.id}, {names}", "delete all but one")
            return found[0]
    what = f"clip {clip.id}" if sources == 1 else f"{source} of clip {clip.id}"
    raise EnhanceError(f"{folder}: no estimate of {what}", f"it should be {stems[0]}.wav")


def _with_any_ending(stem: Path, endings: Sequence[str]) -> list[Path]:
    """Existing files, asked for one by one: to list a folder of a million files for each clip would take days."""
    paths = [stem.with_name(stem.name + ending) for ending in endings]
    files = {path.stat().st_ino: path for path in paths if path.is_file()}  # .wav may be .WAV: macOS, Windows
    return list(files.values())
