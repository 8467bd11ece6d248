"""The weights of a blend, by least squares over recordings whose sources are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import nn

from enhance.errors import EnhanceError
from enhance.inference.blend import NAMELESS, Weights, simplex_weights, sources_of
from enhance.inference.separate import separate


class Known(NamedTuple):
    """A mixture and its sources, all ``(channels, time)``, and their rate in Hz."""

    mixture: np.ndarray
    sources: dict[str, np.ndarray]
    sample_rate: int


class Fit(NamedTuple):
    """Weights, and by source the error over the energy of the mixtures, in dB, of each model and of ``blend``."""

    weights: Weights
    errors: dict[str, dict[str, float]]


def fit(models: Mapping[str, nn.Module], known: Iterable[Known], device: str = "auto") -> Fit:
    """For each source the weights of the models that give it, on the simplex; each mixture counts as one.

    EnhanceError where nothing is known of a source that a model gives, or sources are ``s1``, ``s2``, ...: talkers in
    no order, so that what one model calls ``s1`` need not be the ``s1`` of another, or of the recording.
    """
    names: dict[str, list[str]] = {}  # source -> models that give it
    for name, model in models.items():
        for source in sources_of(model):
            names.setdefault(source, []).append(name)
    if nameless := [source for source in names if NAMELESS.fullmatch(source)]:
        what = f"{', '.join(nameless)}: talkers in no order, which cannot be summed"
        raise EnhanceError(what, "blend models whose sources have names; of these take the best one alone")
    sums = {source: _Sums(len(giving)) for source, giving in names.items()}
    independent = any(model.channels != 1 for model in models.values())  # as a blend of such is
    for mixture, sources, sample_rate in known:
        estimates = {
            name: separate(mixture, sample_rate, model, device, independent=independent)
            for name, model in models.items()
        }
        for source, target in sources.items():
            if source in names:
                sums[source].add([estimates[name][source] for name in names[source]], target, mixture)
    unknown = [source for source, found in sums.items() if not found.count]
    if unknown:
        raise EnhanceError(f"nothing is known of {', '.join(unknown)}", "give recordings with these sources")
    weights = {source: found.weights() for source, found in sums.items()}
    return Fit(
        {source: dict(zip(names[source], map(float, found), strict=True)) for source, found in weights.items()},
        {
            source: {
                **{name: found.error_db(np.eye(found.size)[k]) for k, name in enumerate(names[source])},
                "blend": found.error_db(weights[source]),
            }
            for source, found in sums.items()
        },
    )


class _Sums:
    """Products of ``size`` estimates with one another and with their target, over the energy of the mixture."""

    def __init__(self, size: int) -> None:
        self.size, self.count = size, 0
        self.products, self.targets, self.energy = np.zeros((size, size)), np.zeros(size), 0.0

    def add(self, estimates: Sequence[np.ndarray], target: np.ndarray, mixture: np.ndarray) -> None:
        rows, wanted = np.stack([wave.ravel() for wave in estimates]).astype(np.float64), target.ravel()
        scale = max(np.square(mixture, dtype=np.float64).sum(), 1e-12)
        self.products += rows @ rows.T / scale
        self.targets += rows @ wanted / scale
        self.energy += np.square(wanted, dtype=np.float64).sum() / scale
        self.count += 1

    def weights(self) -> np.ndarray:
        return simplex_weights(self.products, self.targets)

    def error_db(self, weights: np.ndarray) -> float:
        error = weights @ self.products @ weights - 2 * weights @ self.targets + self.energy
        return float(10 * np.log10(max(error / self.count, 1e-12)))
