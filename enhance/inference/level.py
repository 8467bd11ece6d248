"""The level of a recording. Networks know the levels of speech that they were trained on, and little far from them.

Recorders that write floats may be used without setting a gain, and numbers of 16 bits may stand in a file of floats.
Such a recording is brought near full scale before a network and taken back behind it, by a power of two, which is exact
in floating point: what lies in between keeps its bits.
"""

from __future__ import annotations

import numpy as np

from enhance.audio import FLOATS, Info, opened

QUIETEST, LOUDEST = 2.0**-6, 2.0**2  # peaks, full scale is 1, between which a recording is taken as it is
QUIET, LOUD = 2.0**-10, 2.0**4  # peaks beyond which one is told of that was taken as it is
MOST_BITS = 100  # of a gain: its square is still a float32


def gains(peaks: np.ndarray, together: bool) -> np.ndarray:
    """What to multiply channels of these peaks ``(channels,)`` by: powers of two ``(channels, 1)``, float32.

    The peak is then from 1/4 to 1/2. One where it is in the range of speech, and for silence. With ``together`` all
    channels have that of the loudest.
    """
    peaks = np.full_like(peaks, peaks.max()) if together else peaks
    far = (peaks > 0) & np.isfinite(peaks) & ((peaks < QUIETEST) | (peaks > LOUDEST))
    bits = np.clip(-1 - np.frexp(peaks)[1], -MOST_BITS, MOST_BITS)
    return np.where(far, np.ldexp(1.0, bits), 1.0).astype(np.float32)[:, None]


def peaks_of(wave: np.ndarray) -> np.ndarray:
    """The largest magnitude in each row of ``(channels, time)``: ``(channels,)``."""
    return np.abs(wave).max(axis=-1, initial=0.0)


def gains_of_file(info: Info, together: bool) -> np.ndarray:
    """The :func:`gains` of a file of floats, which is read to the end for that; ones for any other.

    Samples that are no numbers are left to who reads it next. Raises what :func:`enhance.audio.opened` raises.
    """
    peaks = np.zeros(info.channels, dtype=np.float32)
    if info.container and info.subtype in FLOATS:
        with opened(info.path) as reader:
            while (block := reader.read(1 << 18)).shape[1]:
                peaks = np.fmax(peaks, peaks_of(block))
    return gains(peaks, together)


def unheard_of(peak: float) -> str:
    """What to say of a recording with that peak, full scale 1, that was taken as it is; empty if there is nothing."""
    if not 0 < peak < QUIET and peak <= LOUD:
        return ""
    kind = "raise" if peak < QUIET else "lower"
    decibels = 20 * np.log10(peak)
    return f"its peak is {decibels:.0f} dB re full scale, where models know little: {kind} its level and try again"
