"""What bfloat16 saves and costs: real-time factor and scores of denoisers in both precisions of ``--precision``.

usage: precision.py DATA [--models NAMES_OR_CHECKPOINTS] [--jobs 1] [--limit CLIPS] [--minutes 5] [--output FILE]

DATA is what `enhance bench` takes. Scores are of the same clips in both precisions, differences are paired. The
real-time factor is processor time on one thread over duration, of minutes made of the committed example: the
median of five runs, the precisions in turn. Writes results/precision.json, of which `benchmarks/report.py` makes a
page.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from enhance.audio import read
from enhance.bench.run import Request, prepare, run
from enhance.bench.statistics import mean_interval
from enhance.bench.summary import footer
from enhance.errors import EnhanceError
from enhance.files import replacing
from enhance.inference.denoise import denoise
from enhance.models.checkpoint import load_model, shipped_denoisers
from enhance.nn.precision import PRECISIONS
from enhance.training.setup import code_version

EXAMPLE = Path(__file__).parent.parent / "examples" / "noisy.wav"
RESULTS = Path(__file__).parent / "results" / "precision.json"
METRICS = ("pesq_wb", "stoi", "si_sdr")
RUNS = 5


def real_time_factors(model: Any, minutes: float) -> dict[str, float]:
    """Processor seconds a second of audio, by precision."""
    wave, rate = read(EXAMPLE)
    wave = np.tile(wave, round(minutes * 60 * rate / wave.shape[1]))
    times: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for _ in range(RUNS):
        for precision, found in times.items():
            began = time.process_time()
            denoise(wave, rate, model, device="cpu", precision=precision)
            found.append(time.process_time() - began)
    return {precision: median(found) * rate / wave.shape[1] for precision, found in times.items()}


def scores(request: Request) -> dict[str, dict[str, float]]:
    """The scores of a request's only model, by clip."""
    bench = prepare(request)
    _, system = bench.systems
    return {record.clip: record.scores for record in run(bench) if record.system == system.name}


def row_of(name: str, data: Path, jobs: int, limit: int | None) -> dict[str, Any]:
    """A model's means and what bfloat16 changes, both with intervals; of clips that can be scored."""
    precisions = {
        precision: scores(Request(data, (name,), metrics=METRICS, jobs=jobs, limit=limit, precision=precision))
        for precision in PRECISIONS
    }
    exact, near = precisions.values()
    clips = [clip for clip in exact if {*METRICS} <= exact[clip].keys() & near[clip].keys()]
    row: dict[str, Any] = {"model": name, "clips": len(clips)}
    for metric in METRICS:
        row[metric] = mean_interval([exact[clip][metric] for clip in clips])
        row[f"{metric}_more"] = mean_interval([near[clip][metric] - exact[clip][metric] for clip in clips])
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", default=",".join(shipped_denoisers()), help="names or checkpoints, with commas")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--minutes", type=float, default=5.0, help="of the audio that is timed")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    try:
        for name in arguments.models.split(","):
            print(f"{name} in {' and '.join(PRECISIONS)}", file=sys.stderr)
            times = real_time_factors(load_model(name), arguments.minutes)
            rows.append(row_of(name, arguments.data, arguments.jobs, arguments.limit) | {"rtf": times})
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    found = {
        "data": arguments.data.name,
        "minutes": arguments.minutes,
        "limit": arguments.limit,
        "code": code_version(),
        "processor": footer([], "cpu", 1)["device"],
        "rows": rows,
    }
    with replacing(arguments.output) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
