"""Sounds and their spectrograms, small enough to be written into a page."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from enhance.inference.plot import Spectrogram

LONGEST = 8.0  # s of a clip that are kept
FRAME, SILENT_DB = 0.05, 40.0  # s of a frame; it holds sound where it is less than that below the clip's loudest
BLOCK = 0.4  # s over which loudness is measured
FAINT_DB = 20.0  # what is so much below the loudest sound of a clip is not what the others are lowered to
PICTURE = (360, 128)  # pixels, of a spectrogram
RANGE_DB = 70.0  # of a spectrogram, below the loudest of the clip's
SHADES = 24  # of a spectrogram: steps of 3 dB, since noise makes a PNG large


def liveliest(wave: np.ndarray, rate: int) -> int:
    """Where in ``(time,)`` the seconds that are kept begin (sample): those with most frames of sound, or the first."""
    size = max(1, round(FRAME * rate))
    frames = wave[: len(wave) // size * size].reshape(-1, size).astype(np.float64)
    kept = round(LONGEST / FRAME)
    if len(wave) <= round(LONGEST * rate) or len(frames) <= kept:
        return 0
    power = np.square(frames).mean(1)
    counts = np.concatenate(([0], np.cumsum(power > power.max() / 10 ** (SILENT_DB / 10))))
    return int(np.argmax(counts[kept:] - counts[:-kept])) * size


def cropped(waves: Sequence[np.ndarray], rate: int, start: int = 0) -> np.ndarray:
    """Some seconds of all sounds of a clip from that sample on, ``(sounds, time)``; shorter ones end in silence."""
    waves = [wave[start:] for wave in waves]
    length = max(1, min(round(LONGEST * rate), max(len(wave) for wave in waves)))
    return np.stack([np.pad(wave[:length], (0, max(0, length - len(wave)))) for wave in waves])


def levelled(waves: np.ndarray, rate: int) -> list[float]:
    """Gains of ``(sounds, time)`` to one loudness, the least of them (ITU-R BS.1770-4, by torchaudio).

    A sound that is ``FAINT_DB`` below the loudest, or has no loudness, keeps its level and decides nothing.
    """
    import torch
    from torchaudio.transforms import Loudness

    measure = Loudness(rate)
    waves = np.pad(waves, ((0, 0), (0, max(0, round(BLOCK * rate) - waves.shape[1]))))
    found = np.array([float(measure(torch.from_numpy(wave[None].astype(np.float32)))) for wave in waves])
    known = found > np.max(found, where=np.isfinite(found), initial=-np.inf) - FAINT_DB  # of NaN nothing is true
    least = found[known].min() if known.any() else 0.0
    return [float(10 ** ((least - value) / 20)) if there else 1.0 for value, there in zip(found, known, strict=True)]


def flac(wave: np.ndarray, rate: int) -> bytes:
    """Float ``(time,)`` as a FLAC file of 16 bits; what is beyond full scale is clipped."""
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, np.clip(wave, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def spectrograms(waves: np.ndarray, rate: int) -> list[bytes]:
    """A PNG of each of ``(sounds, time)``, 360 x 128 pixels in a palette, all on one scale of level."""
    from matplotlib import colormaps
    from PIL import Image

    pictures = [_decibels(wave, rate) for wave in waves]
    top = max(float(np.percentile(picture, 99.9)) for picture in pictures)
    shades = (255 * colormaps["magma"](np.linspace(0, 1, SHADES))[:, :3]).astype(np.uint8)
    found = []
    for picture in pictures:
        shade = np.clip(1 + (picture - top) / RANGE_DB, 0, 1) * (SHADES - 1)
        image = Image.fromarray(np.rint(shade).astype(np.uint8))
        image.putpalette(shades.tobytes())  # from grey to 8 bits of palette
        stream = io.BytesIO()
        image.save(stream, format="PNG", optimize=True)
        found.append(stream.getvalue())
    return found


def _decibels(wave: np.ndarray, rate: int) -> np.ndarray:
    """Levels as ``(rows, columns)`` of a picture, high frequencies on top; its width is the wave's length."""
    from PIL import Image

    spectrogram = Spectrogram(rate)
    half = spectrogram.size // 2
    spectrogram.push(np.pad(wave, (half, half))[None].astype(np.float32))
    levels = np.maximum(spectrogram.decibels()[::-1], -120.0).astype(np.float32)
    return np.asarray(Image.fromarray(levels).resize(PICTURE, Image.Resampling.BOX))
