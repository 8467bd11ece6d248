"""What it is worth to hear the beginning of a recording before it starts: scores by the seconds that a model listens.

usage: listen.py DATA [--models NAMES_OR_CHECKPOINTS] [--clips 12] [--output FILE]

The models are those that are shipped and listen by default, unless others are named.

DATA is a prepared data set, whose split ``valid`` gives the recordings; clips last eight seconds. Denoisers get speech
in recorded noise at 5 dB and are scored on the voice, separators speech over music at 0 dB and are scored on both.
SI-SDR is also that of the first two seconds and of the rest: what is heard beforehand is mostly worth something at the
beginning, where a model's memory would be empty. Differences to not listening are paired. Writes
results/listen.json, of which `benchmarks/report.py` makes a page.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from enhance.bench.statistics import mean_interval
from enhance.console import progress
from enhance.data.mixing import Example, Mixer, MixingConfig
from enhance.data.store import Store
from enhance.errors import EnhanceError
from enhance.files import replacing
from enhance.inference.separate import separate
from enhance.metrics.pesq import pesq_wb
from enhance.metrics.si_sdr import si_sdr
from enhance.models.checkpoint import load_model, read_header, shipped
from enhance.training.setup import code_version
from enhance.training.validate import PLAIN, SEED
from enhance.training.validate_sources import mixtures

RESULTS = Path(__file__).parent / "results" / "listen.json"
SECONDS = (0.0, 1.0, 2.0, 3.0, 4.0, 8.0)
LONG, BEGINNING = 8.0, 2.0  # s, of a clip, and of its first part
SNR = 5.0
EPOCH = 22  # of the mixer's key


def noisy(store: Store, clips: int) -> Iterable[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Mixtures ``(time,)`` and their speech."""
    settings = MixingConfig(**{**PLAIN, "interferers": {"noise": 1.0}, "snr_db": (SNR, SNR)})
    mixer = Mixer(store, "valid", settings, round(LONG * store.sample_rate), SEED)
    for index in range(clips):
        example: Example = mixer.example(EPOCH, index)
        yield example.mixture, {"speech": example.target}


def musical(store: Store, clips: int) -> Iterable[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Mixtures ``(time,)`` of speech and music at 0 dB, and both."""
    there: Any = {"speech": 1.0, "music": 1.0, "noise": 0.0}
    for example in mixtures(store, "valid", there, {"noise": 1.0}, (0.0, 0.0), clips, LONG):
        yield example.mixture, {"speech": example.target[0], "music": example.target[1]}


def scores(truth: np.ndarray, estimate: np.ndarray, rate: int, source: str) -> dict[str, float]:
    """SI-SDR of the whole, of its beginning and of the rest, in dB, and PESQ-WB of a voice."""
    first = round(BEGINNING * rate)
    parts = {"whole": slice(None), "beginning": slice(0, first), "rest": slice(first, None)}
    found = {name: float(np.clip(si_sdr(truth[part], estimate[part]), -30, 30)) for name, part in parts.items()}
    return found | ({"pesq": pesq_wb(truth, estimate, rate)} if source == "speech" else {})


def rows_of(store: Store, name: str, model: torch.nn.Module, clips: int, done: Any) -> list[dict[str, Any]]:
    """Means with intervals, and paired differences to not listening, for each number of seconds and source."""
    sources: tuple[str, ...] = model.sources  # pyright: ignore[reportAssignmentType]
    values: dict[tuple[str, float], list[dict[str, float]]] = {}
    for mixture, truth in (musical if len(sources) > 1 else noisy)(store, clips):
        if min(np.square(wave[: round(BEGINNING * store.sample_rate)]).mean() for wave in truth.values()) < 1e-8:
            done()
            continue  # there is nothing in its beginning to be scored
        for seconds in SECONDS:
            estimates = separate(mixture, store.sample_rate, model, "cpu", listen=seconds)
            for source, wave in truth.items():
                row = scores(wave, estimates[source], store.sample_rate, source)
                values.setdefault((source, seconds), []).append(row)
        done()
    rows = []
    for (source, seconds), found in values.items():
        at_once = values[source, 0.0]
        row: dict[str, Any] = {"model": name, "source": source, "listen": seconds, "clips": len(found)}
        for metric in found[0]:
            row[metric] = mean_interval([each[metric] for each in found])
            pairs = zip(found, at_once, strict=True)
            row[f"{metric}_more"] = mean_interval([each[metric] - cold[metric] for each, cold in pairs])
        rows.append(row)
    return rows


def listening() -> list[str]:
    """The shipped models that listen by default."""
    return [name for name, path in shipped().items() if read_header(path)["arguments"].get("listen")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", default=",".join(listening()), help="names or checkpoints, with commas")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.models.split(",")
    rows = []
    try:
        store, models = Store(arguments.data), {name: load_model(name) for name in names}
        with progress("{task.completed}/{task.total}") as bar:
            task = bar.add_task("listen", total=len(names) * arguments.clips)
            for name, model in models.items():
                rows += rows_of(store, name, model, arguments.clips, lambda: bar.advance(task))
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    own = {name: getattr(model, "listen", 0.0) for name, model in models.items()}
    found = {"data": store.fingerprint, "code": code_version(), "own": own, "rows": rows}
    with replacing(arguments.output) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
