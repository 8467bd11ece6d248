"""What the provenance in a checkpoint's header says of its training, with that of what it was started from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

Provenance = dict[str, Any]


def hours(provenance: Provenance) -> float:
    """Wall time of training."""
    return sum(run["hours"] for run in runs(provenance).values())


def steps(provenance: Provenance) -> int:
    """Updates of the weights."""
    return sum(run["step"] for run in runs(provenance).values())


def audio_hours(provenance: Provenance) -> float:
    """Mixtures seen, in hours of audio."""
    return sum(map(_own_audio_hours, runs(provenance).values()))


def runs(provenance: Provenance) -> dict[str, Provenance]:
    """All trainings that led to a checkpoint, each once, in its latest state, by a key of its own.

    Means of checkpoints, and modules, may have come from one: a run is known by its name, model, seed and start.
    """
    return _runs(provenance)[1]


def origins(found: Iterable[Provenance]) -> list[Provenance]:
    """Of what a mean was made of, that of the longest training, and those in which there is another one."""
    kept: list[Provenance] = []
    known: set[str] = set()
    for provenance in sorted(found, key=hours, reverse=True):
        new = {key for key, run in runs(provenance).items() if run["step"] and key not in known}
        if new or not kept:
            kept.append(provenance)
        known |= new
    return kept


def _runs(provenance: Provenance) -> tuple[str, dict[str, Provenance]]:
    """The key of the last training, and all of them."""
    init = provenance.get("init") or []  # nothing, one checkpoint, or several: one for each module, or for a mean
    before = [_runs(earlier) for earlier in (init if isinstance(init, list) else [init])]
    recipe = provenance["recipe"]
    identity = [*(recipe.get(key) for key in ("name", "model", "seed")), *sorted(key for key, _ in before)]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    found: dict[str, Provenance] = {}
    for run in [*(run for _, runs in before for run in runs.items()), (key, provenance)]:
        if run[0] not in found or found[run[0]]["step"] < run[1]["step"]:
            found[run[0]] = run[1]
    return key, found


def _own_audio_hours(run: Provenance) -> float:
    recipe = run["recipe"]
    batch = recipe["optim"]["batch"] * recipe["optim"].get("accumulate", 1)  # older recipes lack what was 1
    processes = recipe["run"].get("devices", 1) * recipe["run"].get("nodes", 1)
    return run["step"] * batch * processes * recipe["data"]["seconds"] / 3600
