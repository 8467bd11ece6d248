"""Checkpoints: one safetensors file with weights and a JSON header. Loading one executes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enhance.errors import EnhanceError
from enhance.files import replacing
from enhance.models import model_class, presets

FORMAT = 1
KEY = "enhance"  # the entry of the safetensors header that holds ours
DEFAULT = "hybrid"
PRETRAINED = Path(__file__).parent.parent / "pretrained"


def save(
    path: Path,
    model: nn.Module,
    arguments: Mapping[str, Any],
    provenance: Mapping[str, Any],
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write ``model`` (or ``weights`` in its place: an average of them) and how to build it again.

    ``arguments`` are the constructor's; ``provenance`` says where the weights come from: recipe, data
    fingerprint, hours, code, scores. Raises EnhanceError if a weight is not finite.
    """
    from safetensors.torch import save as serialise

    weights = weights or model.state_dict()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise EnhanceError(f"{path}: weight {name} is not finite", "not written; train with a lower rate")
    header = {
        "format": FORMAT,
        "model": type(model).__name__,
        "arguments": dict(arguments),
        "sample_rate": model.sample_rate,
        "sources": list(model.sources),  # pyright: ignore[reportArgumentType]
        "provenance": dict(provenance),
    }
    with replacing(path) as temporary:
        temporary.write_bytes(serialise(tensors, metadata={KEY: json.dumps(header)}))


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a checkpoint; EnhanceError if the file is not one of ours."""
    from safetensors import SafetensorError, safe_open

    hint = "give a name that `enhance models` lists, or a .safetensors file that `enhance train` wrote"
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "not a checkpoint"
        raise EnhanceError(f"{path}: {reason}", hint) from None
    if KEY not in metadata:
        raise EnhanceError(f"{path}: safetensors, but not a checkpoint of enhance", hint)
    try:
        header = json.loads(metadata[KEY])
        newer = header["format"] > FORMAT
        _ = header["model"], header["arguments"], header["sample_rate"], header["sources"], header["provenance"]
    except (ValueError, KeyError, TypeError):
        raise EnhanceError(f"{path}: its header is damaged", hint) from None
    if newer:
        what = f"{path}: written by a newer enhance (format {header['format']})"
        raise EnhanceError(what, "upgrade enhance")
    return header


def shipped() -> dict[str, Path]:
    """The presets whose weights are in the package: name to file."""
    return {
        name: PRETRAINED / f"{name}.safetensors" for name in presets() if (PRETRAINED / f"{name}.safetensors").is_file()
    }


def shipped_denoisers() -> tuple[str, ...]:
    """The names of those that give one estimate, the default first."""
    names = (name for name, path in shipped().items() if len(read_header(path)["sources"]) == 1)
    return tuple(sorted(names, key=lambda name: name != DEFAULT))


def find(name: str) -> Path:
    """The checkpoint of a shipped model, or the file of that path; EnhanceError if there is neither."""
    if (path := Path(name)).suffix == ".safetensors" or path.is_file():
        return path
    weights = shipped()
    if name in weights:
        return weights[name]
    if name in presets():
        raise EnhanceError(
            f"model {name!r} has no shipped weights",
            f"train it and give the .safetensors file, or take {DEFAULT!r}",
        )
    import difflib

    near = difflib.get_close_matches(name, weights, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`enhance models` lists what there is"
    raise EnhanceError(f"unknown model {name!r}", hint)


def load_model(name: str | Path = DEFAULT, device: str | torch.device = "cpu") -> nn.Module:
    """A trained model in evaluation mode, by the name of a shipped one or by the path of a checkpoint.

    Raises EnhanceError for an unknown name, a file that is not a checkpoint of this package, or weights
    that do not fit the model.
    """
    from safetensors.torch import load_file

    path = find(str(name))
    header = read_header(path)
    try:
        model = model_class(header["model"])(**header["arguments"])
    except (TypeError, EnhanceError) as error:
        raise EnhanceError(f"{path}: cannot build its model", str(error)) from None
    weights = load_file(path)
    if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
        raise EnhanceError(f"{path}: its weights are not finite", "take another checkpoint")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise EnhanceError(f"{path}: weights do not fit {header['model']}", reason) from None
    return model.eval().to(device)
