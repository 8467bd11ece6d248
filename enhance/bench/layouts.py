"""Layouts of data sets: which files of a folder or a manifest belong together, and what is known of them.

Functions give the clips that can be used, and a line of warning for each file that cannot.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from enhance.audio import SOUNDS
from enhance.bench.records import Clip
from enhance.errors import EnhanceError

UNDERSTOOD = (
    "noisy/ with clean/, noisy_X/ with clean_X/, mix_both/ or mix_clean/ with s1/ and s2/, a folder a track with "
    "mixture.wav and a file a source, or a manifest (.csv, .jsonl) with the columns mixture and clean"
)
MANIFESTS = (".csv", ".jsonl")
ROLES = {"noisy": "mixture", "clean": "source:speech"}
SOURCE = "source:"
TAGS = ("noise", "snr", "speaker", "level")
NUMBERS = ("snr", "level")

Found = tuple[list[Clip], list[str]]
Row = tuple[int, dict[str, str]]  # line, column to value


def is_sound(path: Path) -> bool:
    """A file with an ending of audio that is not hidden: copying from a Mac leaves ``._name.wav`` about."""
    return path.suffix.lower() in SOUNDS and not path.name.startswith(".") and path.is_file()


# ---- tables


def _table(path: Path) -> tuple[list[str], list[Row]]:
    """Columns and rows of a CSV file or of JSON lines. EnhanceError, with the line, if it is neither."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel begins its files with a byte order mark
    except OSError as error:
        raise EnhanceError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from None
    except UnicodeDecodeError:
        raise EnhanceError(f"{path}: not a text in UTF-8", "save it as CSV in UTF-8") from None
    if path.suffix.lower() == ".jsonl":
        lines = enumerate(text.split("\n"), start=1)
        rows = [(number, _object(path, number, line)) for number, line in lines if line.strip()]
        return list(dict.fromkeys(column for _, row in rows for column in row)), rows
    reader = csv.DictReader(io.StringIO(text), restval="", skipinitialspace=True)
    rows = []
    try:
        for row in reader:
            if None in row:
                raise EnhanceError(f"{path}, line {reader.line_num}: more fields than columns", "quote the commas")
            rows.append((reader.line_num, {column: value.strip() for column, value in row.items()}))
    except csv.Error as error:
        raise EnhanceError(f"{path}, line {reader.line_num}: {error}", "save it as CSV in UTF-8") from None
    return list(reader.fieldnames or ()), rows


def _object(path: Path, number: int, line: str) -> dict[str, str]:
    try:
        return {key: "" if value is None else str(value) for key, value in json.loads(line).items()}
    except (ValueError, AttributeError):
        raise EnhanceError(f"{path}, line {number}: not a JSON object", "give one object a line") from None


def _tag(column: str, value: str) -> tuple[str, str]:
    """Name and value of a tag as they are shown: ``nominal_snr_db`` 2.50 is ``snr`` 2.5."""
    short = re.sub(r"^nominal_|_(type|db|id)$", "", column.lower())
    name = short if short in TAGS else column
    if name in NUMBERS:
        with contextlib.suppress(ValueError):
            value = f"{float(value) + 0:g}"  # + 0 for -0
    return name, value


def _tags(row: dict[str, str], columns: Iterable[str]) -> dict[str, str]:
    return dict(_tag(column, row[column]) for column in columns if row.get(column))


# ---- manifests


def is_manifest(path: Path) -> bool:
    """Does this CSV file list mixtures? The manifests of training data have the same name."""
    return path.is_file() and not {"mixture", "noisy"}.isdisjoint(_table(path)[0])


