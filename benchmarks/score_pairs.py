"""Scores a model on a folder with noisy/ and clean/ pairs: PESQ-WB, STOI, SI-SDR; noisy and clean speech in.

usage: score_pairs.py DATA [--model NAME_OR_CHECKPOINT] [--json FILE] [--jobs N] [--every N]

``noisy`` scores the estimates of the noisy files against the clean ones, ``untouched`` the noisy files
themselves, and ``clean`` what the model makes of clean speech: a denoiser should leave it alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import soundfile

METRICS = ("pesq", "stoi", "si_sdr")


def score_pair(name: str, data: Path, model: str) -> dict[str, Any]:
    """Scores of one pair of files, and the time that the model took."""
    import torch

    from enhance.inference.denoise import denoise
    from enhance.metrics.pesq import pesq_wb
    from enhance.metrics.si_sdr import si_sdr
    from enhance.metrics.stoi import stoi

    torch.set_num_threads(1)
    noisy, rate = soundfile.read(data / "noisy" / name, dtype="float32")
    clean, _ = soundfile.read(data / "clean" / name, dtype="float32")
    started = time.process_time()
    estimates = {"noisy": denoise(noisy, rate, loaded(model))}
    elapsed = time.process_time() - started
    estimates |= {"untouched": noisy, "clean": denoise(clean, rate, loaded(model))}
    scores = {
        kind: {
            "pesq": pesq_wb(clean, wave, rate),
            "stoi": stoi(clean, wave, rate),
            "si_sdr": si_sdr(clean, wave),
        }
        for kind, wave in estimates.items()
    }
    return {"file": name, "seconds": len(noisy) / rate, "cpu_seconds": elapsed, **scores}


_LOADED: dict[str, Any] = {}


def loaded(model: str) -> Any:
    """The model, loaded once a process."""
    from enhance.models.checkpoint import load_model

    if model not in _LOADED:
        _LOADED[model] = load_model(model)
    return _LOADED[model]


def scored(names: list[str], data: Path, model: str, jobs: int) -> Iterator[dict[str, Any]]:
    """Records of all pairs, in order, with progress on stderr."""
    from enhance.console import progress

    with ProcessPoolExecutor(jobs) as pool, progress("{task.completed}/{task.total} pairs") as bar:
        task = bar.add_task("score", total=len(names))
        for record in pool.map(partial(score_pair, data=data, model=model), names):
            bar.advance(task)
            yield record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="dcunet-s")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="only every N-th file")
    arguments = parser.parse_args()
    names = sorted(path.name for path in (arguments.data / "noisy").iterdir())[:: arguments.every]
    records = list(scored(names, arguments.data, arguments.model, arguments.jobs))
    summary: dict[str, Any] = {
        kind: {metric: mean(record[kind][metric] for record in records) for metric in METRICS}
        for kind in ("untouched", "noisy", "clean")
    }
    summary["pairs"] = len(records)
    summary["rtf"] = sum(record["cpu_seconds"] for record in records) / sum(record["seconds"] for record in records)
    for kind in ("untouched", "noisy", "clean"):
        row = summary[kind]
        print(f"{kind:10} PESQ-WB {row['pesq']:.3f}  STOI {row['stoi']:.4f}  SI-SDR {row['si_sdr']:.2f} dB")
    print(f"{len(records)} pairs, real-time factor on one thread {summary['rtf']:.4f}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(
            json.dumps({"data": arguments.data.name, "model": arguments.model, **summary}, indent=2)
        )


if __name__ == "__main__":
    main()
