"""Scores the shipped models and the peers on pairs of files, noisy speech in and clean speech in.

usage: compare.py DATA [--peers DIR] [--jobs N] [--work DIR]

DATA holds ``noisy/`` and ``clean/`` (Voice Bank+DEMAND p232 for the README). DIR is what ``benchmarks/peers/run.py``
wrote: ``noisy/<peer>/`` and ``clean/<peer>/``. Writes ``results/<name of DATA>.json`` and
``results/<name of DATA>_clean.json``, the JSON of ``enhance bench``; ``report.py`` makes the README of them. Scores
are kept in the work folder, so that a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path

from enhance.models.checkpoint import shipped

RESULTS = Path(__file__).parent / "results"


def clean_manifest(data: Path, path: Path) -> None:
    """A data set in which the mixtures are the clean files themselves."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "noisy", "clean"])
        for sound in sorted((data / "clean").iterdir()):
            writer.writerow([sound.stem, f"{data.name}/clean/{sound.name}", f"{data.name}/clean/{sound.name}"])


def bench(work: Path, data: str, name: str, estimates: list[str], jobs: int, target: Path) -> None:
    """Run ``enhance bench`` in the work folder, where everything has a short name."""
    records = Path(f"{name}.jsonl")
    command = [sys.executable, "-m", "enhance.cli", "bench", data, "--models", ",".join(shipped())]
    command += [part for folder in estimates for part in ("--estimates", folder)]
    command += ["--jobs", str(jobs), "--records", str(records), "--resume", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, cwd=work, env=environment, check=True, stdout=subprocess.PIPE)
    target.write_bytes(found.stdout)
    print(f"wrote {target}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peers", type=Path, help="with noisy/ and clean/, a folder of estimates a peer in each")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/compare"))
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for link, target in {data.name: data, "peers": arguments.peers and arguments.peers.resolve()}.items():
        if target and not (work / link).exists():
            (work / link).symlink_to(target)
    clean_manifest(work / data.name, work / f"{data.name}_clean.csv")
    for kind, given in (("noisy", data.name), ("clean", f"{data.name}_clean.csv")):
        folders = sorted((work / "peers" / kind).iterdir()) if arguments.peers else []
        name = given.removesuffix(".csv")
        estimates = [f"peers/{kind}/{folder.name}" for folder in folders if folder.is_dir()]
        bench(work, given, name, estimates, arguments.jobs, RESULTS / f"{name}.json")


if __name__ == "__main__":
    main()
