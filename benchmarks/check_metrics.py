"""Compares our metrics with scores that an independent implementation gave to the same pairs of files.

usage: check_metrics.py DATA [--every N] [--json FILE]

DATA holds ``noisy/`` and ``clean/`` files of the same names and ``unprocessed_scores.csv``: a column ``id`` and one
for each metric, named as in ``enhance.metrics.METRICS``, noisy against clean. The exit code is 1 where a mean
differs by more than its tolerance or a file cannot be scored.

On Voice Bank+DEMAND p232 all agree to the six digits of the file but LLR and WSS, and what is made of them, of one
file in forty: where 95 % of the frames are half a frame more than an even number, theirs is rounded down by Python,
ours up as in the original MATLAB code (see ``enhance.metrics.signals.mean_of_best``).
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from enhance.metrics import METRICS, evaluate

TOLERANCES = {  # of the mean over files
    **dict.fromkeys(("pesq_wb", "pesq_nb", "stoi", "estoi", "si_sdr", "snr"), 0.002),
    **dict.fromkeys(("seg_snr", "llr", "wss", "csig", "cbak", "covl"), 0.02),
}


def score(data: Path, name: str) -> dict[str, float]:
    """Our scores of one noisy file against its clean one."""
    paths = (next((data / kind).glob(f"{name}.*")) for kind in ("clean", "noisy"))
    (clean, rate), (noisy, _) = (soundfile.read(path, dtype="float32") for path in paths)
    scores, errors = evaluate(TOLERANCES, clean, noisy, noisy, rate)
    for error in errors.values():
        raise SystemExit(f"{name}: {error}")
    return scores


def compare(metric: str, ours: list[float], theirs: list[float], files: list[str]) -> dict[str, Any]:
    """Means and differences of one metric."""
    difference = np.subtract(ours, theirs)
    worst = int(np.abs(difference).argmax())
    return {
        "ours": float(np.mean(ours)),
        "theirs": float(np.mean(theirs)),
        "difference": float(difference.mean()),
        "tolerance": TOLERANCES[metric],
        "largest_difference": float(difference[worst]),
        "largest_in": files[worst],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th file")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with (arguments.data / "unprocessed_scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:: arguments.every]
    files = [row["id"] for row in rows]
    started = time.process_time()
    ours = [score(arguments.data, name) for name in files]
    seconds = time.process_time() - started
    compared = {
        metric: compare(metric, [row[metric] for row in ours], [float(row[metric]) for row in rows], files)
        for metric in TOLERANCES
    }
    print(f"{len(files)} files, {seconds / len(files):.2f} s of CPU each")
    print(f"{'':8} {'ours':>10} {'theirs':>10} {'difference':>11} {'largest':>11}  in")
    for metric, row in compared.items():
        print(f"{METRICS[metric].label:8} {row['ours']:10.5f} {row['theirs']:10.5f} {row['difference']:11.6f} "
              f"{row['largest_difference']:11.6f}  {row['largest_in']}")  # fmt: skip
    if arguments.json:
        result = {"files": len(files), "metrics": compared}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    wrong = [metric for metric, row in compared.items() if abs(row["difference"]) > row["tolerance"]]
    print("out of tolerance: " + ", ".join(wrong) if wrong else "all means agree")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
