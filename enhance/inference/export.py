"""A streaming model as one ONNX file, for programs without PyTorch.

The graph is one step of the stream: a ``chunk`` of one block and the state go in, ``estimates`` of one block
and the next state come out, Fourier transforms included. Each tensor of the state is an input of its own,
named by its place in it (``lstm.0.1``), zeros at the beginning; the output ``next.NAME`` is what to give as
``NAME`` with the next chunk. What else a program has to know is in the file's metadata:

``model, licence, producer``
    text,
``sample_rate, block, latency, channels``
    whole numbers: Hz, samples of a chunk, samples by which the estimates are late, channels of a chunk,
``sources, state``
    JSON: names along the second axis of ``estimates (1, sources, channels, block)``; name to shape.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enhance import __version__
from enhance.errors import EnhanceError
from enhance.files import remove_stale, replacing
from enhance.inference.chunks import flushed_denormals
from enhance.inference.live import check_streaming
from enhance.models.checkpoint import shipped

TOLERANCE = 1e-4  # largest difference from PyTorch; full scale is 1
CHECK_SECONDS = 10.0  # of sound through both before the file appears
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Step(nn.Module):
    """``stream`` with the state as a flat list of tensors, as ONNX has it."""

    def __init__(self, model: nn.Module, state: Any) -> None:
        super().__init__()
        self.model: Any = model
        self.state = state  # one to take the structure from

    def forward(self, chunk: Tensor, tensors: list[Tensor]) -> tuple[Tensor, ...]:
        estimates, state = self.model.stream(chunk, unflatten(self.state, iter(tensors)))
        return estimates, *flatten(state).values()


def flatten(state: Any, name: str = "") -> dict[str, Tensor]:
    """The tensors in dataclasses, lists and tuples in one another, named by their place; ``None`` is nothing.

    EnhanceError for anything else: a number, for instance, would become a constant of the graph.
    """
    if isinstance(state, Tensor):
        return {name or "state": state}
    if state is None:
        return {}
    found: dict[str, Tensor] = {}
    for key, value in _parts(state, name).items():
        found |= flatten(value, f"{name}.{key}" if name else key)
    return found


def unflatten(like: Any, tensors: Iterator[Tensor]) -> Any:
    """What :func:`flatten` took apart, built as ``like`` from tensors in its order."""
    if isinstance(like, Tensor):
        return next(tensors)
    if like is None:
        return None
    parts = {key: unflatten(value, tensors) for key, value in _parts(like, "").items()}
    return type(like)(**parts) if dataclasses.is_dataclass(like) else type(like)(parts.values())


def _parts(state: Any, name: str) -> dict[str, Any]:
    if dataclasses.is_dataclass(state):
        return {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    if type(state) in (list, tuple):
        return {str(number): value for number, value in enumerate(state)}
    what = f"the model's state holds {type(state).__name__} at {name or 'its top'}"
    raise EnhanceError(what, "an exported model keeps tensors only; take another, such as dcunet-s")


def export_onnx(model: nn.Module, name: str, target: Path, progress: Callable[[str], None] = lambda what: None) -> None:
    """Write ``model``, in evaluation mode on the CPU, to ``target``; ``name`` is that of the preset or checkpoint.

    The file appears when ONNX Runtime has given what PyTorch gives, to 1e-4, on ten seconds of noise and
    silence. EnhanceError if the model does not stream, if ONNX lacks one of its operators, if the results
    differ, or if a package is missing. ``progress`` is told what is being done.
    """
    check_streaming(model, name)
    check_packages()
    progress(f"translating {name}")
    program = translate(model, name)
    remove_stale([target])
    with replacing(target) as temporary:
        program.save(temporary)
        progress("comparing with PyTorch")
        try:
            difference = largest_difference(temporary, model, check_signal(model))
        except Exception as error:  # onnxruntime's have no class of their own
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            raise EnhanceError(f"{name}: ONNX Runtime cannot run it", str(error).strip().splitlines()[0]) from None
        if not difference <= TOLERANCE:  # NaN is not
            what = f"{name}: ONNX Runtime differs from PyTorch by {difference:.1e}"
            raise EnhanceError(what, f"at most {TOLERANCE:g} is allowed; nothing was written")


def check_packages() -> None:
    """EnhanceError if a package is missing."""
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError:
            hint = f"pip install {' '.join(PACKAGES)}"
            raise EnhanceError(f"export needs the package {package}", hint) from None


def translate(model: Any, name: str, blocks: int = 1) -> Any:
    """The ONNX program, with metadata, of one step of ``blocks`` blocks.

    EnhanceError, with the exporter's reason, if it cannot be made, or if the state holds more than tensors.
    """
    chunk = torch.zeros(1, model.channels, blocks * model.block)
    with torch.inference_mode():
        state = model.stream(chunk, None)[1]
    try:
        tensors = {key: torch.zeros(tensor.shape) for key, tensor in flatten(state).items()}
    except EnhanceError as error:
        raise EnhanceError(f"{name}: {error.what}", error.hint) from None
    try:
        with _quiet():
            program = torch.onnx.export(
                Step(model, state).eval(),
                (chunk, list(tensors.values())),
                input_names=["chunk", *tensors],
                output_names=["estimates", *(f"next.{key}" for key in tensors)],
                dynamo=True,
                optimize=False,  # it takes x + 1e-12 for x + 0, and silence becomes NaN; ONNX Runtime has its own
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise EnhanceError(f"{name}: ONNX cannot express it", reason) from None
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # the lines of source it comes from
    program.model.metadata_props.update(
        model=Path(name).name,
        licence="MIT" if name in shipped() else "that of its weights",
        producer=f"enhance {__version__}",
        sample_rate=str(model.sample_rate),
        block=str(chunk.shape[-1]),
        latency=str(model.latency),
        channels=str(model.channels),
        sources=json.dumps(list(model.sources)),
        state=json.dumps({key: list(tensor.shape) for key, tensor in tensors.items()}),
    )
    return program


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of packages that nobody needs here, and prints of graphs before it raises."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def check_signal(model: Any) -> np.ndarray:
    """Noise at the level of speech, silence, and loud noise: ``(channels, time)``, whole blocks."""
    blocks = round(CHECK_SECONDS * model.sample_rate / model.block)
    noise = np.random.default_rng(0).standard_normal((model.channels, blocks * model.block), dtype=np.float32)
    level = np.repeat(np.array([0.05, 0, 0.3], dtype=np.float32), -(-noise.shape[1] // 3))
    return noise * level[: noise.shape[1]]


def largest_difference(path: Path, model: Any, wave: np.ndarray) -> float:
    """Between the file in ONNX Runtime and the model in PyTorch, chunk by chunk of ``(channels, time)``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    tensors = [np.zeros(value.shape, dtype=np.float32) for value in session.get_inputs()[1:]]
    state, differences = None, []
    with torch.inference_mode(), flushed_denormals():
        for start in range(0, wave.shape[1], model.block):
            chunk = wave[None, :, start : start + model.block]
            estimates, *tensors = session.run(None, dict(zip(names, [chunk, *tensors], strict=True)))
            expected, state = model.stream(torch.from_numpy(chunk), state)
            differences.append(np.abs(np.asarray(estimates) - expected.numpy()).max())
    return float(np.max(differences))
