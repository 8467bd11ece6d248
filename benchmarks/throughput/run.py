"""How much audio an hour of a machine denoises, where the time goes, and what many short files cost.

usage: run.py [--jobs 2] [--model NAME_OR_CHECKPOINT]
       run.py --report

Everything is made of the committed example, repeated. Wants an idle machine: times are wall times of whole commands
with one thread a process, but those of the stages, which are processor times within one process. Writes results.json
and README.md here; ``--report`` makes the latter again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))  # of benchmarks/
from footprint import write_case
from throughput.tables import HERE, RESULTS, readme

from enhance import audio
from enhance.inference.denoise import denoised
from enhance.models.checkpoint import load_model
from enhance.training.setup import code_version

SHORT, SHORT_SECONDS = 1000, 2
MANY, MANY_MINUTES = 8, 30
STAGE_MINUTES = 4
CPU = torch.device("cpu")
CASES = [(16000, 1, "wav", "PCM_16"), (44100, 2, "flac", "PCM_24")]  # rate, channels, ending, subtype


class Nothing(nn.Module):
    """A stream that gives back what it gets: what is left of denoising is not the model."""

    sources = ("speech",)
    channels = 1
    latency = 0

    def __init__(self, like: Any) -> None:
        super().__init__()
        self.sample_rate, self.block = like.sample_rate, like.block

    def stream(self, chunk: Tensor, state: None) -> tuple[Tensor, None]:
        return chunk[:, None], state


def command(inputs: Path, output: Path, jobs: int, model: str) -> float:
    """Wall time (s) of ``enhance denoise``."""
    arguments = ["denoise", str(inputs), "-o", str(output), "--model", model, "--jobs", str(jobs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "enhance.cli", *arguments], env=environment, check=True, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def processor_time(work: Callable[[], object]) -> float:
    """Seconds of this process; the better one of two."""
    times = []
    for _ in range(2):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def stages(folder: Path, model: Any, rate: int, channels: int, ending: str, subtype: str) -> dict[str, Any]:
    """Where the time of one file goes, seconds of processor time a minute of audio."""
    source = folder / f"stages.{ending}"
    write_case(source, STAGE_MINUTES, rate, channels, subtype)

    def blocks() -> list[np.ndarray]:
        with audio.opened(source) as reader:
            return list(audio.blocks(reader, 2 * rate))

    read = blocks()
    whole = np.concatenate(read, axis=1)

    def through(network: nn.Module) -> None:
        for _ in denoised(read, network, rate, channels, CPU, 1.0):
            pass

    rest = processor_time(lambda: through(Nothing(model)))
    found = {
        "decode": processor_time(blocks),
        "resample": rest,
        "model": processor_time(lambda: through(model)) - rest,
        "encode": processor_time(lambda: audio.write(folder / f"encoded.{ending}", whole, rate, subtype)),
    }
    return {
        "rate": rate,
        "channels": channels,
        "format": f"{ending} {subtype}",
        "seconds_a_minute": {name: seconds / STAGE_MINUTES for name, seconds in found.items()},
    }


def measure(jobs: int, model: str) -> dict[str, Any]:
    """All of it, ready for JSON."""
    torch.set_num_threads(1)
    network: Any = load_model(model)
    rate = network.sample_rate
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = [stages(folder, network, *case) for case in CASES]
        for number in range(MANY):
            (folder / "many").mkdir(exist_ok=True)
            write_case(folder / "many" / f"{number}.wav", MANY_MINUTES, rate, 1, "PCM_16")
        alone = {count: command(folder / "many", folder / f"done-{count}", count, model) for count in (1, jobs)}
        total = SHORT * SHORT_SECONDS
        write_case(folder / "long.wav", -(-total // 60), rate, 1, "PCM_16")
        wave, _ = audio.read(folder / "long.wav")
        (folder / "short").mkdir()
        for number in range(SHORT):
            start = number * SHORT_SECONDS * rate
            piece = wave[:, start : start + SHORT_SECONDS * rate]
            audio.write(folder / "short" / f"{number:04d}.wav", piece, rate, "PCM_16")
        audio.write(folder / "long.wav", wave[:, : total * rate], rate, "PCM_16")
        one = command(folder / "long.wav", folder / "long-done.wav", 1, model)
        short = command(folder / "short", folder / "short-done", 1, model)
    return {
        "model": model,
        "stages": parts,
        "processes": {
            "files": MANY,
            "minutes": MANY_MINUTES,
            "rows": [{"jobs": count, "seconds": seconds} for count, seconds in alone.items()],
        },
        "short": {"files": SHORT, "seconds": SHORT_SECONDS, "one_file": one, "short_files": short},
        "enhance": code_version(),
        "torch": torch.__version__,
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--model", default="dcunet-s")
    parser.add_argument("--report", action="store_true", help="README.md from results.json, and nothing else")
    arguments = parser.parse_args()
    if not arguments.report:
        found = measure(arguments.jobs, arguments.model)
        (HERE / RESULTS).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(readme(), encoding="utf-8")
    print(readme())


if __name__ == "__main__":
    main()
