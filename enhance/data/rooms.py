"""Simulated room impulse responses (image sources and ray tracing, by pyroomacoustics)."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from enhance.console import warn
from enhance.errors import EnhanceError


def simulator() -> ModuleType:
    """The package pyroomacoustics; EnhanceError where it is not installed."""
    try:
        import pyroomacoustics
    except ImportError:
        raise EnhanceError("--rooms needs pyroomacoustics", "pip install pyroomacoustics, or give --rooms 0") from None
    return pyroomacoustics


def count(asked: int | None, usual: int) -> int:
    """Rooms to simulate: as many as asked for, else the usual number, or none where pyroomacoustics is missing."""
    if asked is not None:
        return asked
    try:
        simulator()
    except EnhanceError:
        warn("no simulated rooms are added, for want of pyroomacoustics: pip install pyroomacoustics")
        return 0
    return usual


def simulate(seed: int, sample_rate: int) -> np.ndarray:
    """The response ``(time,)``, float32, of a random box-shaped room, cut to begin with the direct sound.

    Sides of 3 to 10 m, height 2.3 to 4 m, reverberation time 0.15 to 0.9 s; the same seed gives the same
    room. Raises EnhanceError where pyroomacoustics is not installed.
    """
    pra = simulator()
    rng = np.random.default_rng(seed)
    pra.random.seed(seed)  # ray tracing draws from its own generator
    while True:
        size = rng.uniform([3, 3, 2.3], [10, 8, 4])
        try:
            absorption, order = pra.inverse_sabine(rng.uniform(0.15, 0.9), size)
            break
        except ValueError:  # too large for so short a reverberation: take another one
            continue
    room = pra.ShoeBox(
        size,
        fs=sample_rate,
        materials=pra.Material(absorption),
        max_order=min(order, 17),
        ray_tracing=True,
        air_absorption=True,
    )
    microphone, source = rng.uniform(0.5, size - 0.5), rng.uniform(0.5, size - 0.5)
    while np.linalg.norm(source - microphone) < 0.5:
        source = rng.uniform(0.5, size - 0.5)
    room.add_source(source)
    room.add_microphone(microphone)
    room.compute_rir()
    assert room.rir is not None
    return from_direct_sound(np.asarray(room.rir[0][0], dtype=np.float32))


def from_direct_sound(response: np.ndarray) -> np.ndarray:
    """A response ``(time,)`` without the silence before its largest peak, scaled so that this peak is one.

    In the place of a silent one stands that peak alone: what is in no room stays as it is.
    """
    if not response.any():
        return np.ones(1, np.float32)
    peak = int(np.abs(response).argmax())
    return response[peak:] / response[peak]
