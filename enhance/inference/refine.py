"""What a separator hears in the stems of a prepared data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from torch import nn

from enhance.data.stem_labels import Activity, Stem
from enhance.data.stem_store import StemStore, Track
from enhance.errors import EnhanceError
from enhance.inference.separate import separate

SEGMENT = 30  # seconds given to the model at once
QUIET = 1e-4  # of the energy of a stem's loudest second: -40 dB


def activities(
    store: StemStore, model: nn.Module, device: str = "auto", done: Callable[[], object] = lambda: None
) -> Iterator[tuple[Stem, Activity]]:
    """Every stem that sounds, and the activity of each source in it; ``done`` is called after each stem.

    The stem alone goes through the separator, as the sum of its files if it was prepared from several: none of them is
    judged by itself. Of each second the share of a source is that of its estimate in the energy of all estimates; the
    activity is the mean over the seconds that are at most 40 dB under the loudest one.
    EnhanceError for a model that does not give the sources of the store, or not at its channels.
    """
    sources: tuple[str, ...] = model.sources  # pyright: ignore[reportAssignmentType]
    if missing := [source for source in store.sources if source not in sources]:
        what = f"the model gives {', '.join(sources)}, but {store.folder} has {', '.join(missing)}"
        raise EnhanceError(what, "take a model that separates the same sources")
    for track in store.tracks:
        for number, label in enumerate(store.sources):
            energies = _energies(store, track, number, model, device)  # (seconds, sources)
            total = energies.sum(axis=1)
            if total.any():
                heard = energies[total > QUIET * total.max()]
                activity = (heard / heard.sum(axis=1, keepdims=True)).mean(axis=0)
                yield (track.id, label), dict(zip(sources, activity.tolist(), strict=True))
            done()


def _energies(store: StemStore, track: Track, number: int, model: nn.Module, device: str) -> np.ndarray:
    """Of the estimates of each source in each second of a stem, ``(seconds, sources)``."""
    rate, found = store.sample_rate, []
    for start in range(0, track.frames, SEGMENT * rate):
        wave = store.read(track, number, start, SEGMENT * rate)
        estimates = np.stack([*separate(wave, rate, model, device).values()])  # (S, C, T)
        power = np.square(estimates, dtype=np.float64).sum(axis=1)
        found.append(np.add.reduceat(power, np.arange(0, power.shape[1], rate), axis=1).T)
    return np.concatenate(found)
