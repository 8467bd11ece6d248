"""Where a voice is heard after denoising: stereo recordings whose channels have a mask each, or share one.

usage: stereo_denoise.py DATA [--model NAME_OR_CHECKPOINT] [--clips 40] [--output FILE]

DATA is a prepared data set, whose split ``valid`` gives speech and recorded noise at 5 dB. The voice is put into a
stereo picture; the noise comes from the middle, from the other side, or is another stretch of noise in each channel.
The place of the voice is taken from its own part of the output, in each channel the projection on the true voice: what
noise happens to have in common with it moves the untouched mixture too. Writes results/stereo_denoise.json, of which
`benchmarks/report.py` makes a page.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from separation.stereo import moved, placed, summary

from enhance.console import progress
from enhance.data.mixing import Mixer, MixingConfig, at_snr
from enhance.data.store import Store
from enhance.errors import EnhanceError
from enhance.files import replacing
from enhance.inference.denoise import denoise
from enhance.metrics.si_sdr import si_sdr
from enhance.models.checkpoint import DEFAULT, load_model
from enhance.training.setup import code_version
from enhance.training.validate import PLAIN, SEED

RESULTS = Path(__file__).parent / "results" / "stereo_denoise.json"
SNR, SECONDS = 5.0, 4.0
EPOCH = 21  # of the mixer's key
SPREAD = "another in each channel"
PLACES: dict[str, tuple[tuple[float, float], tuple[float, float] | None]] = {  # dB, left and right, of voice and noise
    "voice 6 dB to the left, noise in the middle": ((0.0, -6.0), (0.0, 0.0)),
    "voice 12 dB to the left, noise 12 dB to the right": ((0.0, -12.0), (-12.0, 0.0)),
    f"voice 6 dB to the left, noise {SPREAD}": ((0.0, -6.0), None),
}
KEYS = ("place", "way")
WAYS = {"untouched": None, "a mask each": False, "`--linked`": True}


def rows_of(store: Store, model: torch.nn.Module, clips: int) -> list[dict[str, Any]]:
    """Of each clip, place and way: how far the voice moved, and the SI-SDR gained over both channels."""
    settings = MixingConfig(**{**PLAIN, "interferers": {"noise": 1.0}})
    mixer = Mixer(store, "valid", settings, round(SECONDS * store.sample_rate), SEED)
    rows = []
    with progress("{task.completed}/{task.total}") as bar:
        for index in bar.track(range(clips), total=clips, description="stereo"):
            generator = np.random.default_rng((SEED, EPOCH, index))
            voice, *noises = mixer.speech(generator), mixer.interference(generator), mixer.interference(generator)
            for place, (of_voice, of_noise) in PLACES.items():
                true = placed(voice, of_voice)
                noise = np.stack(noises) if of_noise is None else placed(noises[0], of_noise)
                mixture = true + at_snr(true, noise, SNR)
                mixture *= np.float32(0.5 / np.abs(mixture).max())
                for way, linked in WAYS.items():
                    clean = mixture
                    if linked is not None:
                        clean = denoise(mixture, store.sample_rate, model, device="cpu", linked=linked)
                    flat = [wave.reshape(-1) for wave in (true, clean, mixture)]
                    gained = si_sdr(flat[0], flat[1]) - si_sdr(flat[0], flat[2])
                    rows.append({"place": place, "way": way, "moved": moved(true, clean), "gained": gained})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT, help="name or checkpoint")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        store = Store(arguments.data)
        rows = rows_of(store, load_model(arguments.model), arguments.clips)
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    found = {
        "data": store.fingerprint,
        "model": arguments.model,
        "clips": arguments.clips,
        "rows": summary(rows, KEYS),
        "code": code_version(),
    }
    with replacing(arguments.output) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
