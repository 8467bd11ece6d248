"""``enhance denoise`` needs no more memory for a long file than for a short one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from toys import noise

# A process counts the memory of the one that it was forked from, hence one of little memory in between.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_mb(environment: dict[str, str], *arguments: str) -> float:
    """Peak memory of ``enhance ARGUMENTS...``."""
    command = [sys.executable, "-c", MEASURE, sys.executable, "-m", "enhance.cli", *arguments]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return int(run.stdout) / (2**20 if sys.platform == "darwin" else 1024)


@pytest.mark.slow
def test_memory_is_flat(tmp_path: Path, environment: dict[str, str], untrained: str):
    for minutes in (1, 10):
        with soundfile.SoundFile(tmp_path / f"{minutes}.wav", "w", 44100, 1) as sound:
            for _ in range(6 * minutes):
                sound.write(noise(10, 44100)[0])

    def peak(minutes: int) -> float:
        options = ["--keep-noise", "--plot", "--prevent-clipping", "--force"]
        return peak_mb(environment, "denoise", str(tmp_path / f"{minutes}.wav"), "-m", untrained, *options)

    # On a busy machine one run in several needs 60 MB more, whatever its length: what grows does so every time.
    short, long = peak(1), peak(10)
    for _ in range(2):
        if long >= 1.1 * short:
            long = min(long, peak(10))
    assert long < 1.1 * short
    assert long < 1000
