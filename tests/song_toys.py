"""Songs in miniature, of synthesised notes, as MUSDB18 and MoisesDB lay them out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import soundfile
from signals import voice

RATE = 44100
STEMS = ("vocals", "drums", "bass", "other")
TRAIN = ("Ada - Dawn", "Ada - Dusk", "Bo - Rain", "Cy - Snow")
TEST = ("Di - Wind",)


def stem(name: str, seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    """Two channels ``(2, time)`` of one of :data:`STEMS`, panned; beats and notes of 120 a minute, from ``seed``."""
    rng = np.random.default_rng((seed, STEMS.index(name)))
    time = np.arange(round(seconds * rate)) / rate
    beat = time % 0.5
    note = 2 ** (rng.integers(0, 12, len(time))[(time // 0.5).astype(int)] / 12)  # of each beat, in semitones
    phase = 2 * np.pi * np.cumsum(note) / rate
    if name == "vocals":
        wave = voice(seconds, seed, rate)
    elif name == "drums":
        wave = rng.standard_normal(len(time)) * np.exp(-beat / 0.03)
    elif name == "bass":
        wave = np.sin(55 * phase) * np.exp(-beat / 0.4)
    else:
        wave = sum(np.sin(ratio * 880 * phase) for ratio in (1, 5 / 4, 3 / 2)) * np.exp(-beat / 0.2)
    left = rng.uniform(0.3, 0.7)
    return (0.12 * np.stack([left * wave, (1 - left) * wave]) / np.std(wave)).clip(-0.24, 0.24).astype(np.float32)


def integers(wave: np.ndarray) -> np.ndarray:
    """Samples of 16 bits."""
    return np.rint(wave * 32768).clip(-32768, 32767).astype(np.int16)


def song(title: str, seconds: float = 2.5) -> dict[str, np.ndarray]:
    """The stems of a title, int16 ``(2, time)``, and their ``mixture``."""
    seed = (*TRAIN, *TEST).index(title)
    stems = {name: integers(stem(name, seconds + 0.1 * seed, seed)) for name in STEMS}
    return stems | {"mixture": np.sum(list(stems.values()), axis=0, dtype=np.int32).astype(np.int16)}


def write_musdb(root: Path, seconds: float = 2.5) -> Path:
    """``root/{train,test}/TITLE/{mixture,vocals,drums,bass,other}.wav``, as MUSDB18-HQ."""
    for split, titles in (("train", TRAIN), ("test", TEST)):
        for title in titles:
            folder = root / split / title
            folder.mkdir(parents=True)
            for name, wave in song(title, seconds).items():
                soundfile.write(folder / f"{name}.wav", wave.T, RATE, "PCM_16")
    return root


def write_stem_file(path: Path, title: str, ffmpeg: str) -> Path:
    """``TITLE.stem.mp4`` with five streams of AAC, as MUSDB18."""
    path.parent.mkdir(parents=True, exist_ok=True)
    streams = ("mixture", "drums", "bass", "other", "vocals")
    waves = song(title)
    for name in streams:
        soundfile.write(path.parent / f"{name}.wav", waves[name].T, RATE, "PCM_16")
    inputs = [argument for name in streams for argument in ("-i", str(path.parent / f"{name}.wav"))]
    maps = [argument for number in range(len(streams)) for argument in ("-map", f"{number}:a")]
    command = [ffmpeg, "-v", "error", "-y", *inputs, *maps, "-c:a", "aac", "-b:a", "256k", str(path)]
    subprocess.run(command, check=True, timeout=60)
    for name in streams:
        (path.parent / f"{name}.wav").unlink()
    return path


INSTRUMENTS = {"vocals": "vocals", "drums": "drums", "bass": "bass", "guitar": "other", "piano": "other"}


def write_moisesdb(root: Path, artists: int = 12, sound: bool = True) -> Path:
    """``root/TRACK/data.json`` and ``root/TRACK/STEM/ID.wav``, one song an artist; a piano and a guitar are ``other``.

    The guitar is a little shorter than the rest.
    """
    for number in range(artists):
        folder = root / f"track-{number:04d}"
        described = []
        for kind, source in INSTRUMENTS.items():
            (folder / kind).mkdir(parents=True)
            if sound:
                wave = stem(source, 1.5 - 0.01 * (kind == "guitar"), 100 * number + 50 * (kind == "piano"))
                soundfile.write(folder / kind / f"id-{kind}.wav", integers(wave).T, RATE, "PCM_16")
            tracks = [{"id": f"id-{kind}", "extension": "wav", "trackType": kind, "has_bleed": False}]
            described.append({"stemName": kind, "tracks": tracks})
        about = {"song": f"Song {number}", "artist": f"Artist {number}", "genre": "toy", "stems": described}
        (folder / "data.json").write_text(json.dumps(about))
    return root