def read_manifest(path: Path) -> Found:
    """Clips of a table with ``mixture`` (or ``noisy``), and ``clean`` or ``source:NAME`` columns.

    Paths are relative to the table. ``id`` is the stem of the mixture by default; other columns become tags.
    EnhanceError, naming the line, for columns that are missing or doubled, and for an id that comes twice.
    """
    columns, rows = _table(path)
    roles = [ROLES.get(column, column) for column in columns]
    if doubled := [role for role, count in Counter(roles).items() if role and count > 1]:
        raise EnhanceError(f"{path}, line 1: two columns for {doubled[0]}", "leave one of them out")
    column_of = dict(zip(roles, columns, strict=True))
    sources = {role.removeprefix(SOURCE): column for role, column in column_of.items() if role.startswith(SOURCE)}
    if "mixture" not in column_of or not sources:
        lacking = "clean (or source:NAME for each source)" if "mixture" in column_of else "mixture (or noisy)"
        raise EnhanceError(f"{path}, line 1: no column {lacking}", f"its columns are {', '.join(columns) or 'none'}")
    used = {"id", column_of["mixture"], *sources.values()}
    others = [column for column in columns if column and column not in used]
    clips: dict[str, Clip] = {}
    lines: dict[str, int] = {}
    warnings = []
    for number, row in rows:
        named = {column: row.get(column, "") for column in (column_of["mixture"], *sources.values())}
        if problem := _problem(path.parent, named):
            warnings.append(f"{path}, line {number}: {problem}; left out")
            continue
        mixture = path.parent / row[column_of["mixture"]]
        name = row.get("id") or mixture.stem
        if name in clips:
            what = f"{path}, line {number}: id {name!r} is that of line {lines[name]} too"
            raise EnhanceError(what, "give each clip its own, in a column id")
        references = {source: path.parent / row[column] for source, column in sources.items()}
        clips[name] = Clip(name, mixture, references, _tags(row, others))
        lines[name] = number
    return list(clips.values()), warnings


def _problem(folder: Path, named: dict[str, str]) -> str | None:
    for column, file in named.items():
        if not file:
            return f"no {column} named"
        if not (folder / file).is_file():
            return f"{folder / file}: no such file"
    return None


# ---- a folder of mixtures and one for each source


class Folders(NamedTuple):
    """Where mixtures lie, and where each source does; no sources where there are no references."""

    mixtures: Path
    sources: dict[str, Path]


def find_folders(data: Path) -> Folders | None:
    """The folders to pair in ``data``, which may also be the folder of mixtures itself; None if there are none.

    Of several sets that lie side by side the test set is taken; EnhanceError if that does not decide.
    """
    found = _folders(data) or [entry for entry in _folders(data.parent) if entry.mixtures.name == data.name]
    if len(found) < 2:
        return found[0] if found else None
    tests = [entry for entry in found if "test" in entry.mixtures.name]
    if len(tests) == 1:
        return tests[0]
    names = ", ".join(entry.mixtures.name for entry in found)
    raise EnhanceError(f"{data}: several sets, {names}", f"name one, for instance {(tests or found)[0].mixtures}")


def _folders(folder: Path) -> list[Folders]:
    noisy, clean = folder / "noisy", folder / "clean"
    if noisy.is_dir():
        return [Folders(noisy, {"speech": clean} if clean.is_dir() else {})]
    partners = {path: path.with_name(path.name.replace("noisy", "clean", 1)) for path in sorted(folder.glob("noisy_*"))}
    voice_bank = [Folders(a, {"speech": b}) for a, b in partners.items() if a.is_dir() and b.is_dir()]
    talkers = {path.name: path for path in sorted(folder.glob("s[1-9]")) if path.is_dir()}
    mixes = [folder / name for name in ("mix_both", "mix_clean") if talkers and (folder / name).is_dir()]
    return voice_bank or [Folders(mix, talkers) for mix in mixes]  # the latter as in LibriMix


def pair_files(folders: Folders) -> Found:
    """Files of the same name below the folders; by number where they are called as in the DNS Challenge."""
    files = {folder: _sounds(folder) for folder in (folders.mixtures, *folders.sources.values())}
    references = [path for folder in folders.sources.values() for path in files[folder]]
    by_number = any(re.fullmatch(r"clean_fileid_\d+", path.stem) for path in references)
    named = {folder: _by_name(folder, paths, by_number) for folder, paths in files.items()}
    clips, warnings = [], []
    for name in sorted(set().union(*named.values())):
        candidates = {folder: found.get(name, []) for folder, found in named.items()}
        present = next(paths[0] for paths in candidates.values() if paths)
        if several := next((paths for paths in candidates.values() if len(paths) > 1), None):
            warnings.append(f"{several[1]}: is {name} as {several[0].name} is; left out, delete one of them")
        elif missing := next((folder for folder, paths in candidates.items() if not paths), None):
            warnings.append(f"{present}: no partner in {missing}; left out")
        else:
            partners = {source: candidates[folder][0] for source, folder in folders.sources.items()}
            clips.append(Clip(name, present, partners, _tags_of_name(name, present.stem)))
    return with_tags(clips, _logged(folders.mixtures)), warnings


def _sounds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if is_sound(path))


