"""Plots of a benchmark: distributions over clips, quality against speed, gain over the input's quality.

A system has the same colour and marker in all of them, by its place in the order of systems.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enhance.bench.labels import SMALL, Name, at_ends, beside_points, fitted
from enhance.bench.records import UNTOUCHED, Record, Summary, by_system
from enhance.bench.statistics import mean_interval
from enhance.bench.table import digits, heading, shown
from enhance.files import replacing
from enhance.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours that show on white, and wine of Paul Tol's "muted" in place of their yellow: all of them
# can be told apart with any kind of colour blindness. After seven systems they come again with another marker.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
MARKERS = "oD^svP"
GREY = "#767676"  # of the untouched mixture
INK = "#222222"
MIDDLE = 9  # points, of the axes' names
DPI = 180
FEW = 8  # clips, with fewer a density says nothing
BINS = 8
DISCRETE = 12  # values of the input's level up to which each is a bin


@dataclass(frozen=True)
class Look:
    """How a system is drawn."""

    colour: str
    marker: str
    line: str


def looks(systems: Iterable[str]) -> dict[str, Look]:
    """Colour, marker and line of each system, in order; the untouched mixture is grey and not counted."""
    found = {UNTOUCHED: Look(GREY, "o", "--")}
    for number, name in enumerate(name for name in systems if name != UNTOUCHED):
        turn = number // len(PALETTE)
        line = ("-", "--", ":", "-.")[turn % 4]
        found[name] = Look(PALETTE[number % len(PALETTE)], MARKERS[turn % len(MARKERS)], line)
    return found


def save_all(records: Sequence[Record], summary: Summary, folder: Path) -> list[Path]:
    """Write the plots that the data allow as ``distributions.png``, ``speed.png``, ``gain.png``; their paths.

    EnhanceError where the folder cannot be written.
    """
    paths = []
    for name, figure in figures(records, summary).items():
        path = folder / f"{name}.png"
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")
        paths.append(path)
    return paths


def figures(records: Sequence[Record], summary: Summary) -> dict[str, Figure]:
    """The same as figures, by name."""
    metrics = [name for name in summary["metrics"] if any(name in record.scores for record in records)]
    if not metrics:
        return {}
    found = {"distributions": distributions(records, metrics)}
    main = "pesq_wb" if "pesq_wb" in metrics else metrics[0]
    if _timed(summary, main):
        found["speed"] = quality_against_speed(summary, main)
    if _gains(records, main, "si_sdr"):
        found["gain"] = gain_over_input(records, main)
    return found


def distributions(records: Sequence[Record], metrics: Sequence[str]) -> Figure:
    """The scores of all clips, a panel a metric and a row a system, the untouched mixture first.

    A row has density and clips, the middle half as a bar, and the mean as a ring; of fewer than eight clips only
    the clips and the mean.
    """
    systems = by_system(records)
    names = sorted(systems, key=lambda name: name != UNTOUCHED)  # stable
    columns = min(3, len(metrics))
    lines = -(-len(metrics) // columns)
    figure = _figure(0.4 + _room(names) + 2.4 * columns, lines * (0.75 + 0.4 * len(names)) + 0.25)
    figure.set_layout_engine("constrained", w_pad=0.09)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    look = looks(systems)
    for panel, metric in zip(panels, metrics, strict=False):
        _tidy(panel, "x")
        for place, name in enumerate(names):
            values = [record.scores[metric] for record in systems[name] if metric in record.scores]
            _row(panel, place, np.array(values), look[name].colour)
        panel.set_xlabel(heading(metric), fontsize=MIDDLE)
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        panel.use_sticky_edges = False
    for panel in panels[len(metrics) :]:
        panel.remove()
    panels[0].set_yticks(range(len(names)), [fitted(name) for name in names])
    panels[0].set_ylim(len(names) - 0.4, -0.65)
    _caption(figure, "dots: clips · bar: middle half of them · ring: mean")
    return figure


def _row(panel: Axes, place: int, values: np.ndarray, colour: str) -> None:
    """Density above the line at ``place``, clips below it, and on it bar and mean."""
    from scipy.stats import gaussian_kde

    if not len(values):
        return
    if len(values) >= FEW and np.ptp(values) > 0:
        grid = np.linspace(values.min(), values.max(), 200)
        density = gaussian_kde(values)(grid)
        foot = place - 0.06
        panel.fill_between(grid, foot, foot - 0.46 * density / density.max(), color=colour, alpha=0.35, lw=0)
        low, high = np.percentile(values, (25, 75))
        panel.plot((low, high), (place, place), color=colour, lw=3, solid_capstyle="butt")
    spread = np.random.default_rng(0).uniform(0.11, 0.3, len(values))
    panel.scatter(values, place + spread, s=5, color=colour, alpha=_alpha(len(values)), lw=0)
    panel.plot(values.mean(), place, "o", ms=5, color="white", markeredgecolor=colour, markeredgewidth=1.4)


def quality_against_speed(summary: Summary, metric: str = "pesq_wb") -> Figure:
    """Mean and 95 % interval over the real-time factor of one thread; systems without one are left out.

    Names of models are bold, those of folders of estimates are not; the untouched mean is a dashed line.
    """
    look = looks(row["name"] for row in summary["systems"])
    rows = _timed(summary, metric)
    figure = _figure(6.4, 4.2)
    panel = figure.subplots()
    _tidy(panel, "both")
    spans = []
    for row in rows:
        score, style = row["scores"][metric], look[row["name"]]
        low, high = _interval(score)
        spans += [low, high]
        panel.plot((row["rtf"], row["rtf"]), (low, high), color=style.colour, lw=1.4)
        panel.plot(row["rtf"], shown(score), style.marker, color=style.colour, ms=6, mec="white", mew=0.6)
    level = next((shown(row["scores"][metric]) for row in _with(summary, metric) if row["name"] == UNTOUCHED), None)
    if level is not None:
        spans.append(level)
        panel.axhline(level, color=GREY, ls="--", lw=1)
        text, frame = f"{UNTOUCHED}\n{level:.{digits(metric)}f}", panel.get_yaxis_transform()
        panel.text(1.01, level, text, transform=frame, va="center", fontsize=SMALL, color=GREY)
    _speed_axes(panel, [row["rtf"] for row in rows], spans)
    panel.set_ylabel(f"{'median' if METRICS[metric].median else 'mean'} {heading(metric)}", fontsize=MIDDLE)
    panel.set_xlabel("real-time factor on one thread", fontsize=MIDDLE)
    _caption(figure, "bars: 95 % intervals over clips · bold: models of enhance")
    beside_points(figure, panel, [_name(row, metric, look[row["name"]].colour) for row in rows], level)
    return figure


def _with(summary: Summary, metric: str) -> list[dict[str, Any]]:
    return [row for row in summary["systems"] if metric in row["scores"]]


def _timed(summary: Summary, metric: str) -> list[dict[str, Any]]:
    return [row for row in _with(summary, metric) if row["rtf"] and row["name"] != UNTOUCHED]


def _interval(score: Mapping[str, Any]) -> tuple[float, float]:
    value = shown(score)
    return (value, value) if score["low"] is None else (score["low"], score["high"])


def _name(row: Mapping[str, Any], metric: str, colour: str) -> Name:
    low, high = _interval(row["scores"][metric])
    return Name(row["name"], row["rtf"], shown(row["scores"][metric]), colour, low, high, row["kind"] == "model")


def _speed_axes(panel: Axes, factors: Sequence[float], spans: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    low, high = min(spans), max(spans)
    margin = 0.12 * (high - low) or 0.1
    panel.set_ylim(low - margin, high + margin)
    panel.set_xscale("log")
    first, last = np.log10(min(factors)), np.log10(max(factors))
    edge = max(0.3, 0.12 * (last - first))
    left, right = first - edge, last + edge
    if np.floor(right) <= np.ceil(left):  # fewer than two powers of ten to label
        left, right = np.floor(left), np.ceil(right)
    panel.set_xlim(10**left, 10**right)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def gain_over_input(records: Sequence[Record], metric: str = "pesq_wb", by: str = "si_sdr") -> Figure:
    """Improvement over the untouched mixture against the input's level; above zero is better for every metric.

    The level is the clips' tag ``snr``, else the mixture's score ``by``. Lines are means over bins of clips with 95 %
    intervals: a bin a value where each has many clips, else bins of as many clips each.
    """
    gains = _gains(records, metric, by)
    look = looks(by_system(records))
    figure = _figure(4.9 + _room(gains), max(3.8, 0.19 * len(gains) + 1.3))
    panel = figure.subplots()
    _tidy(panel, "both")
    panel.axhline(0, color=GREY, ls="--", lw=1)
    values, limits, width = _bins(max((level for level, _ in gains.values()), key=len))
    slot = width * min(0.1, 0.5 / len(gains))  # systems stand side by side
    jitter = np.random.default_rng(0)
    ends = []
    for place, (name, (level, gain)) in enumerate(gains.items()):
        shift = slot * (place - (len(gains) - 1) / 2)
        if len(gains) <= 6:
            around = level if values is None else level + shift + jitter.uniform(-0.4, 0.4, len(level)) * slot
            panel.scatter(around, gain, s=6, color=look[name].colour, alpha=_alpha(len(level)), lw=0)
        ends.append(Name(name, *_curve(panel, level, gain, limits, shift, look[name]), look[name].colour))
    if values is not None:
        panel.set_xticks(values, [f"{value:g}" for value in values])
    what = "SNR" if _has_snr(records) else METRICS[by].label
    panel.set_xlabel(f"{what} of the input (dB)", fontsize=MIDDLE)
    panel.set_ylabel(f"gain in {METRICS[metric].label} over the untouched mixture", fontsize=MIDDLE)
    dots = "dots: clips · " if len(gains) <= 6 else ""
    _caption(figure, f"{dots}lines: means over bins of clips · bars: 95 % intervals")
    at_ends(figure, panel, ends)
    return figure


def _has_snr(records: Iterable[Record]) -> bool:
    return any("snr" in record.tags for record in records)


def _gains(records: Sequence[Record], metric: str, by: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each system the levels of the inputs and the gains, ``(clips,)`` both; systems without any are left out."""
    sign = 1 if METRICS[metric].higher_is_better else -1
    tagged = _has_snr(records)
    inputs: dict[tuple[str, str], tuple[float, float]] = {}
    for record in records:
        if record.system == UNTOUCHED and metric in record.scores:
            level = _number(record.tags.get("snr")) if tagged else record.scores.get(by)
            if level is not None:
                inputs[record.clip, record.source] = level, record.scores[metric]
    found = {}
    for name, own in by_system(records).items():
        pairs = [
            (level, sign * (record.scores[metric] - before))
            for record in own
            if metric in record.scores and (record.clip, record.source) in inputs
            for level, before in [inputs[record.clip, record.source]]
        ]
        if name != UNTOUCHED and pairs:
            found[name] = (np.array([level for level, _ in pairs]), np.array([gain for _, gain in pairs]))
    return found


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _bins(levels: np.ndarray) -> tuple[np.ndarray | None, np.ndarray, float]:
    """The values where they are few and each has clips enough, the limits between bins, and a bin's width."""
    values = np.unique(levels)
    if len(values) <= DISCRETE and len(levels) >= 3 * len(values):
        gaps = np.diff(values)
        return values, values[:-1] + gaps / 2, float(gaps.min()) if len(gaps) else 1.0
    bins = int(np.clip(len(levels) // 6, 1, BINS))
    limits = np.unique(np.quantile(levels, np.linspace(0, 1, bins + 1)[1:-1]))
    return None, limits, float(np.ptp(levels)) / max(bins, 4)


def _curve(
    panel: Axes, level: np.ndarray, gain: np.ndarray, limits: np.ndarray, shift: float, style: Look
) -> tuple[float, float]:
    """Means over bins with their intervals; where the line ends."""
    numbers = np.searchsorted(limits, level, side="right")
    places, means = [], []
    for number in np.unique(numbers):
        inside = numbers == number
        average, low, high = mean_interval(gain[inside].tolist())
        places.append(float(level[inside].mean()) + shift)
        means.append(average)
        if low is not None and high is not None:
            panel.plot((places[-1], places[-1]), (low, high), color=style.colour, lw=1.6, alpha=0.85)
    line = {"color": style.colour, "ls": style.line, "lw": 1.5}
    panel.plot(places, means, marker=style.marker, ms=4.5, mec="white", mew=0.5, **line)
    return places[-1], means[-1]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _alpha(count: int) -> float:
    """Of so many dots."""
    return float(np.clip(6 / np.sqrt(count), 0.25, 0.8))


def _room(names: Iterable[str]) -> float:
    """Inches for the longest of the names."""
    return 0.075 * max(len(fitted(name)) for name in names)


def _caption(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize=SMALL - 1, color=GREY)


def _tidy(panel: Axes, grid: Any) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(GREY)
    panel.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK)
    panel.grid(axis=grid, color="#e6e6e6", lw=0.7)
    panel.set_axisbelow(True)
