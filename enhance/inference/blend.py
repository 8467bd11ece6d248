"""Several separators as one: for each source a weighted sum of their estimates.

The blend of Danna-Sep (Yu and Cheuk 2021, arXiv 2112.03752). It is a TOML file that names the models (paths are
relative to the file) and gives each source its weights::

    [models]
    a = "separator-s"
    b = "other/best.safetensors"

    [weights.speech]
    a = 0.7
    b = 0.3
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import nn

from enhance.errors import EnhanceError
from enhance.files import replacing
from enhance.inference.chunks import Fifo
from enhance.inference.denoise import chain
from enhance.models.checkpoint import find, load_model

Weights = dict[str, dict[str, float]]  # source -> model -> weight
NAMELESS = re.compile(r"s\d+")  # talkers that each model, and each recording, has in an order of its own
TOLERANCE = 1e-3  # of the sum of weights


class Blend(nn.Module):
    """Models by name, of any rate and reach, and their weights. Each runs by itself: see :class:`Blended`.

    EnhanceError where a model lacks a source that it has a weight for, or models disagree on channels.
    """

    def __init__(self, models: Mapping[str, nn.Module], weights: Weights) -> None:
        super().__init__()
        self.models = nn.ModuleDict(models)
        self.weights = weights
        self.sources = tuple(weights)
        for source, shares in weights.items():
            for name in shares:
                if name not in models:
                    raise EnhanceError(f"weights.{source}.{name}: no such model", f"there are {', '.join(models)}")
                if source not in (gives := sources_of(models[name])):
                    raise EnhanceError(f"weights.{source}.{name}: it gives {', '.join(gives)}", "leave that out")
        joint = {model.channels for model in models.values() if model.channels != 1}
        if len(joint) > 1:
            raise EnhanceError(f"a blend of models of {sorted(map(str, joint))} channels", "take models of one kind")
        self.channels = joint.pop() if joint else 1


def sources_of(model: nn.Module) -> tuple[str, ...]:
    """The names of its estimates."""
    return model.sources  # pyright: ignore[reportReturnType]


class Blended:
    """A blend inside a file: blocks ``(channels, time)`` to pairs of input and estimates.

    Those are ``(sources * channels, time)``.
    """

    def __init__(
        self, blend: Blend, sample_rate: int, channels: int, device: torch.device, listen: float | None = None
    ) -> None:
        self.blend, self.channels = blend, channels
        self.chains = {
            name: chain(model, sample_rate, channels, device, listen=listen) for name, model in blend.models.items()
        }
        self.inputs = Fifo(channels)
        self.waiting = {name: Fifo(len(sources_of(model)) * channels) for name, model in blend.models.items()}

    def push(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next block to the next pair."""
        self.inputs.append(wave)
        for name, each in self.chains.items():
            self.waiting[name].append(each.push(wave)[1])
        return self._sums(min(map(len, self.waiting.values())))

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The rest of both."""
        for name, each in self.chains.items():
            self.waiting[name].append(each.finish()[1])
        return self._sums(len(self.inputs))

    def _sums(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        found = {}
        for name, model in self.blend.models.items():
            sources = sources_of(model)
            found[name] = dict(zip(sources, np.split(self.waiting[name].take(count), len(sources)), strict=True))
        sums = []
        for source, shares in self.blend.weights.items():
            total = np.zeros((self.channels, count), dtype=np.float32)
            for name, share in shares.items():
                total += np.float32(share) * found[name][source]
            sums.append(total)
        return self.inputs.take(count), np.concatenate(sums)


def load_blend(path: str | Path, device: str | torch.device = "cpu") -> Blend:
    """The blend of a TOML file, its models in evaluation mode; EnhanceError for a file that is none."""
    files, weights = read_blend(path)
    return Blend({name: load_model(file, device) for name, file in files.items()}, weights)


def read_blend(path: str | Path) -> tuple[dict[str, Path], Weights]:
    """The checkpoints of a blend by the names of its models, and the weights.

    EnhanceError for a file that is none, and for weights that are negative or not finite, or whose sum for a source is
    not one.
    """
    path = Path(path)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        names: dict[str, str] = {str(name): str(where) for name, where in found["models"].items()}
        weights: Weights = {
            source: {name: float(share) for name, share in shares.items()}
            for source, shares in found["weights"].items()
        }
    except OSError as error:
        raise EnhanceError(f"{path}: cannot be read ({error.strerror})", "give the file of a blend") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise EnhanceError(f"{path}: not a blend", "it has tables models and weights.SOURCE") from None
    if not names or not weights:
        raise EnhanceError(f"{path}: not a blend", "it names no models, or no sources")
    for source, shares in weights.items():
        for name, share in shares.items():
            if not 0 <= share < math.inf:
                raise EnhanceError(
                    f"{path}: weights.{source}.{name} is {share:g}", "give zero or more, with a sum of one"
                )
        if not any(shares.values()):
            raise EnhanceError(f"{path}: weights.{source}: none is above zero", "leave the source out, or give weights")
        if abs(sum(shares.values()) - 1) > TOLERANCE:
            what = f"{path}: weights.{source}: their sum is {sum(shares.values()):g}"
            raise EnhanceError(what, "make it one, or the source changes its level")
    return {name: find(str(_place(path, where))) for name, where in names.items()}, weights


def _place(blend: Path, model: str) -> Path | str:
    """A model named in a blend: a shipped one, or a checkpoint, by its way from the blend."""
    beside = blend.parent / model
    return beside if Path(model).suffix == ".safetensors" or beside.is_file() else model


def write_blend(path: Path, models: Mapping[str, str], weights: Weights) -> None:
    """The TOML file of a blend; strings and names are quoted as JSON does it, which TOML takes."""
    tables = {"models": models, **{f"weights.{json.dumps(source)}": shares for source, shares in weights.items()}}
    lines = []
    for title, table in tables.items():
        lines += [f"[{title}]", *(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in table.items()), ""]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")


def simplex_weights(products: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weights ``w ≥ 0`` with sum one and the least ``|t - Σ w_k e_k|²``.

    ``products`` are ``<e_j, e_k>``, ``targets`` are ``<e_k, t>``. For each subset of the models the solution with a sum
    of one is closed (the equations of a Lagrange multiplier); of those without negative weights the best is taken.
    """
    count = len(targets)
    best, lowest = np.full(count, 1 / count), np.inf
    for size in range(1, count + 1):
        for chosen in map(list, combinations(range(count), size)):
            equations = np.ones((size + 1, size + 1))
            equations[:size, :size], equations[size, size] = products[np.ix_(chosen, chosen)], 0
            solution = np.linalg.lstsq(equations, np.append(targets[chosen], 1.0), rcond=None)[0][:size]
            weights = np.zeros(count)
            weights[chosen] = solution
            error = weights @ products @ weights - 2 * weights @ targets
            if (solution >= 0).all() and error < lowest:
                best, lowest = weights, error
    return best
