"""What a separator hears in each stem, in a table, and which labels that contradicts.

After the self-refining of Koo et al. 2023 (arXiv 2307.12576), with a separator in the place of its instrument tagger.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from enhance.errors import EnhanceError
from enhance.files import replacing

Stem = tuple[str, str]  # id of a recording, source as it is labelled
Activity = Mapping[str, float]  # of each source, from 0 to 1, their sum 1

COLUMNS = ("recording", "label")


def write(path: Path, sources: Sequence[str], heard: Iterable[tuple[Stem, Activity]]) -> None:
    """A line a stem: recording, label, and the activity of each source."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, *sources))
        for stem, activity in heard:
            writer.writerow((*stem, *(f"{activity[source]:.4f}" for source in sources)))


def read(path: Path) -> dict[Stem, dict[str, float]]:
    """The activities of such a table. EnhanceError if there is none, or if it is not one."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        stems = [((row.pop("recording"), row.pop("label")), row) for row in rows]
        found = {stem: {source: float(value) for source, value in row.items()} for stem, row in stems}
        if any(stem[1] not in activity for stem, activity in found.items()):
            raise ValueError("a label that is no column")
        return found
    except FileNotFoundError:
        raise EnhanceError(f"{path}: no such file", "run `enhance refine` with the same recipe first") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise EnhanceError(f"{path}: not a table of `enhance refine`", "write it again") from None


def contradicted(heard: Mapping[Stem, Activity], least: float) -> dict[Stem, str | None]:
    """Stems in which their label is less active than ``least``, and what they are: a source that is not, or None."""
    found: dict[Stem, str | None] = {}
    for stem, activity in heard.items():
        if activity[stem[1]] < least:
            most = max(activity, key=lambda source: activity[source])
            found[stem] = most if activity[most] >= least else None
    return found
