"""Validation: a fixed list of mixtures of held-out speakers and noises, and one score to steer by."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import nn

from enhance.audio import resample
from enhance.data.mixing import Example, Mixer, MixingConfig
from enhance.data.store import Recordings
from enhance.errors import EnhanceError
from enhance.metrics.pesq import pesq_wb
from enhance.metrics.si_sdr import si_sdr
from enhance.metrics.stoi import stoi

SEED = 20190224  # of the list; changing it makes scores incomparable
PESQ_RATE = 16000
SI_SDR_CAP = 30.0  # dB; more than that nobody hears, and clean speech has no limit

PLAIN: dict[str, Any] = {  # settings of mixtures without anything that a kind does not name
    "clean": 0.0,
    "noise_only": 0.0,
    "second": 0.0,
    "reverb": 0.0,
    "equalise": 0.0,
    "band_limit": 0.0,
    "clip": 0.0,
    "codec": 0.0,
    "snr_db": (-5.0, 20.0),
    "level_db": (-35.0, -20.0),
}
KINDS: dict[str, MixingConfig] = {
    name: MixingConfig(**{**PLAIN, **changes})
    for name, changes in {
        "noise": {"interferers": {"noise": 1.0}},
        "music": {"interferers": {"music": 1.0}},
        "babble": {"interferers": {"babble": 1.0}},
        "stationary": {"interferers": {"coloured": 1.0}},
        "reverberant": {"interferers": {"noise": 1.0}, "reverb": 1.0},
        "several": {"second": 1.0},
        "clean": {"clean": 1.0},
    }.items()
}
NEEDED = {"noise": ["noise"], "music": ["music"], "reverberant": ["noise", "rir"]}  # else a kind is left out
UNSCORED = {"pesq": 1.0, "stoi": 0.0, "si_sdr": -SI_SDR_CAP}  # the lowest values
Scores = dict[str, dict[str, float]]  # kind -> metric -> mean


def examples(
    store: Recordings,
    clips: int,
    seconds: float,
    done: Callable[[], object] = lambda: None,
    early_ms: float | None = None,
) -> dict[str, list[Example]]:
    """``clips`` mixtures of each kind from the split ``valid``, the same at every call.

    Those of which PESQ or STOI is not defined (no speech in the crop) are passed over. ``done`` is called
    after each one. ``early_ms`` says which reflections belong to the target, as in training: all unless given.
    """
    frames = round(seconds * store.sample_rate)
    found: dict[str, list[Example]] = {}
    for kind, config in KINDS.items():
        if not all(store.select(needed, "valid") for needed in NEEDED.get(kind, ())):
            continue
        mixer = Mixer(store, "valid", config.model_copy(update={"early_ms": early_ms}), frames, SEED)
        epoch, index, found[kind] = zlib.crc32(kind.encode()), 0, []
        while len(found[kind]) < clips and index < 10 * clips:
            example = mixer.example(epoch, index)
            index += 1
            if score(example.target, example.mixture, store.sample_rate):
                found[kind].append(example)
                done()
    return found


def score(target: np.ndarray, estimate: np.ndarray, sample_rate: int) -> dict[str, float]:
    """PESQ-WB, STOI and SI-SDR (dB, at most 30) of ``(time,)``; empty where one of them is not defined.

    PESQ-WB, which exists at 16 kHz only, is that of the signals at that rate.
    """
    wide, wide_estimate = (resample(wave, sample_rate, PESQ_RATE) for wave in (target, estimate))
    try:
        return {
            "pesq": pesq_wb(wide, wide_estimate, PESQ_RATE),
            "stoi": stoi(target, estimate, sample_rate),
            "si_sdr": float(np.clip(si_sdr(target, estimate), -SI_SDR_CAP, SI_SDR_CAP)),
        }
    except EnhanceError:
        return {}


def validate(
    model: nn.Module,
    listed: dict[str, list[Example]],
    device: torch.device,
    done: Callable[[], object] = lambda: None,
) -> Scores:
    """Mean scores of each kind, of the estimates of ``model`` (a speech denoiser) on :func:`examples`.

    An estimate that cannot be scored, because it is silent, gets the lowest value of each metric. ``done``
    is called after each clip.
    """
    rate: int = model.sample_rate  # pyright: ignore[reportAssignmentType]
    rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in listed}
    for kind, found in listed.items():
        for example in found:
            row = score(example.target, estimate(model, example.mixture, device), rate)
            rows[kind].append(row or UNSCORED)
            done()
    return {
        kind: {metric: mean(row[metric] for row in found) for metric in ("pesq", "stoi", "si_sdr")}
        for kind, found in rows.items()
        if found
    }


def estimate(model: nn.Module, mixture: np.ndarray, device: torch.device) -> np.ndarray:
    """The first source of ``(time,)``, in evaluation mode and full precision."""
    model.eval()
    with torch.inference_mode():
        return model(torch.from_numpy(mixture)[None, None].to(device))[0, 0, 0].float().cpu().numpy()


def untouched(listed: dict[str, list[Example]], sample_rate: int, done: Callable[[], object] = lambda: None) -> Scores:
    """The scores of the mixtures themselves."""

    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sample_rate = sample_rate

        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            return mixture[:, None]

    return validate(Same(), listed, torch.device("cpu"), done)


def line(scores: Scores) -> str:
    """Scores for a line of the log: PESQ, STOI and SI-SDR of each kind."""
    return "  ".join(f"{kind} {row['pesq']:.2f}/{row['stoi']:.3f}/{row['si_sdr']:.1f}" for kind, row in scores.items())


def steering_score(scores: Scores, baseline: Scores) -> float:
    """The one number that picks the best checkpoint: the mean over kinds of what improves on the mixture.

    Improvements in PESQ-WB, STOI and SI-SDR count by 0.5, 0.05 and 5 dB, about the spread between good
    denoisers. Clean speech is a kind like the others: there every change is a loss.
    """
    spread = {"pesq": 0.5, "stoi": 0.05, "si_sdr": 5.0}
    return mean(
        mean((scores[kind][metric] - baseline[kind][metric]) / unit for metric, unit in spread.items())
        for kind in scores
    )
