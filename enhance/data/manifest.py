"""Lists of audio clips: read from a ``manifest.csv``, or made from plain folders."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from enhance.audio import SOUNDS
from enhance.console import warn
from enhance.errors import EnhanceError

KINDS = ("speech", "noise", "music", "rir")
SPLITS = ("train", "valid", "test")
COLUMNS = ("path", "kind", "source", "speaker", "language", "licence", "split")  # of a manifest
SPEAKER = "^([^/]+)/"  # in the path of a file of speech: one folder a speaker, whatever folders are in it


@dataclass(frozen=True)
class Clip:
    """One file of a data set. ``item`` is the speaker, original recording, track or room: the unit of splits."""

    path: Path
    kind: str
    source: str
    item: str
    language: str
    licence: str
    split: str

    @property
    def labels(self) -> dict[str, str]:
        """What is kept of it beside its samples."""
        return {name: value for name, value in vars(self).items() if name != "path"}


def read_manifest(folder: Path) -> list[Clip]:
    """The clips of ``folder/manifest.csv``: columns path, kind, source, speaker, language, licence, split."""
    path, clips = folder / "manifest.csv", []
    if not path.is_file():
        raise EnhanceError(f"{path}: no such file", "--data takes a folder with a manifest.csv")
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel begins with a mark, which would be in a name
    except UnicodeDecodeError as error:
        raise EnhanceError(f"{path}: not UTF-8 ({error.reason})", "save it as CSV in UTF-8") from None
    except OSError as error:
        raise EnhanceError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from None
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
        raise EnhanceError(f"{path}: no column {missing[0]!r}", "see recipes/open-speech/README.md")
    for row in _rows(rows, path):
        line, values = f"{path}, line {rows.line_num}", [row[name] for name in COLUMNS]
        if None in values:
            raise EnhanceError(f"{line}: fewer values than columns", "correct that line")
        clip = Clip(folder / values[0], *values[1:])
        if clip.kind not in KINDS or clip.split not in SPLITS:
            raise EnhanceError(
                f"{line}: kind {clip.kind!r}, split {clip.split!r}",
                f"kinds are {', '.join(KINDS)}, splits {', '.join(SPLITS)}",
            )
        clips.append(clip)
    return clips


def _rows(rows: csv.DictReader[str], path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise EnhanceError(f"{path}, line {rows.line_num + 1}: not CSV ({error})", "look for an open quote") from None


def scan_folder(
    folder: Path, kind: str, valid_share: float = 0.1, item: str | None = None, without: str | None = None
) -> list[Clip]:
    """All audio below ``folder`` as clips of one kind, split by item.

    The item is what the first group of the expression ``item`` that took part finds in a file's path below ``folder``;
    else the folder that the file lies in; files that lie in ``folder`` itself are items of their own. Paths in which
    the expression ``without`` finds something are left out. A hash of the item's name decides on its split, so that
    adding files never moves others; where that leaves no item for validation, the last of several items serves.
    """
    paths = sorted(
        path
        for path in _files(folder)
        if path.suffix.lower() in SOUNDS and path.is_file() and not path.name.startswith("._")  # a Mac leaves such
    )
    names_of = {path: path.relative_to(folder).as_posix() for path in paths}
    paths = [path for path in paths if without is None or not re.search(without, names_of[path])]
    if not paths:
        raise EnhanceError(f"{folder}: no audio found", f"looked for {', '.join(sorted(SOUNDS))}")

    def item_of(path: Path) -> str:
        found = re.search(item, names_of[path]) if item else None
        if found and found.lastindex:
            return found[found.lastindex]
        return str(path.relative_to(folder).parent) if path.parent != folder else path.stem

    items = {path: item_of(path) for path in paths}
    names = sorted(set(items.values()))
    valid = {name for name in names if unit_hash(name) < valid_share}
    if not valid and len(names) > 1:
        valid = {min(names, key=unit_hash)}
    return [
        Clip(path, kind, folder.name, item, "", "", "valid" if item in valid else "train")
        for path, item in items.items()
    ]


def _files(folder: Path) -> Iterator[Path]:
    """All files below ``folder``. Links to folders are followed, each folder once; what is left out is said.

    EnhanceError if ``folder`` itself cannot be listed.
    """
    roots = [folder.resolve()]  # and what links lead to

    def leads_elsewhere(link: Path) -> bool:
        target = link.resolve()
        if any(target.is_relative_to(root) or root.is_relative_to(target) for root in roots):
            warn(f"{link}: not followed, since it leads to a folder that is read already, or to one around it")
            return False
        roots.append(target)
        return True

    def locked(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise EnhanceError(
                f"{folder}: cannot be listed ({error.strerror})", "give a folder with recordings"
            ) from None
        warn(f"{error.filename}: left out, since it cannot be listed ({error.strerror})")

    for parent, folders, names in os.walk(folder, onerror=locked, followlinks=True):
        here = Path(parent)
        folders[:] = [
            name for name in sorted(folders) if not (here / name).is_symlink() or leads_elsewhere(here / name)
        ]
        yield from (here / name for name in names)


def scan_folders(folders: Sequence[Path], kind: str) -> list[list[Clip]]:
    """:func:`scan_folder` of each; those of the same name are told apart by a number.

    Of speech the item is the first folder below the given one, for it is a speaker's, with all folders in it.
    """
    found, seen = [], Counter[str]()
    for folder in folders:
        clips = scan_folder(folder, kind, item=SPEAKER if kind == "speech" else None)
        name = folder.name
        seen[name] += 1
        found.append([replace(clip, source=f"{name}-{seen[name]}") for clip in clips] if seen[name] > 1 else clips)
    return found


def settle_splits(clips: list[Clip]) -> tuple[list[Clip], list[str]]:
    """The clips with each speaker, recording, track and room in one split, and the names of those moved.

    An item that a manifest puts in several splits goes to the one that is held back most: test, valid, train.
    """
    splits: dict[tuple[str, str, str], set[str]] = {}
    for clip in clips:
        splits.setdefault((clip.kind, clip.source, clip.item), set()).add(clip.split)
    settled = {key: max(found, key=SPLITS.index) for key, found in splits.items()}
    moved = [f"{kind} {source}/{item}" for (kind, source, item), found in splits.items() if len(found) > 1]
    return [replace(clip, split=settled[clip.kind, clip.source, clip.item]) for clip in clips], moved


def without_repeats(lists: Iterable[list[Clip]]) -> Iterator[Clip]:
    """All clips, each item from the first list that has it: packages may repeat what is there already."""
    owner: dict[tuple[str, str, str], int] = {}
    for number, clips in enumerate(lists):
        for clip in clips:
            if owner.setdefault((clip.kind, clip.source, clip.item), number) == number:
                yield clip


def unit_hash(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48
