"""Mixes noisy.wav, and reference.wav (its speech alone), from two Debian packages; README.md names their authors.

usage: make.py SPEECH.g722 NOISE    (where they are: see README.md)
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE, SECONDS, SNR_DB, RMS_DB = 16000, 10, 5.0, -24.0


def decode(path: str) -> np.ndarray:
    """First channel of a file as float32 ``(time,)`` at 16 kHz; G.722 through ffmpeg."""
    if path.endswith(".g722"):
        raw = subprocess.run(
            ["ffmpeg", "-v", "error", "-f", "g722", "-i", path, "-f", "f32le", "-ar", str(RATE), "-"],
            check=True,
            capture_output=True,
        ).stdout
        return np.frombuffer(raw, np.float32)
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(wave[:, 0], rate, RATE)


def main() -> None:
    frames = RATE * SECONDS
    speech, noise = (decode(path)[:frames] for path in sys.argv[1:3])
    noise = noise * np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10 ** (-SNR_DB / 20)
    mixture = speech + noise
    gain = 10 ** (RMS_DB / 20) / np.sqrt(np.mean(mixture**2))
    for name, wave in (("noisy", mixture), ("reference", speech)):
        soundfile.write(Path(__file__).with_name(f"{name}.wav"), gain * wave, RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
