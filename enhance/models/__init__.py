"""The registry: names of models and presets, and what a model promises.

A model is a :class:`torch.nn.Module` that maps a mixture ``(batch, channels, time)`` to estimates
``(batch, sources, channels, time)``, float32, full scale ±1, any length from one sample. It has

``sample_rate``
    in Hz,
``sources``
    names of the estimates, in order,
``channels``
    1 where channels are independent of one another (they are then processed as a batch), else their number,

and one of two declared reaches in time:

``context = (left, right)``
    an output sample depends on no input further away than this many samples. Where the model has strides over time, a
    part of a signal gives what the whole does only if it begins at a multiple of ``align`` samples (1 unless given); or
``stream(chunk, state) -> (estimates, state)`` with ``block`` and ``latency`` in samples
    chunks of a multiple of ``block`` samples; the state of the beginning is ``None``. Put together, the
    estimates are those of the whole signal, later by ``latency`` samples. Where it may hear the beginning of a file
    before it starts, it also has ``listen`` in seconds, ``hear(chunk, state)``, which gives the state alone, and
    ``restarted(state)`` (:mod:`enhance.models.listening`).

A cascade also has ``parts``, its modules by name, and ``estimates(mixture, trained)``, the estimate of each of them:
what an auxiliary loss and training in stages need.

Each file of this package that holds a model has a table ``PRESETS``: name to constructor arguments.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from enhance.errors import EnhanceError

# class name -> (module, citation)
REGISTRY: dict[str, tuple[str, str]] = {
    "CompactUNet": ("enhance.models.compact", "this project"),
    "DCUNet": ("enhance.models.dcunet", "arXiv 1903.03107"),
    "RecurrentHybrid": ("enhance.models.recurrent_hybrid", "MDPhD, arXiv 1812.08914"),
    "Hybrid": ("enhance.models.hybrid", "MDPhD, arXiv 1812.08914"),
}


@runtime_checkable
class Model(Protocol):
    """What the rest of the package relies on; see the text of this module."""

    sample_rate: int
    sources: tuple[str, ...]
    channels: int

    def __call__(self, mixture: Tensor) -> Tensor: ...


def model_class(name: str) -> type[nn.Module]:
    """The class of that name; EnhanceError if there is none."""
    if name not in REGISTRY:
        raise EnhanceError(f"unknown model class {name!r}", f"known are {', '.join(REGISTRY)}")
    return getattr(importlib.import_module(REGISTRY[name][0]), name)


def presets() -> dict[str, tuple[str, Mapping[str, Any]]]:
    """All presets: name to (class name, constructor arguments), in the order of the registry."""
    found = {}
    for name, (module, _) in REGISTRY.items():
        for preset, arguments in importlib.import_module(module).PRESETS.items():
            found[preset] = (name, arguments)
    return found


def create(preset: str, **overrides: Any) -> nn.Module:
    """A freshly initialised model of that preset, with some arguments replaced (:func:`constructor_arguments`).

    Raises EnhanceError for an unknown preset, naming the nearest known one, an unknown argument, or a value of one that
    the model cannot be built with.
    """
    known = presets()
    if preset not in known:
        near = difflib.get_close_matches(preset, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`enhance models` lists what there is"
        raise EnhanceError(f"unknown model {preset!r}", hint)
    try:
        return model_class(known[preset][0])(**constructor_arguments(preset, **overrides))
    except (TypeError, ValueError, IndexError, ArithmeticError, RuntimeError) as error:  # what wrong sizes raise
        raise EnhanceError(f"model {preset!r}", str(error)) from None


def constructor_arguments(preset: str, **overrides: Any) -> dict[str, Any]:
    """The constructor's arguments of a known preset, some of them replaced, in those that are tables key by key."""
    return _overlaid(presets()[preset][1], overrides)


def _overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        merged[key] = _overlaid(below[key], value) if both else value
    return merged
