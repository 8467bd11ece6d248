"""Care for speech: how much of it a denoiser keeps, loud sounds and quiet consonants, and how much noise in pauses.

usage: care.py DATA [--model NAME_OR_CHECKPOINT] [--clips 40] [--json FILE]

DATA is a prepared data set, whose split ``valid`` gives speech and recorded noise; each clip comes at several SNRs and
is denoised at several strengths, and as clean speech. Frames of 32 ms are told apart by the level of the clean speech,
against the clip's loud frames (95th percentile): down to -15 dB is loud, from -15 to -40 dB with most of the energy
above 3 kHz a quiet consonant, below -45 dB a pause. Speech kept is the amplitude with which the clean spectrum is in
the estimate's, ``Re <Ŝ, S> / <S, S>`` over such frames, noise left the level of the estimate against the mixture; both
are means over clips, in dB; noise is measured without speech too. `benchmarks/report.py` makes the table.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from enhance.data.mixing import Example, Mixer, MixingConfig
from enhance.data.store import Store
from enhance.models.checkpoint import DEFAULT, load_model
from enhance.stft import stft
from enhance.training.setup import code_version
from enhance.training.validate import PLAIN, SEED, estimate, score

SNRS: list[float | None] = [0.0, 10.0, 20.0, None]  # None: clean speech
STRENGTHS = [1.0, 0.75, 0.5]
SECONDS = 4.0
EPOCH = 20  # of the mixer's key
LOUD, QUIET, PAUSE = -15.0, -40.0, -45.0  # dB, against the loud frames
HIGH = 3000.0  # Hz
FEWEST = 5  # frames of a sort, or a clip is passed over


def sorts(spectrum: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Which frames of clean speech ``(F, N)`` are loud, quiet consonants, pauses: ``(N,)`` of bool each."""
    power = np.abs(spectrum) ** 2
    energy = power.sum(0) + 1e-12
    level = 10 * np.log10(energy)
    level = level - np.percentile(level, 95)
    above = power[round(HIGH / (rate / 2) * (len(power) - 1)) :].sum(0) / energy
    return {
        "loud": level > LOUD,
        "consonants": (level <= LOUD) & (level > QUIET) & (above > 0.5),
        "pauses": level < PAUSE,
    }


def measured(example: Example, denoised: np.ndarray, rate: int) -> dict[str, float]:
    """dB of speech kept and noise left, as far as the clip has such frames, with PESQ, STOI and SI-SDR."""
    s, e, x = (stft(torch.from_numpy(wave), 512, 256).numpy() for wave in (example.target, denoised, example.mixture))
    found = score(example.target, denoised, rate)
    for name, frames in sorts(s, rate).items():
        if frames.sum() < FEWEST:
            continue
        if name == "pauses":
            left = (np.abs(e[:, frames]) ** 2).sum() / ((np.abs(x[:, frames]) ** 2).sum() + 1e-12)
            found[name] = 10 * float(np.log10(left + 1e-8))
        else:
            kept = np.real(e[:, frames] * s[:, frames].conj()).sum() / (np.abs(s[:, frames]) ** 2).sum()
            found[name] = 20 * float(np.log10(max(kept, 1e-3)))
    return found


def measure(store: Store, model: Any, clips: int) -> list[dict[str, Any]]:
    """A row for each SNR and strength."""
    rate, rows = store.sample_rate, []
    for snr in SNRS:
        changes = {"clean": 1.0} if snr is None else {"snr_db": (snr, snr)}
        config = MixingConfig(**{**PLAIN, "interferers": {"noise": 1.0}, **changes})
        mixer = Mixer(store, "valid", config, round(SECONDS * rate), SEED)
        found: dict[float, dict[str, list[float]]] = {strength: defaultdict(list) for strength in STRENGTHS}
        for index in range(clips):
            example = mixer.example(EPOCH, index)
            denoised = estimate(model, example.mixture, torch.device("cpu"))
            for strength, values in found.items():
                mixed = strength * denoised + (1 - strength) * example.mixture
                for name, value in measured(example, mixed, rate).items():
                    values[name].append(value)
        for strength, values in found.items():
            rows.append({"snr": snr, "strength": strength} | {name: mean(row) for name, row in values.items()})
    return rows


def noise_alone(store: Store, model: Any, clips: int) -> float:
    """dB by which recorded noise without speech changes, the mean over clips."""
    rate = store.sample_rate
    config = MixingConfig(**{**PLAIN, "interferers": {"noise": 1.0}, "noise_only": 1.0})
    mixer = Mixer(store, "valid", config, round(SECONDS * rate), SEED)
    found = []
    for index in range(clips):
        noise = mixer.example(EPOCH, index).mixture
        left = np.square(estimate(model, noise, torch.device("cpu"))).mean() / (np.square(noise).mean() + 1e-12)
        found.append(10 * float(np.log10(left + 1e-8)))
    return mean(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "care.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(arguments.data)
    model = load_model(arguments.model)
    found: dict[str, Any] = {
        "model": arguments.model,
        "clips": arguments.clips,
        "data": store.fingerprint,
        "enhance": code_version(),
        "noise_alone": noise_alone(store, model, arguments.clips),
        "rows": measure(store, model, arguments.clips),
    }
    arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for row in found["rows"]:
        print({name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()})
    print(f"noise alone: {found['noise_alone']:.1f} dB")


if __name__ == "__main__":
    main()
