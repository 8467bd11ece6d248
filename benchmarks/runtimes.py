"""The exported model in ONNX Runtime beside PyTorch, and live use: differences and times on one thread.

usage: runtimes.py [--model NAME_OR_CHECKPOINT] [--json FILE]

The difference is the largest over ten minutes of the committed example at three levels, the exported file block
by block against PyTorch in chunks. Times are processor time; the real-time factor is that per second of audio.
Chunks of ten seconds are what `enhance denoise` uses, blocks what a live program does. `benchmarks/report.py` makes
the table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from enhance.audio import read, resample
from enhance.inference.chunks import flushed_denormals
from enhance.inference.export import export_onnx, translate
from enhance.inference.live import Live
from enhance.models.checkpoint import load_model

EXAMPLE = Path(__file__).parent.parent / "examples" / "noisy.wav"
MINUTES = 10
CHUNK = 625  # blocks of 16 ms: ten seconds
REPEATS = {1: 3000, CHUNK: 10}  # blocks in a chunk -> runs of it
LIVE_SECONDS = 20


def example(rate: int, seconds: float) -> np.ndarray:
    """The example at that rate, repeated to that length at 0, -20 and -40 dB in turn: ``(1, time)``."""
    wave, example_rate = read(EXAMPLE)
    wave = resample(wave, example_rate, rate)
    turns = [gain * wave for gain in (1.0, 0.1, 0.01)]
    count = -(-round(seconds * rate) // (3 * wave.shape[1]))
    return np.concatenate(turns * count, axis=1)[:, : round(seconds * rate)].astype(np.float32)


def timed(step: Callable[[np.ndarray], np.ndarray], chunks: list[np.ndarray]) -> list[float]:
    """Processor time (ms) of each step, after a few that do not count."""
    times = []
    for chunk in [*chunks[:3], *chunks]:
        began = time.process_time()
        step(chunk)
        times.append(1000 * (time.process_time() - began))
    return times[3:]


def in_pytorch(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The next chunk ``(1, channels, time)`` to estimates, by PyTorch."""
    state = None

    def step(chunk: np.ndarray) -> np.ndarray:
        nonlocal state
        with torch.inference_mode(), flushed_denormals():
            estimates, state = model.stream(torch.from_numpy(chunk), state)
        return estimates.numpy()

    return step


def in_onnxruntime(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The same by ONNX Runtime, from an exported file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    tensors = [np.zeros(value.shape, dtype=np.float32) for value in session.get_inputs()[1:]]

    def step(chunk: np.ndarray) -> np.ndarray:
        nonlocal tensors
        estimates, *tensors = session.run(None, dict(zip(names, [chunk, *tensors], strict=True)))
        return np.asarray(estimates)

    return step


def largest_difference(path: Path, model: Any, wave: np.ndarray) -> float:
    """Between the file block by block and PyTorch in chunks, over ``(channels, time)``, whole blocks."""
    exported, ours, found = in_onnxruntime(path), in_pytorch(model), 0.0
    for start in range(0, wave.shape[1], CHUNK * model.block):
        chunk = np.ascontiguousarray(wave[None, :, start : start + CHUNK * model.block])
        blocks = np.split(chunk, chunk.shape[2] // model.block, axis=2)
        estimates = np.concatenate([exported(np.ascontiguousarray(block)) for block in blocks], axis=-1)
        found = np.maximum(found, np.abs(estimates - ours(chunk)).max())  # NaN stays
    return float(found)


def row(name: str, times: list[float], milliseconds: float) -> dict[str, float | str]:
    """Median and 99th percentile of the time that a chunk of so many milliseconds takes; printed as well."""
    median, p99 = np.percentile(times, [50, 99])
    found = {"name": name, "chunk_ms": milliseconds, "median_ms": median, "p99_ms": p99, "rtf": median / milliseconds}
    print(f"{name:34} {milliseconds:7.1f} ms: median {median:8.3f}  p99 {p99:8.3f}  RTF {found['rtf']:.4f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dcunet-s")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model: Any = load_model(arguments.model)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, arguments.model, path)
        bytes_ = path.stat().st_size
        wave = example(model.sample_rate, 60 * MINUTES)
        wave = wave[:, : wave.shape[1] // model.block * model.block]
        difference = largest_difference(path, model, wave)
        print(f"{arguments.model}: {bytes_} bytes, {difference:.1e} from PyTorch over {MINUTES} minutes", flush=True)
        for blocks, repeats in REPEATS.items():
            samples = blocks * model.block
            chunks = np.split(np.tile(wave, (1, 2))[:, : repeats * samples], repeats, axis=1)
            chunks = [np.ascontiguousarray(chunk[None]) for chunk in chunks]
            if blocks > 1:
                translate(model, arguments.model, blocks).save(path)
            for name, step in (("PyTorch", in_pytorch(model)), ("ONNX Runtime", in_onnxruntime(path))):
                rows.append(row(name, timed(step, chunks), 1000 * samples / model.sample_rate))
    for rate in (16000, 44100, 48000):
        live = Live(model, rate, 1)
        wave = example(rate, LIVE_SECONDS)
        count = wave.shape[1] // live.block
        chunks = np.split(wave[:, : count * live.block], count, axis=1)
        rows.append(row(f"enhance live, {rate} Hz", timed(live.push, chunks), 1000 * live.block / rate))
        rows[-1]["delay_ms"] = 1000 * (live.delay + live.block) / rate
    if arguments.json:
        found = {
            "model": arguments.model,
            "bytes": bytes_,
            "difference": difference,
            "minutes": MINUTES,
            "times": rows,
        }
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
