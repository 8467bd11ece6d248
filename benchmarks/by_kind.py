"""Scores the shipped models and the peers on the mixtures that steer training, kind of noise by kind.

usage: by_kind.py STORE [--peers PYTHON] [--clips N] [--jobs N] [--work DIR]

STORE is a prepared data set; the clips are those of ``enhance/training/validate.py`` from its split ``valid``, of 4 s,
so many of each kind (40). PYTHON is one that has what ``benchmarks/peers/requirements.txt`` lists: the peers' scores go
to ``benchmarks/peers/scores/valid/``, where they are taken from without it. Writes ``results/by_kind.json``, of which
``report.py`` makes a page. Scores are kept in the work folder, so that a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import soundfile
from by_kind_table import METRICS
from compare import HERE, RESULTS, SCORES, bench, keep

from enhance.bench.records import load
from enhance.bench.summary import summarise
from enhance.bench.systems import find_systems
from enhance.console import progress
from enhance.data.store import Store
from enhance.models.checkpoint import shipped_denoisers
from enhance.training.validate import KINDS, examples

SECONDS = 4.0
KEPT = "scores"  # in the work folder, a link to those of the peers


def write_pairs(store: Store, clips: int, folder: Path) -> None:
    """``folder/<kind>/noisy/`` and ``clean/``, 16 bit, unless they are there."""
    done = folder / "done"
    said = f"{store.fingerprint} {clips} {SECONDS}"
    if done.exists() and done.read_text(encoding="utf-8") == said:
        return
    with progress("clips {task.completed}/{task.total}") as bar:
        task = bar.add_task("", total=clips * len(KINDS))
        found = examples(store, clips, SECONDS, lambda: bar.advance(task))
    for kind, mixtures in found.items():
        for role in ("noisy", "clean"):
            (folder / kind / role).mkdir(parents=True, exist_ok=True)
        for number, (mixture, target) in enumerate(mixtures):
            for role, wave in (("noisy", mixture), ("clean", target)):
                soundfile.write(folder / kind / role / f"{number:03}.wav", wave, store.sample_rate, subtype="PCM_16")
    done.write_text(said, encoding="utf-8")


def score(kind: str, work: Path, python: Path | None, jobs: int) -> dict[str, Any]:
    """The summary of ``enhance bench`` of one kind."""
    if python:
        command = [python, HERE / "peers" / "run.py", work / kind, "--output", work / "peers" / kind]
        subprocess.run([*map(str, command), "--jobs", str(jobs)], check=True)
    folder = f"{'peers' if python else KEPT}/{kind}"  # short names, as they are in what is written
    options = [kind, "--models", ",".join(shipped_denoisers()), "--jobs", str(jobs)]
    options += [
        part
        for path in sorted((work / folder).glob("*/system.json"))
        for part in ("--estimates", f"{folder}/{path.parent.name}")
    ]
    summary = work / f"{kind}.json"
    bench(work, [*options, "--records", f"{kind}.jsonl", "--resume"], summary)
    if python:
        keep(work / f"{kind}.jsonl", work / folder, SCORES / "valid" / kind)
    found = json.loads(summary.read_bytes())
    for row in found["systems"]:
        row.pop("rtf", None)  # beside other work, and of clips of a few seconds
    return found


def together(work: Path, kinds: Iterable[str], models: Sequence[str]) -> list[dict[str, Any]]:
    """What the first of the models is better by than each of the others, on the clips of all these kinds."""
    found = {kind: load(work / f"{kind}.jsonl")[1] for kind in kinds}
    records = [
        replace(record, clip=f"{kind}/{record.clip}")
        for kind, scored in found.items()
        for record in scored
        if record.system in models
    ]
    systems = find_systems(models, [])[1:]  # without the untouched mixture
    return summarise(records, systems, [], list(METRICS), None, {}, {})["comparisons"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--peers", type=Path, metavar="PYTHON")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/by-kind"))
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    (work / KEPT).unlink(missing_ok=True)
    (work / KEPT).symlink_to((SCORES / "valid").resolve())
    store = Store(arguments.store)
    write_pairs(store, arguments.clips, work)
    kinds = {kind: score(kind, work, arguments.peers, arguments.jobs) for kind in KINDS if (work / kind).exists()}
    found = {"data": store.fingerprint, "clips": arguments.clips, "seconds": SECONDS, "kinds": kinds}
    found["together"] = together(work, [kind for kind in kinds if kind != "clean"], shipped_denoisers())
    (RESULTS / "by_kind.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {RESULTS / 'by_kind.json'}")


if __name__ == "__main__":
    main()
