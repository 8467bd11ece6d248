"""Names beside the points and lines of a plot, placed so that they do not cover one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

SMALL = 8  # points, of the letters
DISTANCES = (3, 8, 16, 26, 38, 52)  # points, from a point to its name
FAR = 8  # beyond it a thin line tells which name is whose


@dataclass(frozen=True)
class Name:
    """What stands at a point of a plot; position and interval are data's."""

    text: str
    x: float
    y: float
    colour: str
    low: float | None = None
    high: float | None = None
    bold: bool = False


def fitted(name: str, longest: int = 36) -> str:
    """A name that is not too long, with dollar signs that are not taken for formulas."""
    cut = name if len(name) <= longest else f"{name[: longest // 2]}…{name[-(longest // 2 - 1) :]}"
    return cut.replace("$", r"\$")


def beside_points(figure: Figure, panel: Axes, names: Sequence[Name], level: float | None = None) -> list[Bbox]:
    """Each name where it covers least of points, intervals and other names, as near to its point as that allows.

    A line at height ``level`` is not covered either. Returns the boxes of the names, in pixels, in the order of their
    lengths. What comes after this must not change the layout.
    """
    figure.draw_without_rendering()  # fixes the layout
    pixel = figure.dpi / 72
    taken: list[Bbox] = []
    for name in names:
        x, y = panel.transData.transform((name.x, name.y))
        taken.append(_box(x - 5 * pixel, y - 5 * pixel, 10 * pixel, 10 * pixel))
        if name.low is not None and name.high is not None:
            low, high = (panel.transData.transform((name.x, value))[1] for value in (name.low, name.high))
            taken.append(_box(x - 2 * pixel, low, 4 * pixel, high - low))
    if level is not None:
        y = panel.transData.transform((1, level))[1]
        taken.append(_box(panel.bbox.x0, y - pixel, panel.bbox.width, 2 * pixel))
    found: list[Bbox] = []
    for name in sorted(names, key=lambda name: -len(name.text)):
        found.append(_put(figure, panel, name, taken + found))
    return found


def _put(figure: Figure, panel: Axes, name: Name, taken: Sequence[Bbox]) -> Bbox:
    """Write a name near its point; its box."""
    from matplotlib.patheffects import withStroke

    style: dict[str, Any] = {"fontsize": SMALL, "fontweight": "bold" if name.bold else "normal"}
    measured = figure.text(0, 0, fitted(name.text), **style)
    size = measured.get_window_extent()
    measured.remove()
    x, y = panel.transData.transform((name.x, name.y))
    offset, box, far = _free(panel, (x, y), (size.width, size.height), figure.dpi / 72, taken)
    panel.annotate(
        fitted(name.text),
        (name.x, name.y),
        offset,
        textcoords="offset points",
        ha="center",
        va="center",
        color=name.colour,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],  # legible over intervals
        arrowprops={"arrowstyle": "-", "lw": 0.6, "color": name.colour, "shrinkA": 1, "shrinkB": 4} if far else None,
        **style,
    )
    return box


def _free(
    panel: Axes,
    pixels: tuple[float, float],
    size: tuple[float, float],
    pixel: float,
    taken: Sequence[Bbox],
) -> tuple[tuple[float, float], Bbox, bool]:
    """From the point to the middle of its name, in points; the name's box; whether that is far."""
    width, height = size
    best: tuple[float, tuple[float, float], Bbox, bool] | None = None
    for distance in DISTANCES:
        for angle in np.deg2rad(range(0, 360, 30)):
            across = np.cos(angle) * (width / 2 + (4 + distance) * pixel)
            along = np.sin(angle) * (height / 2 + (4 + distance) * pixel)
            box = _box(pixels[0] + across - width / 2, pixels[1] + along - height / 2, width, height)
            outside = 1 - _overlap(box, panel.bbox) / (width * height)
            hidden = sum(_overlap(box, other) for other in taken) / (width * height)
            cost = 1000 * outside + 100 * hidden + distance / 10 + 0.3 * abs(np.sin(angle))
            if best is None or cost < best[0]:
                best = (cost, (across / pixel, along / pixel), box, distance > FAR)
    assert best is not None
    return best[1:]


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    from matplotlib.transforms import Bbox

    return Bbox.from_bounds(x, y, width, height)


def _overlap(one: Bbox, other: Bbox) -> float:
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    along = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(0.0, across) * max(0.0, along)


def at_ends(figure: Figure, panel: Axes, names: Sequence[Name]) -> None:
    """Names at the right of the panel, each at the height of its line's end or as near as the others allow."""
    low, high = panel.get_ylim()
    step = (high - low) * (SMALL + 2.5) / (72 * (figure.get_figheight() - 0.8))
    ordered = sorted(names, key=lambda name: name.y)
    heights = apart([name.y for name in ordered], step)
    push = max(0.0, low + step / 2 - heights[0]) - max(0.0, heights[-1] + step / 2 - high)
    line = {"arrowstyle": "-", "lw": 0.5, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
    for name, height in zip(ordered, heights, strict=True):
        panel.annotate(
            fitted(name.text),
            (name.x, name.y),
            (1.05, height + push),
            textcoords=panel.get_yaxis_transform(),
            va="center",
            fontsize=SMALL,
            color=name.colour,
            arrowprops={**line, "color": name.colour},
        )
    panel.set_ylim(low, high)


def apart(heights: Sequence[float], step: float) -> list[float]:
    """Ascending heights moved as little as it takes to be ``step`` apart (least squares, pool adjacent violators)."""
    pools: list[tuple[float, int]] = []  # mean without the steps, and of how many
    for place, height in enumerate(heights):
        mean, count = height - place * step, 1
        while pools and pools[-1][0] > mean:
            other, more = pools.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        pools.append((mean, count))
    flat = [mean for mean, count in pools for _ in range(count)]
    return [mean + place * step for place, mean in enumerate(flat)]
