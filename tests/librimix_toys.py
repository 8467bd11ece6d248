"""LibriMix in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from signals import voice

RATE = 16000
COUNTS = {"train-100": 6, "dev": 2, "test": 3}


def write(root: Path, noise: bool = True) -> Path:
    """``root/{train-100,dev,test}/{s1,s2,mix_clean}`` and, with ``noise``, ``noise`` and ``mix_both``."""
    seed = 0
    for split, count in COUNTS.items():
        for number in range(count):
            seed += 2
            name, seconds = f"{seed}-0001_{seed + 1}-0002.wav", 1.2 + 0.1 * number
            talkers = [0.4 * voice(seconds, seed + talker, RATE) for talker in range(2)]
            files = {"s1": talkers[0], "s2": talkers[1], "mix_clean": talkers[0] + talkers[1]}
            if noise:
                hiss = 0.02 * np.random.default_rng(seed).standard_normal(len(talkers[0]))
                files |= {"noise": hiss, "mix_both": files["mix_clean"] + hiss}
            for folder, wave in files.items():
                path = root / split / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, wave.clip(-1, 1), RATE, "PCM_16")
    return root
