"""Where a voice is heard after separation: stereo mixtures whose channels share their masks, or have their own.

usage: stereo.py DATA [--model separator-m] [--clips 40] [--seconds 8]

The mixtures of speech and music of run.py, put into a stereo picture. Writes stereo.json, of which run.py --report
makes a section of the page. The place of a source is taken from its own part of the estimate, in each channel the
projection on the true source: what is left of the others has places of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from enhance.bench.statistics import mean_interval
from enhance.console import progress
from enhance.data.store import Store
from enhance.errors import EnhanceError
from enhance.files import replacing
from enhance.inference.denoise import in_use, two_seconds
from enhance.inference.linked import linked_masks
from enhance.inference.separate import separated
from enhance.inference.spectral import through
from enhance.inference.wiener import wiener_filter
from enhance.metrics.si_sdr import si_sdr
from enhance.models.checkpoint import load_model
from enhance.training.validate_sources import mixtures

HERE = Path(__file__).parent
RESULTS = "stereo.json"  # read by run.py
CPU = torch.device("cpu")
SOURCES = ("speech", "music")
PLACES = {  # gains of speech and of music on the left and the right, in dB
    "voice 6 dB to the left, music in the middle": ((0.0, -6.0), (0.0, 0.0)),
    "voice 12 dB to the left, music 12 dB to the right": ((0.0, -12.0), (-12.0, 0.0)),
    "voice in the middle, music 6 dB to the left": ((0.0, 0.0), (0.0, -6.0)),
}
WAYS = {
    "one by one": (),
    "shared": ("linked",),
    "one by one, --wiener": ("wiener",),
    "shared, --wiener": ("linked", "wiener"),
}


def placed(wave: np.ndarray, gains_db: tuple[float, float]) -> np.ndarray:
    """``(time,)`` to ``(2, time)``."""
    return np.array([[10 ** (gain / 20)] for gain in gains_db], dtype=np.float32) * wave.reshape(1, -1)


def estimates(mixture: np.ndarray, rate: int, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """What each way makes of a mixture ``(2, time)``: speech and music, ``(2, 2, time)``."""
    blocks, sources = two_seconds(mixture, rate), list(model.sources)  # pyright: ignore[reportArgumentType]
    with in_use(model, CPU):
        alone = list(separated(blocks, model, rate, 2, CPU, sources, independent=True))
    found = {}
    for way, stages in WAYS.items():
        pairs = iter(alone)
        for stage in stages:
            make = {"linked": linked_masks, "wiener": wiener_filter}[stage]
            pairs = through(make(len(sources), 2, rate), pairs)
        parts = np.concatenate([part for _, part in pairs], axis=1).reshape(len(sources), 2, -1)
        found[way] = np.stack([parts[sources.index(name)] for name in SOURCES])
    return found


def moved(source: np.ndarray, estimate: np.ndarray) -> float:
    """By how much the level difference of its channels differs from that of the source, in dB."""
    left, right = (abs(np.dot(part, true)) / np.dot(true, true) for part, true in zip(estimate, source, strict=True))
    return float(abs(20 * np.log10(max(right, 1e-6) / max(left, 1e-6))))


def rows_of(store: Store, model: torch.nn.Module, clips: int, seconds: float) -> list[dict[str, Any]]:
    """Of each clip, place, way and source: how far it moved, and the SI-SDR gained over both channels."""
    rows = []
    there = {"speech": 1.0, "music": 1.0, "noise": 0.0}
    found = mixtures(store, "test", there, {"noise": 1.0}, (0.0, 0.0), clips, seconds)  # pyright: ignore[reportArgumentType]
    with progress("{task.completed}/{task.total}") as bar:
        for example in bar.track(found, total=clips, description="stereo"):
            for place, gains in PLACES.items():
                true = np.stack([placed(wave, gain) for wave, gain in zip(example.target, gains, strict=False)])
                mixture = true.sum(0)
                for way, both in estimates(mixture, store.sample_rate, model).items():
                    for name, source, estimate in zip(SOURCES, true, both, strict=True):
                        flat = [wave.reshape(-1) for wave in (source, estimate, mixture)]
                        gained = si_sdr(flat[0], flat[1]) - si_sdr(flat[0], flat[2])
                        rows.append(
                            {
                                "place": place,
                                "way": way,
                                "source": name,
                                "moved": moved(source, estimate),
                                "gained": gained,
                            }
                        )
    return rows


def summary(rows: list[dict[str, Any]], keys: tuple[str, ...] = ("place", "way", "source")) -> list[dict[str, Any]]:
    """Means with 95 % intervals, for each place, way and source, in the order in which they come."""
    found = []
    for group in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        of = [row for row in rows if tuple(row[key] for key in keys) == group]
        scores = {name: mean_interval([row[name] for row in of]) for name in ("moved", "gained")}
        found.append({**dict(zip(keys, group, strict=True)), **scores})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="separator-m", help="name or checkpoint")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--output", type=Path, default=HERE)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        store, model = Store(arguments.data), load_model(arguments.model)
        rows = rows_of(store, model, arguments.clips, arguments.seconds)
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    found = {
        "data": store.fingerprint,
        "model": arguments.model,
        "clips": arguments.clips,
        "seconds": arguments.seconds,
    }
    with replacing(arguments.output / RESULTS) as temporary:
        temporary.write_text(json.dumps({**found, "rows": summary(rows)}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {arguments.output / RESULTS}; run.py --report makes the page of it")


if __name__ == "__main__":
    main()
