"""Real-time factor and peak memory of ``enhance denoise`` on one thread, for short and long files.

usage: footprint.py [--json FILE] [--model NAME_OR_CHECKPOINT]

The files are the committed example, repeated. The real-time factor is CPU time of the whole process, start
and decoding included, per second of audio; memory is its largest resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from enhance.audio import read, resample
from enhance.models.checkpoint import DEFAULT

EXAMPLE = Path(__file__).parent.parent / "examples" / "noisy.wav"
CASES = [  # minutes, rate, channels, ending, subtype
    (1, 16000, 1, "wav", "PCM_16"),
    (10, 16000, 1, "wav", "PCM_16"),
    (60, 16000, 1, "wav", "PCM_16"),
    (10, 8000, 1, "wav", "PCM_16"),
    (10, 44100, 2, "flac", "PCM_24"),
    (60, 48000, 1, "wav", "PCM_24"),
]


def write_case(path: Path, minutes: int, rate: int, channels: int, subtype: str) -> None:
    """The example repeated to that length, at that rate, in all channels."""
    wave, example_rate = read(EXAMPLE)
    block = np.repeat(resample(wave, example_rate, rate), channels, axis=0).T
    with soundfile.SoundFile(path, "w", rate, channels, subtype) as file:
        for _ in range(round(minutes * 60 * rate / len(block))):
            file.write(block)


def measure(source: Path, target: Path, model: str) -> dict[str, float]:
    """CPU seconds and peak memory (MB) of denoising ``source``."""
    command = [sys.executable, "-m", "enhance.cli", "denoise", str(source), "-o", str(target), "--model", model]
    # Peak memory is inherited over a fork: a process of little memory stands in between.
    program = (
        "import json, resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(json.dumps([u.ru_utime + u.ru_stime, u.ru_maxrss]))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", program, *command], env=environment, check=True, capture_output=True)
    cpu, memory = json.loads(found.stdout)
    return {"cpu_seconds": cpu, "peak_mb": memory / (2**20 if sys.platform == "darwin" else 1024)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", default=DEFAULT)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes, rate, channels, ending, subtype in CASES:
            source, target = Path(folder) / f"in.{ending}", Path(folder) / f"out.{ending}"
            write_case(source, minutes, rate, channels, subtype)
            row = {"minutes": minutes, "rate": rate, "channels": channels, "format": f"{ending} {subtype}"}
            row |= measure(source, target, arguments.model)
            before, after = soundfile.info(source), soundfile.info(target)
            same = ("frames", "samplerate", "channels", "format", "subtype")
            assert all(getattr(before, name) == getattr(after, name) for name in same), (before, after)
            row["rtf"] = row["cpu_seconds"] / (60 * minutes)
            rows.append(row)
            print(f"{minutes:3} min {rate:6} Hz x{channels} {row['format']:12} RTF {row['rtf']:.4f}  "
                  f"peak {row['peak_mb']:.0f} MB", flush=True)  # fmt: skip
            source.unlink()
            target.unlink()
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"model": arguments.model, "rows": rows}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
