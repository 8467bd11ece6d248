"""What the process that hands out a corpus to a cluster needs itself: memory and processor time for a million files.

usage: listing.py [--files 1000000]

Neither files nor cluster are there: names are made up, a thousand a folder, and a cluster that has done every task at
once stands for Ray. What lists, records and hands out is that of ``enhance denoise corpus -o clean --records FILE
--engine ray``. The first run does all files, the second finds them done. Writes listing.json and README.md here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # of benchmarks/
from throughput.tables import HERE, LISTING, readme

from enhance.inference.batch import cleared
from enhance.inference.ray_engine import spread
from enhance.inference.records import Records
from enhance.inference.tasks import Result, Settings, Task, plan
from enhance.models.checkpoint import DEFAULT
from enhance.training.setup import code_version

FOLDER = 1000  # files
FLYING = 2000  # tasks at a time: a thousand processors


class Corpus:
    """A folder ``corpus`` of that many files, and ``clean`` for what is made of them; this process sees no others."""

    def __init__(self, files: int) -> None:
        self.files = files
        self.cleaned = False
        about, exists, corpus = Path.stat, Path.exists, self
        sound = os.stat_result([stat.S_IFREG | 0o644, 0, 0, 1, 0, 0, 90_000, 0, 0, 0])

        def pretended_stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
            return sound if self.suffix == ".flac" else about(self, follow_symlinks=follow_symlinks)

        def pretended_exists(self: Path) -> bool:
            return self.parts[0] == "corpus" or corpus.cleaned if self.suffix == ".flac" else exists(self)

        os.walk, Path.stat, Path.exists = self.walk, pretended_stat, pretended_exists

    def walk(self, folder: Path, **_: object) -> Iterator[tuple[str, list[str], list[str]]]:
        for first in range(0, self.files, FOLDER):
            count = min(FOLDER, self.files - first)
            yield f"{folder}/speaker-{first:06}", [], [f"recording-{take:06}.flac" for take in range(count)]


class Instant:
    """A cluster whose tasks are done when they are asked for."""

    def room(self) -> int:
        return FLYING

    def submit(self, task: Task) -> object:
        return object()

    def wait(self, submitted: Sequence[object]) -> object:
        return submitted[0]

    def result(self, done: object, task: Task) -> Result:
        return Result(task.source, task.target, seconds=2.0, sample_rate=16000, channels=1, elapsed=0.1, peak=0.5)

    def stop(self, submitted: Sequence[object]) -> None:
        assert not submitted


def run(path: Path, settings: Settings) -> int:
    """Hand out what is not done; how many files that was."""
    records, handed_out = Records(path, settings), 0
    records.begin()
    waiting = records.missing(plan(["corpus"], "clean", ours=records.wrote))
    cluster: Any = Instant()
    for result in spread(cleared(waiting, everyone=True), cluster, lambda seconds: None):
        records.write(result, dataclasses.asdict(result))
        handed_out += 1
    return handed_out


def peak_mb() -> float:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def measure(files: int, model: str = DEFAULT) -> dict[str, Any]:
    """Two runs over a made-up corpus, from this process as it is."""
    settings, version = Settings(model), code_version()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("corpus").mkdir()
        Records(Path("none"), settings)  # loads what they need
        before = peak_mb()
        corpus = Corpus(files)
        for name in ("first", "again"):
            began = time.process_time()
            handed_out = run(Path("done.jsonl"), settings)
            seconds = time.process_time() - began
            growth, corpus.cleaned = peak_mb() - before, True
            each = {"growth_mb": growth, "ms_a_file": 1000 * seconds / files}
            rows.append({"run": name, "files": files, "handed_out": handed_out, **each})
        os.chdir(HERE)
    return {"rows": rows, "enhance": version}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    found = measure(parser.parse_args().files)
    (HERE / LISTING).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(readme(), encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
