"""Systems under test: the untouched mixture, models, and folders of estimates that other tools wrote."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from enhance.audio import read
from enhance.bench.align import find_delay, shift
from enhance.bench.layouts import is_sound
from enhance.bench.pairs import estimate_path
from enhance.bench.records import UNTOUCHED, Clip
from enhance.errors import EnhanceError

MOST_DELAY = 1.0  # s, either way, that --align looks for
ABOUT = "system.json"  # beside the estimates of another tool: what it is and what it costs
SCORES = "scores.jsonl"  # in place of its estimates: the records of an earlier run
FACTS: dict[str, Callable[[Any], Any]] = {  # of a system, and what they are
    "rtf": float, "parameters": int, "macs_per_second": float, "latency_ms": float,
    "version": str, "licence": str, "note": str,
}  # fmt: skip


@dataclass(frozen=True)
class System:
    """Something that makes estimates.

    ``where`` is a model's name or file, the file of a blend of models, or the folder of estimates or scores.
    """

    name: str
    kind: Literal["mixture", "model", "estimates"]
    where: str = ""
    facts: dict[str, Any] = field(default_factory=dict, hash=False)  # for the table: see FACTS
    precision: str = "32-true"  # of a model, see :mod:`enhance.nn.precision`


def find_systems(models: Sequence[str], estimates: Sequence[str], precision: str = "32-true") -> list[System]:
    """The untouched mixture, the models (names, checkpoints, blends), the folders of estimates (``[NAME=]DIR``).

    EnhanceError for an unknown model, a missing folder, or two systems of one name.
    """
    named = [replace(_model(name), precision=precision) for name in models]
    labels = [system.name for system in named]
    named = [replace(system, name=system.where) if labels.count(system.name) > 1 else system for system in named]
    found = [System(UNTOUCHED, "mixture"), *named, *map(_folder, estimates)]
    names = [system.name for system in found]
    for name in names:
        if names.count(name) > 1:
            raise EnhanceError(f"two systems are called {name!r}", "name a folder of estimates with NAME=DIR")
    return found


def _is_blend(where: str) -> bool:
    return Path(where).suffix.lower() == ".toml"


def _load(where: str, device: str = "cpu") -> Any:
    from enhance.inference.blend import load_blend
    from enhance.models.checkpoint import load_model

    return (load_blend if _is_blend(where) else load_model)(where, device)


def _model(name: str) -> System:
    from enhance.models.checkpoint import find
    from enhance.models.cost import macs_per_second, parameters

    model = _load(name)
    if _is_blend(name):
        costs = {"macs_per_second": sum(map(macs_per_second, model.models.values()))}
        return System(Path(name).stem, "model", name, {"parameters": parameters(model), **costs})
    path = find(name)
    label = name if Path(name) != path else f"{path.parent.name}/{path.stem}"
    facts = {"parameters": parameters(model), "macs_per_second": macs_per_second(model)}
    if hasattr(model, "latency"):
        facts["latency_ms"] = 1000 * (model.latency + model.block) / model.sample_rate
    return System(label, "model", name, facts)


def _folder(text: str) -> System:
    name, _, where = ("", "", text) if Path(text).is_dir() else text.partition("=") if "=" in text else ("", "", text)
    folder = Path(where)
    if not folder.is_dir():
        raise EnhanceError(f"{folder}: no such folder", "--estimates takes [NAME=]FOLDER, one file a clip in it")
    about: dict[str, Any] = {}
    if (folder / ABOUT).is_file():
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            facts = {key: FACTS[key](about[key]) for key in FACTS if about.get(key) is not None}
        except (ValueError, TypeError, AttributeError):
            what = f"{folder / ABOUT}: not a JSON object, or numbers in it are none"
            raise EnhanceError(what, "repair it, or delete it") from None
    else:
        facts = {}
    return System(name or str(about.get("name") or folder.resolve().name), "estimates", where, facts)


def identity(system: System) -> str:
    """What changes when the system does: a hash of checkpoints and precision, or of the estimates' sizes and times."""
    if system.kind == "mixture":
        return ""
    digest = hashlib.sha256()
    if system.kind == "model":
        from enhance.inference.blend import read_blend
        from enhance.models.checkpoint import find

        if _is_blend(system.where):
            files = [Path(system.where), *read_blend(system.where)[0].values()]
        else:
            files = [find(system.where)]
        for file in files:
            digest.update(file.read_bytes())
        if system.precision != "32-true":
            digest.update(system.precision.encode())
    else:
        folder = Path(system.where)
        if (folder / SCORES).is_file():
            digest.update((folder / SCORES).read_bytes())
        for path in sorted(folder.rglob("*")):
            if is_sound(path):
                about = path.stat()
                digest.update(f"{path.relative_to(folder)} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


@dataclass
class Estimate:
    """Waves ``(channels, time)`` by source, and the CPU seconds that they took on one thread, if we know."""

    waves: dict[str, np.ndarray]
    cpu_seconds: float | None = None
    delays: dict[str, float] = field(default_factory=dict)  # s, by source: what --align took out


def estimate(
    system: System, clip: Clip, mixture: np.ndarray, sample_rate: int, sources: Sequence[str], device: str, align: bool
) -> Estimate:
    """What ``system`` makes of ``mixture`` ``(channels, time)``; ``sources`` are those that are wanted.

    With ``align``, a constant delay of the estimates of other tools is taken out, and their length made that of
    the mixture. EnhanceError for what cannot be had: a missing file, another rate, another length.
    """
    if system.kind == "mixture":
        return Estimate(dict.fromkeys(sources, mixture))
    if system.kind == "model":
        return _run(system, mixture, sample_rate, sources, device)
    paths = {source: estimate_path(Path(system.where), clip, source, len(sources)) for source in sources}
    made = Estimate({})
    for source, path in paths.items():
        made.waves[source], delay = _read(path, mixture, sample_rate, align)
        if align:
            made.delays[source] = delay
    return made


@cache
def _loaded(name: str, device: str, precision: str) -> Any:
    from enhance.inference.precision import with_precision
    from enhance.inference.separate import separate

    model: Any = with_precision(_load(name, device), precision)
    silence = np.zeros((model.channels, 16000), dtype=np.float32)
    separate(silence, 16000, model, device)  # the first run prepares things: not to be timed
    return model


def _run(system: System, mixture: np.ndarray, sample_rate: int, sources: Sequence[str], device: str) -> Estimate:
    from enhance.inference.separate import separate

    model = _loaded(system.where, device, system.precision)
    began = time.process_time()
    waves = separate(mixture, sample_rate, model, device)
    elapsed = time.process_time() - began
    return Estimate({source: waves[source] for source in sources}, elapsed if device == "cpu" else None)


def _read(path: Path, mixture: np.ndarray, sample_rate: int, align: bool) -> tuple[np.ndarray, float]:
    """``(channels, time)`` of a file, and the delay (s) that was taken out of it."""
    wave, rate = read(path)
    if rate != sample_rate:
        raise EnhanceError(f"{path}: {rate} Hz, but the clip has {sample_rate} Hz", "resample it")
    if len(wave) != len(mixture):
        raise EnhanceError(f"{path}: {len(wave)} channels, but the clip has {len(mixture)}", "give as many")
    length = mixture.shape[1]
    if align:
        delay = find_delay(mixture.mean(0), wave.mean(0), round(MOST_DELAY * sample_rate))
        return np.stack([shift(channel, delay, length) for channel in wave]), delay / sample_rate
    if wave.shape[1] != length:
        more = wave.shape[1] - length
        what = f"{path}: {abs(more)} samples {'longer' if more > 0 else 'shorter'} than the clip"
        raise EnhanceError(what, "cut or pad it, or take out a constant delay with --align")
    return wave, 0.0


def check_sources(systems: Iterable[System], clips: Iterable[Clip]) -> None:
    """EnhanceError for a model that does not give the sources which the clips have references of."""
    wanted = list(dict.fromkeys(source for clip in clips for source in clip.references)) or ["speech"]
    for system in systems:
        if system.kind == "model" and not set(wanted) <= set(gives := _sources(system.where)):
            what = f"{system.name} gives {', '.join(gives)}, but the references are {', '.join(wanted)}"
            raise EnhanceError(what, "name other --models, or --estimates")


def _sources(where: str) -> Sequence[str]:
    from enhance.inference.blend import read_blend
    from enhance.models.checkpoint import find, read_header

    return list(read_blend(where)[1]) if _is_blend(where) else read_header(find(where))["sources"]
