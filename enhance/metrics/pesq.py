"""PESQ (ITU-T P.862), by the package ``pesq``: wide band (P.862.2) and narrow band (P.862.1)."""

from __future__ import annotations

import numpy as np

from enhance.errors import EnhanceError
from enhance.metrics.signals import check, check_rate

ALWAYS_SAFE = 20.0  # seconds that cannot hold more than 50 utterances, of 0.2 s and 0.2 s apart at the least
MOST_UTTERANCES = 40  # the package has room for 50, which it does not check: beyond, it may crash the process


def pesq_wb(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Wide-band PESQ (P.862.2, MOS-LQO, 1.0 to 4.64) of ``(time,)`` at 16 kHz.

    Raises EnhanceError where it is not defined: another rate, silence, under a quarter of a second, no speech
    found, or more than 40 utterances with pauses between (made for 8 to 30 s: cut long recordings into pieces).
    Both levels are brought to the same power inside, so a common or a separate gain changes little.
    """
    check_rate("PESQ-WB", sample_rate, (16000,))
    return _score(reference, estimate, sample_rate, "wb")


def pesq_nb(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Narrow-band PESQ (P.862 mapped by P.862.1, MOS-LQO, 1.0 to 4.55) of ``(time,)`` at 8 or 16 kHz.

    At 16 kHz it is the telephone band of the same signals. Not comparable with the wide-band score. Raises as
    :func:`pesq_wb`.
    """
    check_rate("PESQ-NB", sample_rate, (8000, 16000))
    return _score(reference, estimate, sample_rate, "nb")


def _score(reference: np.ndarray, estimate: np.ndarray, sample_rate: int, mode: str) -> float:
    import pesq

    check("PESQ", reference, estimate)
    if not reference.any() or not estimate.any():
        raise EnhanceError("PESQ of a silent signal", "leave the clip out")
    if len(reference) > ALWAYS_SAFE * sample_rate and most_utterances(reference, sample_rate) > MOST_UTTERANCES:
        raise EnhanceError(f"PESQ of more than {MOST_UTTERANCES} utterances", "score the recording in shorter pieces")
    try:
        value = float(pesq.pesq(sample_rate, reference, estimate, mode))
    except pesq.PesqError as error:
        raise EnhanceError("PESQ is not defined", error.__class__.__name__) from None
    if not np.isfinite(value):
        raise EnhanceError("PESQ is not defined", "the package gave no number")
    return value


def most_utterances(reference: np.ndarray, sample_rate: int) -> int:
    """At most so many utterances will PESQ find in ``(time,)``: the maximum over all thresholds of its detector.

    As there, an utterance lasts 0.2 s or more, and pauses of less than 0.2 s do not end it.
    """
    hop, shortest = round(0.004 * sample_rate), 50  # frames
    frames = reference[: len(reference) // hop * hop].astype(np.float64).reshape(-1, hop)
    level = 10 * np.log10(np.square(frames).sum(axis=1) + 1e-20)
    counts = []
    for threshold in np.arange(level.max() - 80, level.max()):
        active = np.flatnonzero(level > threshold)
        gaps = np.flatnonzero(np.diff(active) > shortest)
        starts, ends = active[np.r_[0, gaps + 1]], active[np.r_[gaps, -1]]
        counts.append(np.count_nonzero(ends - starts >= shortest - 5))
    return max(counts)
