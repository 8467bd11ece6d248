"""Is a hybrid better than its halves, on every kind of noise? Scores checkpoints a kind and an SNR.

usage: compare.py DATA waveform=FILE spectrogram=FILE hybrid=FILE [NAME=FILE ...] [--clips N] [--seconds S] [--jobs N]
                  [--pairs DIR] [--output DIR]

DATA is a prepared data set, whose split ``valid`` gives the mixtures (kinds.py beside it). Beside the checkpoints are
scored the untouched mixture, the hybrid without what its waveform module makes (where that comes first, the other gets
the mixture in place of its estimate; where it comes last, its correction is left out), and the blend: ``w * waveform +
(1 - w) * spectrogram`` with one fixed w, by least squares on the mixtures that steer training
(enhance/training/validate.py). ``waveform`` may be a hybrid whose last run trained its waveform module alone: then it
is that module. With --pairs the checkpoints are also scored by `enhance bench` on pairs of files that neither training
nor validation has seen. Writes results.json, README.md and differences.png into DIR, this folder unless given;
`compare.py --report [--output DIR]` makes the latter two again.

Intervals are 95 % bootstrap over clips, differences are paired: at all SNRs a clip has the same speech and noise, and
counts once where SNRs are taken together.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from kinds import KINDS, SNRS, example
from tables import BARE, BLEND, HALVES, HERE, HYBRID, RESULTS, write_report

from enhance.bench.records import UNTOUCHED
from enhance.bench.statistics import holm, mean_interval, paired_p
from enhance.console import progress
from enhance.data.store import Store
from enhance.errors import EnhanceError
from enhance.files import replacing
from enhance.models import constructor_arguments, create
from enhance.models.checkpoint import load_model, read_header, save
from enhance.models.cost import macs_per_second, parameters
from enhance.models.provenance import audio_hours, hours, steps
from enhance.training.setup import code_version
from enhance.training.validate import SI_SDR_CAP, estimate, examples, score

METRICS = {"pesq": "pesq_wb", "stoi": "stoi", "si_sdr": "si_sdr"}  # of enhance.training.validate, of enhance.metrics
LOWEST = {"pesq": 1.0, "stoi": 0.0, "si_sdr": -SI_SDR_CAP}  # of an estimate that cannot be scored: it is silent
CPU = torch.device("cpu")

Row = dict[str, Any]  # kind, index, snr, system, the metrics, cpu_seconds


opened = cache(Store)  # once a process, as its audio must not be sent to it


@cache
def model(path: Path) -> torch.nn.Module:
    """Loaded once a process, which computes with one thread."""
    torch.set_num_threads(1)
    return load_model(path)


class Through(torch.nn.Module):
    """A module that leaves what it is given alone."""

    def forward(self, mixture: torch.Tensor, *estimates: torch.Tensor) -> torch.Tensor:
        """``(B, C, T)`` and the estimates before it to the last of them, ``(B, 1, C, T)``; the mixture if none are."""
        return estimates[-1] if estimates else mixture[:, None]


@cache
def bare(path: Path) -> torch.nn.Module:
    """The hybrid of that file without what its waveform module makes."""
    network: Any = copy.deepcopy(model(path))
    if isinstance(network.parts, torch.nn.ModuleDict):
        network.parts[HALVES[0]] = Through()
    else:
        network.waveform = Through()
    return network


def blend_weight(store: Store, halves: Iterable[Path], clips: int, seconds: float) -> float:
    """The share of the first half, by least squares over mixtures that each have the weight of one."""
    waveform, spectrogram = (model(path) for path in halves)
    products, squares = 0.0, 0.0
    for found in examples(store, clips, seconds).values():
        for mixture, target in found:
            a, b = (estimate(half, mixture, CPU).astype(np.float64) for half in (waveform, spectrogram))
            energy = np.square(mixture, dtype=np.float64).sum()
            products += np.dot(target - b, a - b) / energy
            squares += np.dot(a - b, a - b) / energy
    return products / max(squares, 1e-12)


def score_clip(data: Path, files: dict[str, Path], weight: float, seconds: float, clip: tuple[str, int]) -> list[Row]:
    """All systems at all SNRs on one clip; nothing where a metric is not defined of the mixture (no speech)."""
    store = opened(data)
    rows: list[Row] = []
    for snr in SNRS:
        mixture, target = example(store, clip[0], snr, seconds, clip[1])
        estimates: dict[str, np.ndarray] = {UNTOUCHED: mixture}
        cost: dict[str, float] = {}
        for name, path in files.items():
            network = model(path)
            began = time.process_time()
            estimates[name] = estimate(network, mixture, CPU)
            cost[name] = time.process_time() - began
        estimates[BARE] = estimate(bare(files[HYBRID]), mixture, CPU)
        one, other = (estimates[name] for name in HALVES)
        estimates[BLEND] = weight * one + (1 - weight) * other
        for name, wave in estimates.items():
            scores = score(target, wave.astype(np.float32), store.sample_rate)
            if not scores and name == UNTOUCHED:
                return []
            row = {"kind": clip[0], "index": clip[1], "snr": snr, "system": name, "cpu_seconds": cost.get(name)}
            rows.append(row | (scores or LOWEST))
    return rows


def values(rows: list[Row], system: str, metric: str, kind: str, snr: float | None) -> dict[int, float]:
    """A score of each clip, by its number; over all SNRs their mean."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["system"] == system and row["kind"] == kind and snr in (None, row["snr"]):
            found.setdefault(row["index"], []).append(row[metric])
    return {index: mean(scores) for index, scores in found.items()}


