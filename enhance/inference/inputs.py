"""Which files the arguments of a command mean: names, folders, patterns, URLs of such. Imports nothing heavy."""

from __future__ import annotations

import fnmatch
import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from enhance.audio import SOUNDS, VIDEOS
from enhance.errors import EnhanceError
from enhance.inference.remote import asking, is_remote, is_url, local_name, matches, place

MIXTURE = "mixture"  # a file of that name, with any ending, is the song or scene that its folder is called after
Found = Iterator[tuple[Path, Path]]  # an input file, and its name below the output folder


def listed(name: str, output: str | None, mixtures: bool = False) -> Found:
    """The input files of an argument; EnhanceError if there are none. See :func:`_sound_files` for ``mixtures``."""
    if is_url(name) and not name.endswith("://"):
        name = name.rstrip("/")  # which https:// would keep, unlike the names of what is in it
    path = place(name)
    excluded = place(output).resolve() if output else None
    with asking(path):
        if not path.is_dir():
            return ((file, Path(local_name(file))) for file in find(name, excluded))
    files = _sound_files(path, excluded, mixtures)
    if (first := next(files, None)) is None:
        raise EnhanceError(f"{name}: no audio files in this folder", "give a folder with recordings")
    return ((file, Path(str(file.relative_to(path)))) for file in itertools.chain([first], files))


def find(name: str, excluded: Path | None) -> list[Path]:
    """The files that a name or a pattern means, sorted; EnhanceError if there are none.

    Those of a pattern are not below ``excluded``, unless all that it can match are.
    """
    if place(name).exists():
        return [place(name)]
    if not glob.has_magic(name):
        raise EnhanceError(f"{name}: no such file", "check the name")
    if is_url(name):
        found = matches(name)
    else:
        found = sorted(Path(match) for match in glob.glob(name, recursive=True))  # noqa: PTH207 (absolute too)
    files = [match for match in found if match.is_file()]
    if excluded is not None and inside(excluded, fixed_part(name).resolve()):
        files = [file for file in files if not below(file.resolve(), excluded)]
    if not files:
        raise EnhanceError(f"{name}: no file matches", "check the pattern")
    return files


def fixed_part(pattern: str) -> Path:
    """The folder that all matches of a pattern are below."""
    parents = place(pattern).parents
    return next((parent for parent in parents if not glob.has_magic(str(parent))), parents[-1])


def fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Does ``glob`` find a path of these parts by a pattern of those, both below the same folder?"""
    if not parts or not pattern:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**" and fits(parts, pattern[1:]):
        return True
    seen = pattern[0].startswith(".") or not parts[0].startswith(".")
    rest = pattern if pattern[0] == "**" else pattern[1:]
    return seen and fnmatch.fnmatchcase(parts[0], pattern[0]) and fits(parts[1:], rest)


def each_once(found: Iterable[tuple[Path, Path]]) -> Found:
    seen: set[str] = set()
    for source, name in found:
        if str(source) not in seen:
            seen.add(str(source))
            yield source, name


def _sound_files(folder: Path, excluded: Path | None, mixtures: bool) -> Iterator[Path]:
    """Sound and video files below ``folder`` by their endings; not hidden, not below ``excluded``.

    In the order of their names, those of a folder before those of the folders in it. A folder that cannot be listed
    stands for what is in it, so that its reader says why. Links to folders are followed, each folder once. With
    ``mixtures`` a file of that name is the only one of its folder: beside it are the sources that it was mixed of.
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
            sounds = [
                name
                for name in sorted(names)
                if not name.startswith(".") and Path(name).suffix.lower() in SOUNDS | VIDEOS
            ]
            wholes = [name for name in sounds if Path(name).stem == MIXTURE] if mixtures else []
            for name in wholes or sounds:
                yield here / name
        yield from locked


def inside(path: Path, folder: Path) -> bool:
    return path != folder and below(path, folder)


def below(path: Path, folder: Path) -> bool:
    return is_remote(path) == is_remote(folder) and path.is_relative_to(folder)