def _by_name(folder: Path, paths: list[Path], by_number: bool) -> dict[str, list[Path]]:
    found = defaultdict(list)
    for path in paths:
        name = path.relative_to(folder).with_suffix("")
        if by_number and (number := re.search(r"(?:^|_)(fileid_\d+)$", name.name)):
            name = name.with_name(number[1])
        found[name.as_posix()].append(path)
    return found


def _tags_of_name(name: str, stem: str) -> dict[str, str]:
    tags = {}
    if speaker := re.search(r"(?:^|/)(p\d+)_\d+$", name):  # p232_001 of Voice Bank
        tags["speaker"] = speaker[1]
    if "_fileid_" in stem:  # ..._snr15_tl-21_fileid_158 of the DNS Challenge
        for tag, mark in (("snr", "snr"), ("level", "tl")):
            if value := re.search(rf"_{mark}(-?\d+(?:\.\d+)?)(?=_)", stem):
                tags |= [_tag(tag, value[1])]
    return tags


# ---- folders of tracks


def read_tracks(data: Path) -> Found | None:
    """A clip for each subfolder of ``data``, or of its ``test/``, with a mixture and a file for each source.

    What differs in its sources from most tracks is left out. None if no subfolder has a mixture.
    """
    for root in (data, data / "test"):
        folders = sorted(path for path in root.glob("*") if path.is_dir() and not path.name.startswith("."))
        tracks = {folder: [path for path in sorted(folder.iterdir()) if is_sound(path)] for folder in folders}
        if any(path.stem == "mixture" for paths in tracks.values() for path in paths):
            return _same_sources({folder: paths for folder, paths in tracks.items() if paths})
    return None


def _same_sources(tracks: dict[Path, list[Path]]) -> Found:
    stems = {folder: sorted(path.stem for path in paths) for folder, paths in tracks.items()}
    complete = [tuple(names) for names in stems.values() if "mixture" in names and len(set(names)) == len(names) > 1]
    if not complete:
        return [], [f"{folder}: no mixture with a file for each source; left out" for folder in tracks]
    usual = Counter(complete).most_common(1)[0][0]
    clips, warnings = [], []
    for folder, paths in tracks.items():
        if tuple(stems[folder]) == usual:
            files = {path.stem: path for path in paths}
            mixture = files.pop("mixture")
            clips.append(Clip(folder.name, mixture, files))
        else:
            has, wanted = ", ".join(stems[folder]), ", ".join(usual)
            warnings.append(f"{folder}: holds {has} where most tracks hold {wanted}; left out")
    return clips, warnings


# ---- tags from beside the clips


def with_tags(clips: list[Clip], found: dict[str, dict[str, str]]) -> list[Clip]:
    """The clips with more tags, which are given by id."""
    return [replace(clip, tags=clip.tags | found.get(clip.id, {})) for clip in clips]


def _logged(mixtures: Path) -> dict[str, dict[str, str]]:
    """Tags from the log of Voice Bank+DEMAND that belongs to a folder of mixtures: lines of id, noise and SNR."""
    found = {}
    for place in (mixtures.parent, mixtures.parent / "logfiles"):
        for path in sorted(place.glob("log_*.txt")):
            if mixtures.name.startswith(f"noisy_{path.stem.removeprefix('log_')}"):
                lines = map(str.split, path.read_text(encoding="utf-8", errors="replace").splitlines())
                found |= {
                    line[0]: {"noise": line[1]} | dict([_tag("snr", line[2])]) for line in lines if len(line) == 3
                }
    return found


def listed_tags(folder: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Tags by id from the CSV files in a folder that begin with the column ``id`` and know a noise, SNR or speaker.

    Tables of scores may have a column ``snr`` too: one with any other metric is none of tags.
    """
    from enhance.metrics import METRICS

    found: dict[str, dict[str, str]] = defaultdict(dict)
    warnings = []
    for path in sorted(folder.glob("*.csv")):
        try:
            columns, rows = _table(path)
        except EnhanceError as error:
            warnings.append(f"{error}; its tags are not used")
            continue
        known = {_tag(column, "")[0] for column in columns}
        if columns[:1] != ["id"] or known.isdisjoint(TAGS) or not (METRICS.keys() - TAGS).isdisjoint(columns):
            continue
        for _, row in rows:
            name = Path(row["id"])
            key = name.with_suffix("") if name.suffix.lower() in SOUNDS else name
            found[key.as_posix()] |= _tags(row, columns[1:])
    return found, warnings
