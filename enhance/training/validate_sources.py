"""Validation of a separator: a fixed list of mixtures of held-out recordings, and the SI-SDR gained by each source.

The functions are those of validate.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from statistics import mean

import numpy as np
import torch
from torch import nn

from enhance.data.mixing import SILENT, Example, Interferer, MixingConfig, Source, SourceMixer
from enhance.data.store import Recordings
from enhance.metrics.permutation import best_order
from enhance.metrics.si_sdr import si_sdr
from enhance.training.validate import PLAIN, SEED, SI_SDR_CAP, Scores

RELATIVE_DB = (-2.5, 2.5)  # of each source: at most 5 dB between two of them


def kinds(sources: Sequence[Source]) -> list[str]:
    """What mixtures there are: two of the sources or more, joined by ``+``."""
    sizes = range(2, len(sources) + 1)
    return ["+".join(chosen) for size in sizes for chosen in combinations(sources, size)]


def examples(
    store: Recordings,
    sources: Sequence[Source],
    interferers: dict[Interferer, float],
    clips: int,
    seconds: float,
    done: Callable[[], object] = lambda: None,
) -> dict[str, list[Example]]:
    """``clips`` mixtures of each kind from the split ``valid``, the same at every call.

    Those in which one of their sources is silent are passed over. ``done`` is called after each one.
    """
    found: dict[str, list[Example]] = {kind: [] for kind in kinds(sources)}
    for kind, listed in found.items():
        there: dict[Source, float] = {name: float(name in kind.split("+")) for name in sources}
        for example in mixtures(store, "valid", there, interferers, RELATIVE_DB, clips, seconds):
            listed.append(example)
            done()
    return found


def mixtures(
    store: Recordings,
    split: str,
    sources: dict[Source, float],
    interferers: dict[Interferer, float],
    relative_db: tuple[float, float],
    clips: int,
    seconds: float,
) -> Iterator[Example]:
    """``clips`` mixtures of those of the ``sources`` that are there (1.0, else 0.0), the same at every call.

    Those in which one of them is silent are passed over, so that there may be fewer.
    """
    settings = {"sources": sources, "interferers": interferers, "relative_db": relative_db}
    mixer = SourceMixer(store, split, MixingConfig(**{**PLAIN, **settings}), round(seconds * store.sample_rate), SEED)
    kind = "+".join(name for name, there in sources.items() if there)
    given = 0
    for index in range(10 * clips):
        example = mixer.example(zlib.crc32(kind.encode()), index)
        audible = (np.square(example.target).mean(-1) > SILENT**2).sum()
        if audible == sum(sources.values()):
            yield example
            given += 1
        if given == clips:
            return


def validate(
    model: nn.Module,
    listed: dict[str, list[Example]],
    device: torch.device,
    done: Callable[[], object] = lambda: None,
    permute: bool = False,
) -> Scores:
    """Mean SI-SDR (dB, within ±30) of each source in each kind of mixture that it is in, by the source's name.

    Of several channels it is one ratio. Examples in which a source is silent do not count for it. With ``permute`` the
    sources have no order: each example's estimates take the best one.
    """
    sources: tuple[str, ...] = model.sources  # pyright: ignore[reportAssignmentType]
    model.eval()
    scores: Scores = {}
    for kind, found in listed.items():
        rows: dict[str, list[float]] = {name: [] for name in kind.split("+")}
        for mixture, target in found:
            wave = torch.from_numpy(mixture).reshape(1, -1, mixture.shape[-1]).to(device)  # (1, C, T)
            with torch.inference_mode():
                estimates = model(wave)[0].flatten(1).float().cpu().numpy()  # (S, CT)
            target = target.reshape(estimates.shape)
            if permute:
                estimates = estimates[best_order(target, estimates)]
            for name, row in rows.items():
                source = sources.index(name)
                if np.square(target[source]).mean() > SILENT**2:
                    row.append(float(np.clip(si_sdr(target[source], estimates[source]), -SI_SDR_CAP, SI_SDR_CAP)))
            done()
        if any(rows.values()):
            scores[kind] = {name: mean(row) for name, row in rows.items() if row}
    return scores


def untouched(
    listed: dict[str, list[Example]], sources: Sequence[str], done: Callable[[], object] = lambda: None
) -> Scores:
    """The scores of the mixtures themselves."""

    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sources = tuple(sources)

        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            return mixture[:, None].expand(-1, len(self.sources), -1, -1)

    return validate(Same(), listed, torch.device("cpu"), done)


def line(scores: Scores) -> str:
    """Scores for a line of the log: SI-SDR (dB) of each source in each kind of mixture."""
    return "  ".join(f"{kind} {'/'.join(f'{value:.1f}' for value in row.values())}" for kind, row in scores.items())


def steering_score(scores: Scores, baseline: Scores) -> float:
    """The one number that picks the best checkpoint: the mean over kinds and their sources of the gain in dB."""
    return mean(mean(value - baseline[kind][name] for name, value in row.items()) for kind, row in scores.items())
