"""Scores the runs of sweeps on a test set, for the tables of ``benchmarks/report.py``.

usage: score.py NAME DATA RUNS... [--jobs N] [--limit N]

RUNS are folders that ``enhance train --sweep`` wrote (with ``results.json``), or those of single runs. DATA is what
``enhance bench`` takes, and ``--limit`` its seeded pick of so many clips. Writes ``NAME.json`` here: what each run was,
what it cost, its validation and its scores. NAME is ``open-speech`` or ``voicebank``. Scores of clips are kept in
``runs/ablation``, so that it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from enhance.bench.records import UNTOUCHED
from enhance.training.loop import BEST
from enhance.training.sweep import RESULTS, row

HERE = Path(__file__).parent
METRICS = ("pesq_wb", "stoi", "si_sdr", "csig", "cbak", "covl", "seg_snr")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """What is known of the runs of a sweep, or of the one run in ``folder``, with the folders of their weights."""
    if (folder / RESULTS).is_file():
        found = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        return [{**one, "checkpoint": folder / one["name"] / BEST} for one in found]
    return [{**row(folder.name, folder), "checkpoint": folder / BEST}]


def bench(data: Path, checkpoints: list[Path], records: Path, jobs: int, limit: int | None) -> dict[str, Any]:
    """The summary of ``enhance bench``."""
    records.parent.mkdir(parents=True, exist_ok=True)
    models, metrics = ",".join(map(str, checkpoints)), ",".join(METRICS)
    command = [sys.executable, "-m", "enhance.cli", "bench", str(data), "--models", models, "--metrics", metrics]
    command += ["--jobs", str(jobs), "--records", str(records), "--resume", "--json"]
    command += ["--limit", str(limit)] if limit else []
    found = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, stdout=subprocess.PIPE)
    if found.returncode not in (0, 1):  # 1: some clips have no score, which is said
        sys.exit(found.returncode)
    return json.loads(found.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("open-speech", "voicebank"))
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of NAME.json")
    arguments = parser.parse_args()
    rows = [found for folder in arguments.runs for found in rows_of(folder)]
    records = Path("runs/ablation") / f"{arguments.name}.jsonl"
    summary = bench(arguments.data, [found["checkpoint"] for found in rows], records, arguments.jobs, arguments.limit)
    scores = {system["name"]: system["scores"] for system in summary["systems"]}
    facts = {system["name"]: system["parameters"] for system in summary["systems"]}
    for found in rows:
        system = f"{found['checkpoint'].parent.name}/{found.pop('checkpoint').stem}"
        found |= {"parameters": facts[system], "test": scores[system]}
    data = {key: summary["data"][key] for key in ("name", "clips", "fingerprint", "seconds")}
    versions = {key: value for key, value in summary["footer"].items() if key != "command"}
    result = {"data": data, "footer": versions, "untouched": scores[UNTOUCHED], "rows": rows}
    target = arguments.output / f"{arguments.name}.json"
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