def summarise(rows: list[Row], systems: list[str]) -> dict[str, Any]:
    """Means a kind and SNR (``"all"`` of them together), and what the hybrid is better by than each other system."""
    scores: dict[str, Any] = {}
    comparisons: list[dict[str, Any]] = []
    for kind, snr in itertools.product(KINDS, (None, *SNRS)):
        cell = scores.setdefault(kind, {}).setdefault("all" if snr is None else f"{snr:g}", {})
        for system, (metric, name) in itertools.product(systems, METRICS.items()):
            own = values(rows, system, metric, kind, snr)
            cell.setdefault(system, {})[name] = dict(
                zip(("mean", "low", "high"), mean_interval([*own.values()]), strict=True)
            )
            if system == HYBRID:
                continue
            hybrid = values(rows, HYBRID, metric, kind, snr)
            differences = [hybrid[index] - value for index, value in own.items()]
            difference, low, high = mean_interval(differences)
            comparisons.append(
                {"kind": kind, "snr": snr, "against": system, "metric": name, "difference": difference}
                | {"low": low, "high": high, "p": paired_p(differences), "n": len(differences)}
            )
    for together in (True, False):  # tests of all SNRs together, tests of one
        family = [row for row in comparisons if (row["snr"] is None) == together]
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p"] = p
    return {"scores": scores, "comparisons": comparisons}


def facts(name: str, path: Path) -> dict[str, Any]:
    """What a checkpoint is and what its training took."""
    header = read_header(path)
    provenance, network = header["provenance"], model(path)
    recipe = provenance["recipe"]
    return {
        "name": name,
        "model": recipe["model"],
        "model_options": recipe["model_options"],
        "parameters": parameters(network),
        "macs_per_second": macs_per_second(network),
        "seed": recipe["seed"],
        "steps": steps(provenance),
        "hours": hours(provenance),
        "audio_hours": audio_hours(provenance),
        "valid_score": provenance["valid"].get("score"),
        "code": provenance["code"],
    }


def compare(data: Path, files: dict[str, Path], clips: int, seconds: float, jobs: int) -> dict[str, Any]:
    """The whole comparison, ready for JSON."""
    store = opened(data)
    weight = blend_weight(store, [files[name] for name in HALVES], min(4, clips), seconds)
    work = [(kind, index) for kind in KINDS for index in range(clips)]
    rows: list[Row] = []
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=context) as pool, progress("{task.completed}/{task.total}") as bar:
        for found in bar.track(pool.map(partial(score_clip, data, files, weight, seconds), work), total=len(work)):
            rows += found
    systems = [facts(name, path) for name, path in files.items()]
    order = [UNTOUCHED, *HALVES, BLEND, *(name for name in files if name not in HALVES), BARE]
    heard = len({(row["kind"], row["index"], row["snr"]) for row in rows}) * seconds
    rtf = {name: sum(row["cpu_seconds"] for row in rows if row["system"] == name) / heard for name in files}
    return {
        "data": {"name": data.name, "fingerprint": store.fingerprint, "split": "valid", "seconds": seconds},
        "clips": {kind: len({row["index"] for row in rows if row["kind"] == kind}) for kind in KINDS},
        "systems": [row | {"rtf": rtf[row["name"]]} for row in systems],
        "blend": {"waveform": weight},
        "order": order,
        **summarise(rows, order),
        "enhance": code_version(),
        "torch": torch.__version__,
    }


