"""What the provenance in a checkpoint's header says of its training, with that of what it was started from."""

from __future__ import annotations

from typing import Any


def hours(provenance: dict[str, Any]) -> float:
    """Wall time of training."""
    return provenance["hours"] + (hours(provenance["init"]) if provenance.get("init") else 0.0)


def audio_hours(provenance: dict[str, Any]) -> float:
    """Mixtures seen, in hours of audio."""
    recipe = provenance["recipe"]
    batch = recipe["optim"]["batch"] * recipe["optim"].get("accumulate", 1)  # older recipes lack what was 1
    processes = recipe["run"].get("devices", 1) * recipe["run"].get("nodes", 1)
    own = provenance["step"] * batch * processes * recipe["data"]["seconds"] / 3600
    return own + (audio_hours(provenance["init"]) if provenance.get("init") else 0.0)
