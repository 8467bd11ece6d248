"""Spectrograms of signals that arrive in blocks, one above the other."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

COLUMNS = 1200  # of the picture; twice as many are kept at most, then neighbours are merged
ROWS = 512
RANGE_DB = 80.0
FLOOR_DB = -120.0  # what silence has


class Spectrogram:
    """Mean power over time and frequency, ``(rows, columns)``, of a signal of any length in flat memory."""

    def __init__(self, sample_rate: int) -> None:
        self.size = 1 << round(np.log2(0.032 * sample_rate))  # about 32 ms
        self.hop = self.size // 4
        window = np.hanning(self.size + 1)[:-1]
        self.window = (window / window.sum() * 2).astype(np.float32)  # a full-scale sine shows as 0 dB
        self.merge = max(1, (self.size // 2) // ROWS)  # bins in a row
        self.waiting = np.zeros(0, dtype=np.float32)
        self.columns: list[np.ndarray] = []
        self.frames_per_column = 1
        self.sum: np.ndarray | None = None  # of the column that is being filled
        self.count = 0

    def push(self, wave: np.ndarray) -> None:
        """The next ``(channels, time)``; power is the mean over channels."""
        wave = np.atleast_2d(wave)
        if not self.waiting.size:
            self.waiting = np.zeros((len(wave), 0), dtype=np.float32)
        self.waiting = np.concatenate((self.waiting, wave), axis=1)
        count = max(0, (self.waiting.shape[1] - self.size) // self.hop + 1)
        if not count:
            return
        frames = np.lib.stride_tricks.sliding_window_view(self.waiting, self.size, axis=1)
        spectra = np.fft.rfft(frames[:, : count * self.hop : self.hop] * self.window, axis=-1)[..., :-1]
        power = np.square(np.abs(spectra)).mean(axis=0)  # (count, bins)
        self.waiting = self.waiting[:, count * self.hop :]
        for row in power.reshape(count, -1, self.merge).mean(axis=-1):
            self._add(row)

    def _add(self, row: np.ndarray) -> None:
        self.sum = row if self.sum is None else self.sum + row
        self.count += 1
        if self.count < self.frames_per_column:
            return
        self.columns.append((self.sum / self.count).astype(np.float32))
        self.sum, self.count = None, 0
        if len(self.columns) == 2 * COLUMNS:
            self.columns = [(a + b) / 2 for a, b in zip(self.columns[::2], self.columns[1::2], strict=True)]
            self.frames_per_column *= 2

    def decibels(self) -> np.ndarray:
        """The picture so far, ``(rows, columns)``; a signal shorter than a frame is one silent column."""
        columns = self.columns or [np.zeros(self.size // 2 // self.merge, dtype=np.float32)]
        return 10 * np.log10(np.stack(columns, axis=1) + 10 ** (FLOOR_DB / 10))


class Spectrograms:
    """Spectrograms of several signals of the same length, drawn one above the other on the same scales."""

    def __init__(self, sample_rate: int, names: Sequence[str]) -> None:
        self.sample_rate = sample_rate
        self.frames = 0
        self.names = names
        self.signals = [Spectrogram(sample_rate) for _ in names]

    def push(self, waves: Sequence[np.ndarray]) -> None:
        """The next ``(channels, time)`` of each."""
        self.frames += waves[0].shape[1]
        for signal, wave in zip(self.signals, waves, strict=True):
            signal.push(wave)

    def save(self, path: Path, title: str) -> None:
        """Draw a PNG."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        pictures = [signal.decibels() for signal in self.signals]
        loudest = max(np.percentile(picture, 99.9) for picture in pictures)
        top = max(5 * np.ceil(loudest / 5), FLOOR_DB + RANGE_DB)  # silence is dark
        seconds = self.frames / self.sample_rate
        scale, unit = (60, "min") if seconds >= 180 else (1, "s")
        figure = Figure(figsize=(9, 1.2 + 2.2 * len(pictures)), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(pictures), 1, sharex=True, sharey=True)
        extent = (0, seconds / scale, 0, self.sample_rate / 2000)
        image = None
        for axis, name, picture in zip(axes, self.names, pictures, strict=True):
            image = axis.imshow(
                picture,
                origin="lower",
                aspect="auto",
                interpolation="antialiased",
                extent=extent,
                cmap="magma",
                vmin=top - RANGE_DB,
                vmax=top,
            )
            axis.set_title(name[:1].upper() + name[1:], loc="left", fontsize=10, parse_math=False)
            axis.set_ylabel("frequency (kHz)")
        axes[-1].set_xlabel(f"time ({unit})")
        readable = title.encode(errors="replace").decode()  # a name of a file need not be text
        figure.suptitle(readable, fontsize=11, parse_math=False)
        assert image is not None
        narrow = 10 * len(pictures)  # as wide whatever its height
        figure.colorbar(image, ax=axes, label="level (dB re full scale)", pad=0.015, aspect=narrow)
        with warnings.catch_warnings():  # of letters that the font does not have
            warnings.filterwarnings("ignore", "Glyph", UserWarning)
            figure.savefig(path, format="png")
