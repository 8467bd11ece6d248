"""Scores the shipped models and the peers on pairs of files, noisy speech in and clean speech in.

usage: compare.py DATA [--peers DIR] [--jobs N] [--work DIR]

DATA holds ``noisy/`` and ``clean/`` (Voice Bank+DEMAND p232 for the README). DIR is what ``benchmarks/peers/run.py``
wrote: ``noisy/<peer>/`` and ``clean/<peer>/``; their scores go to ``benchmarks/peers/scores/<name of DATA>/``, where
they are taken from unless DIR is given. Real-time factors are compared on one machine: unless DIR is given, so that the
peers run here too, a model that has but new weights keeps the one that it had beside them. Writes into ``results/`` the
JSON of ``enhance bench``, as ``<name of DATA>.json`` and ``<name of DATA>_clean.json``, that of its own clips, and
plots; ``report.py`` makes the README of them. Scores are kept in the work folder, so that a run that was broken off
goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from enhance.bench.plots import save_all
from enhance.bench.records import by_system, dump, load
from enhance.models.checkpoint import shipped_denoisers

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SCORES = HERE / "peers" / "scores"
DIGITS = 6  # of a score that is kept


def clean_manifest(data: Path, path: Path) -> None:
    """A data set in which the mixtures are the clean files themselves."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "noisy", "clean"])
        for sound in sorted((data / "clean").iterdir()):
            writer.writerow([sound.stem, f"{data.name}/clean/{sound.name}", f"{data.name}/clean/{sound.name}"])


def bench(work: Path, arguments: list[str], target: Path) -> None:
    """Run ``enhance bench`` in the work folder, where everything has a short name, and keep its JSON."""
    command = [sys.executable, "-m", "enhance.cli", "bench", *arguments, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, cwd=work, env=environment, check=False, stdout=subprocess.PIPE)
    if found.returncode not in (0, 1):  # 1: some clips have no score, which is said
        sys.exit(found.returncode)
    target.write_bytes(found.stdout)
    print(f"wrote {target}")


def speeds(path: Path) -> dict[tuple[str, int, float], float]:
    """Real-time factors of our models in an earlier result, by name, parameters and cost."""
    systems = json.loads(path.read_bytes())["systems"] if path.exists() else []
    return {
        (row["name"], row["parameters"], row["macs_per_second"]): row["rtf"] for row in systems if row["parameters"]
    }


def with_speeds(path: Path, before: dict[tuple[str, int, float], float]) -> None:
    """The result with these real-time factors, of models that only have other weights than they had.

    One that takes longer or less by more than a tenth has changed in another way: it listens to the beginning, say.
    """
    found = json.loads(path.read_bytes())
    for row in found["systems"]:
        earlier = before.get((row["name"], row["parameters"], row["macs_per_second"]))
        if earlier and 0.9 < row["rtf"] / earlier < 1.1:
            row["rtf"] = earlier
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def keep(records: Path, peers: Path, target: Path) -> None:
    """The scores of each peer in a folder that ``enhance bench --estimates`` takes in place of its sounds."""
    with records.open(encoding="utf-8") as file:
        header = {**json.loads(next(file))["bench"], "systems": {}}
    found = by_system(load(records)[1])
    for peer in sorted(peers.iterdir()):
        about = (peer / "system.json").read_text(encoding="utf-8")
        folder = target / peer.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "system.json").write_text(about, encoding="utf-8")
        rows = [
            replace(record, scores={name: round(value, DIGITS) for name, value in record.scores.items()})
            for record in found[json.loads(about)["name"]]
        ]
        lines = [json.dumps({"bench": header}), *map(dump, rows)]
        (folder / "scores.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {target}")


def draw(records: Path, summary: Path) -> None:
    """The plots of ``enhance bench --plot``, beside the results."""
    found = json.loads(summary.read_bytes())
    names = [row["name"] for row in found["systems"]]
    kept = [record for record in load(records)[1] if record.system in names]
    for path in save_all(sorted(kept, key=lambda record: names.index(record.system)), found, RESULTS):
        print(f"wrote {path}")


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
    scores = SCORES / data.name
    for link, target in {data.name: data, "peers": (arguments.peers or scores).resolve()}.items():
        (work / link).unlink(missing_ok=True)
        (work / link).symlink_to(target)
    clean_manifest(work / data.name, work / f"{data.name}_clean.csv")
    for kind, given in (("noisy", data.name), ("clean", f"{data.name}_clean.csv")):
        folders = [path.parent for path in sorted((work / "peers" / kind).glob("*/system.json"))]
        name = given.removesuffix(".csv")
        options = [given, "--models", ",".join(shipped_denoisers()), "--jobs", str(arguments.jobs)]
        options += [part for folder in folders for part in ("--estimates", f"peers/{kind}/{folder.name}")]
        before = speeds(RESULTS / f"{name}.json")
        bench(work, [*options, "--records", f"{name}.jsonl", "--resume"], RESULTS / f"{name}.json")
        if not arguments.peers:
            with_speeds(RESULTS / f"{name}.json", before)
        if arguments.peers:
            keep(work / f"{name}.jsonl", work / "peers" / kind, scores / kind)
    bench(work, [], RESULTS / "shipped_clips.json")
    draw(work / f"{data.name}.jsonl", RESULTS / f"{data.name}.json")


if __name__ == "__main__":
    main()
