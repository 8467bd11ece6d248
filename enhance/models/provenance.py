"""What the provenance in a checkpoint's header says of its training, with that of what it was started from."""

from __future__ import annotations

from typing import Any


def hours(provenance: dict[str, Any]) -> float:
    """Wall time of training."""
    return provenance["hours"] + sum(map(hours, _before(provenance)))


def steps(provenance: dict[str, Any]) -> int:
    """Updates of the weights."""
    return provenance["step"] + sum(map(steps, _before(provenance)))


def audio_hours(provenance: dict[str, Any]) -> float:
    """Mixtures seen, in hours of audio."""
    recipe = provenance["recipe"]
    batch = recipe["optim"]["batch"] * recipe["optim"].get("accumulate", 1)  # older recipes lack what was 1
    processes = recipe["run"].get("devices", 1) * recipe["run"].get("nodes", 1)
    own = provenance["step"] * batch * processes * recipe["data"]["seconds"] / 3600
    return own + sum(map(audio_hours, _before(provenance)))


def _before(provenance: dict[str, Any]) -> list[dict[str, Any]]:
    """Of what the training started from: nothing, one checkpoint, or one for each module."""
    found = provenance.get("init") or []
    return found if isinstance(found, list) else [found]
