"""What scoring leaves behind: a record a system, clip and source, one JSON line each after a header.

A *system* is the untouched mixture, a model, or a folder of estimates that some other tool wrote. A *clip* is a
mixture with its references.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enhance.errors import EnhanceError

UNTOUCHED = "untouched"  # the system whose estimate is the mixture
ABSENT = "silent reference: the clip does not hold this source"  # of several: nothing to score, and no failure


@dataclass(frozen=True)
class Clip:
    """A mixture and what it is made of; without references only reference-free metrics can score it."""

    id: str  # unique in its data set, for instance "p232_001"
    mixture: Path
    references: dict[str, Path]  # source ("speech", "vocals", ...) to file; empty where there is none
    tags: dict[str, str] = field(default_factory=dict)  # for --by: "snr", "speaker", "noise", ...


@dataclass(frozen=True)
class Record:
    """The scores of one system on one source of one clip."""

    system: str
    clip: str
    source: str
    scores: dict[str, float] = field(default_factory=dict)  # metric to value
    unscored: dict[str, str] = field(default_factory=dict)  # metric to why it has no value here
    error: str | None = None  # why there is no estimate, or nothing to score
    seconds: float = 0.0  # of audio
    cpu_seconds: float | None = None  # the system's, on one thread; None where we did not run it
    tags: dict[str, str] = field(default_factory=dict)
    delay: float | None = None  # s, that --align took out of the estimate

    @property
    def key(self) -> tuple[str, str, str]:
        return self.system, self.clip, self.source

    @property
    def absent(self) -> bool:
        """Whether the source is one that the clip does not hold."""
        return ABSENT in self.unscored.values()


def dump(record: Record) -> str:
    """One line of JSON, without the fields that are empty."""
    return json.dumps({key: value for key, value in dataclasses.asdict(record).items() if value not in ({}, None)})


def load(path: Path) -> tuple[dict[str, Any], list[Record]]:
    """The header of a file of records, and the records.

    A last line that was cut off by a kill is left out. EnhanceError for any other file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EnhanceError(f"{path}: cannot be read ({error.strerror})", "leave out --resume") from None
    whole = data[: data.rfind(b"\n") + 1]
    known = {field.name for field in dataclasses.fields(Record)}
    found: list[Record] = []
    header: dict[str, Any] = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            entry = json.loads(line)
            if number == 1:
                header = entry["bench"]
                if not isinstance(header.get("systems"), dict):
                    raise ValueError
                continue
            if not entry.keys() <= known:
                raise ValueError
            found.append(Record(**entry))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise EnhanceError(f"{path}: line {number} is not of enhance bench", "give another --records") from None
    return header, found


def by_system(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records of each system, in the order in which systems first appear."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.system, []).append(record)
    return found


Summary = dict[str, Any]
"""What `enhance.bench.summary.summarise` makes of the records, ready for JSON::

    {"data": {"name", "path", "fingerprint", "clips", "seconds"},
     "metrics": ["pesq_wb", ...],
     "systems": [{"name", "kind": "mixture" | "model" | "estimates", "scored", "total",
                  "rtf", "parameters", "macs_per_second", "latency_ms", "version", "licence", "note",  # or null
                  "scores": {"pesq_wb": {"mean", "low", "high", "n"},
                             "bss_sdr": {..., "median"}, ...},  # then low and high are the median's
                  "delay": {"median", "low", "high"}}, ...],  # s, that --align took out; if it did
     "sources": {"vocals": [systems as above], ...},          # only where clips have several sources
     "groups": {"snr": {"2.5": [systems as above], ...}},     # of --by
     "comparisons": [{"system", "against", "metric", "difference", "low", "high", "p", "n"}, ...],
     "group_comparisons": {"snr": [{"group": "2.5", ...as above}, ...]},  # without the mixture
     "footer": {"enhance": "0.1.0 (abc123)", "device": "...", "command": "...", "pesq": "0.0.4", ...}}
"""