def score_pairs(data: Path, files: dict[str, Path], jobs: int) -> dict[str, Any]:
    """What ``enhance bench`` says of the checkpoints, the hybrid first, which the others are compared with."""
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files.items():
            (Path(folder) / f"{name}.safetensors").symlink_to(path.resolve())
        (Path(folder) / data.name).symlink_to(data.resolve())
        models = ",".join(f"{name}.safetensors" for name in sorted(files, key=lambda name: name != HYBRID))
        command = [sys.executable, "-m", "enhance.cli", "bench", data.name, "--models", models, "--jobs", str(jobs)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--json"], cwd=folder, env=environment, check=False, stdout=subprocess.PIPE, text=True
        )
        if done.returncode not in (0, 1):  # 1: some clips have no score, which is said
            sys.exit(done.returncode)
        return json.loads(done.stdout.replace('"/', '"'))  # names of checkpoints in no folder


def checkpoints(given: list[str]) -> dict[str, Path]:
    """The files by name; EnhanceError where one of the three is missing or a name is taken."""
    files = {name: Path(path) for name, _, path in (text.partition("=") for text in given)}
    if missing := [name for name in (*HALVES, HYBRID) if name not in files]:
        raise EnhanceError(f"no checkpoint of {', '.join(missing)}", "give waveform=FILE spectrogram=FILE hybrid=FILE")
    if taken := {UNTOUCHED, BLEND, BARE} & files.keys():
        raise EnhanceError(f"{', '.join(taken)} is a name of its own", "give the checkpoint another one")
    for path in files.values():
        read_header(path)
    return files


def alone(name: str, path: Path, folder: Path) -> Path:
    """The checkpoint of a waveform module that a hybrid's own last run trained, written into ``folder``; others' own.

    Its hours are those of that run.
    """
    network: Any = load_model(path)
    if name != HALVES[0] or len(parts := getattr(network, "parts", {})) < 2:
        return path
    if next(iter(parts)) != name:
        raise EnhanceError(f"{path}: its module {name!r} corrects another's estimate", "give one that comes first")
    header = read_header(path)
    provenance = header["provenance"]
    if {stage["train"] for stage in provenance["recipe"]["stages"]} != {name}:
        raise EnhanceError(f"{path}: its last run trained more than its module {name!r}", "give that of its stage")
    options = {name: header["arguments"][name]}
    module: Any = create(name, **options)
    module.parts[name].load_state_dict(parts[name].state_dict())
    recipe = {**provenance["recipe"], "model": name, "model_options": options}
    own = {**provenance, "recipe": recipe, "init": None, "valid": {}}
    save(folder / f"{name}.safetensors", module, constructor_arguments(name, **options), own)
    return folder / f"{name}.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("checkpoints", nargs="*", metavar="NAME=FILE")
    parser.add_argument("--clips", type=int, default=24, help="a kind, each of them at every SNR")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--pairs", type=Path, help="also score folders noisy/ and clean/")
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--report", action="store_true", help="write README.md and the plot from results.json")
    arguments = parser.parse_args()
    try:
        if not arguments.report:
            if arguments.data is None:
                parser.error("DATA is missing")
            with tempfile.TemporaryDirectory() as folder:
                files = checkpoints(arguments.checkpoints)
                files = {name: alone(name, path, Path(folder)) for name, path in files.items()}
                found = compare(arguments.data, files, arguments.clips, arguments.seconds, arguments.jobs)
                if arguments.pairs:
                    found["pairs"] = score_pairs(arguments.pairs, files, arguments.jobs)
            with replacing(arguments.output / RESULTS) as temporary:
                temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        for written in write_report(arguments.output):
            print(f"wrote {written}")
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
