"""DNSMOS P.835 (Reddy et al. 2022), by the package ``speechmos``: quality predicted without a reference."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from enhance.errors import EnhanceError
from enhance.metrics.signals import check, check_rate, check_sound

MOST_OVER = 0.01  # of the samples may be over full scale; more is a wrong scale


class Dnsmos(NamedTuple):
    """Predicted mean opinion scores, about 1 to 5: of speech, background and all (P.835), and P.808."""

    sig: float
    bak: float
    ovrl: float
    p808: float


def dnsmos(estimate: np.ndarray, sample_rate: int) -> Dnsmos:
    """DNSMOS of ``(time,)`` at 16 kHz, the model that is not personalised.

    Windows of 9.01 s, 1 s apart, averaged; a shorter clip is repeated until it fills one. The model hears the
    level, so nothing is rescaled: compare systems at the levels they give. Samples over full scale are clipped,
    as a file of whole numbers would clip them.

    Raises EnhanceError without the package ``speechmos`` (it needs librosa and onnxruntime), for other rates,
    for silence, and where more than 1 % of the samples are over full scale.
    """
    check_rate("DNSMOS", sample_rate, (16000,))
    (estimate,) = check("DNSMOS", estimate)
    check_sound("DNSMOS", estimate=estimate)
    if np.mean(np.abs(estimate) > 1) > MOST_OVER:
        raise EnhanceError("DNSMOS of a signal over full scale", "scale it to the range -1 to 1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mel bands without a bin; they are the model's
        try:
            from speechmos import dnsmos as package  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise EnhanceError(
                f"DNSMOS needs the package {error.name or 'speechmos'}",
                "pip install speechmos librosa onnxruntime requests",
            ) from None
        found: Any = package.run(estimate.clip(-1, 1).astype(np.float32), sample_rate)
    return Dnsmos(*(float(found[f"{name}_mos"]) for name in Dnsmos._fields))
