"""Speech enhancement: ``enhance.denoise(wave, sample_rate)`` and the command line ``enhance``.

``load_model(name_or_path)`` gives a trained model, ``denoise(wave, sample_rate)`` cleans an array,
``separate(wave, sample_rate)`` takes one apart. They are imported on first use, so that ``import enhance`` costs
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enhance.inference.denoise import denoise as denoise
    from enhance.inference.separate import separate as separate
    from enhance.models.checkpoint import load_model as load_model

__version__ = "0.1.0"
__all__ = ["denoise", "load_model", "separate"]

_HOMES = {
    "denoise": "enhance.inference.denoise",
    "load_model": "enhance.models.checkpoint",
    "separate": "enhance.inference.separate",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'enhance' has no attribute {name!r}")
