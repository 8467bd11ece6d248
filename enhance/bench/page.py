"""One HTML file of a benchmark: tables, plots, and clips to listen to. It needs no server and no network.

``page.html`` is its frame, ``page.css`` how it looks, ``page.js`` the player. Sounds are FLAC and pictures PNG, both
written into the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from enhance.bench import table
from enhance.bench.plots import looks
from enhance.bench.records import UNTOUCHED, Record, Summary, by_system
from enhance.bench.sounds import RANGE_DB, cropped, flac, levelled, liveliest, spectrograms
from enhance.files import replacing
from enhance.metrics import METRICS

CLEAN = "clean"  # the reference, among the sounds of a clip
CAPTIONS = {
    "distributions": "Scores of all clips",
    "speed": "Quality against speed",
    "gain": "Gain against the level of the input",
}
KEYS = (
    ("1 … 9", "switch the system, at the same position"),
    ("space", "play, pause"),
    ("← →", "1 s back, on"),
    ("↑ ↓ or k j", "clip before, next"),
    ("l", "loop"),
    ("e", "equal loudness"),
    ("b", "blind"),
    ("p", "prefer this one, when blind"),
    ("esc", "leave the clips"),
)
MODES = (
    ("equal", "Equal loudness", "All sounds of a clip as loud as the least loud (ITU-R BS.1770)"),
    ("blind", "Blind", "Systems in a random order, without names, scores and pictures"),
    ("prefer", "Prefer this one", "Of this clip, when blind; afterwards the page says which were preferred"),
)


@dataclass(frozen=True)
class Sound:
    """What a system makes of a clip: float ``(time,)``, full scale ±1, and its scores."""

    system: str
    wave: np.ndarray
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Player:
    """A clip to listen to: first the untouched mixture, then ``CLEAN`` if there is one, then the systems."""

    clip: str  # its heading: with the source, where there are several
    tags: dict[str, str]
    rate: int  # Hz
    sounds: list[Sound]


def choose(records: Sequence[Record], metric: str, count: int = 9) -> list[tuple[str, str]]:
    """Clips and sources: where the first system gains most, about the median, and least, a third of ``count`` each.

    In that order, without duplicates; all clips where there are no more. Clips without a gain come last, and sources
    that a clip does not hold are left out.
    """
    records = [record for record in records if not record.absent]
    sign = 1 if METRICS[metric].higher_is_better else -1
    systems = by_system(records)
    first = next((name for name in systems if name != UNTOUCHED), UNTOUCHED)
    before, after = (
        {(found.clip, found.source): found.scores[metric] for found in systems.get(name, []) if metric in found.scores}
        for name in (UNTOUCHED, first)
    )
    gains = {clip: sign * (after[clip] - before[clip]) for clip in after if clip in before}
    ranked = sorted(gains, key=lambda clip: -gains[clip])
    if len(ranked) <= count:
        others = [clip for clip in dict.fromkeys((found.clip, found.source) for found in records) if clip not in gains]
        return [*ranked, *others][:count]
    last = count // 3
    middle = (count - last) // 2
    top = count - last - middle
    start = min(max(top, (len(ranked) - middle) // 2), len(ranked) - last - middle)
    return ranked[:top] + ranked[start : start + middle] + ranked[len(ranked) - last :]


def write_page(path: Path, summary: Summary, players: Sequence[Player], plots: Mapping[str, bytes], title: str) -> None:
    """Write the page; ``plots`` are PNGs by name. Of a longer clip eight seconds can be heard, those with most sound.

    EnhanceError where the file cannot be written.
    """
    colours = {name: look.colour for name, look in looks(row["name"] for row in summary["systems"]).items()}
    parts = {
        "scores": ("Scores", _tables(summary, colours)),
        "comparisons": ("Differences", _comparisons(summary)),
        "plots": ("Plots", _plots(plots)),
        "listen": ("Listen", _listening(players, summary, colours)),
    }
    found = {name: part for name, part in parts.items() if part[1]}
    script = _beside("page.js")
    trusted = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{trusted}'"
    text = Template(_beside("page.html")).substitute(
        policy=policy,
        title=escape(title),
        style=_beside("page.css"),
        facts=_facts(summary),
        links="".join(f'<a href="#{name}">{escape(head)}</a>' for name, (head, _) in found.items()),
        sections="\n".join(
            f'<section id="{name}"><h2>{escape(head)}</h2>{body}</section>' for name, (head, body) in found.items()
        ),
        notes=_list(map(escape, table.footnotes(summary))),
        script=script,
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _beside(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _list(items: Iterator[str] | map[str]) -> str:
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def _facts(summary: Summary) -> str:
    """Data set, its size, versions."""
    data, foot = summary["data"], summary["footer"]
    versions = [f"{name} {foot[name]}" for name in foot if name not in ("device", "jobs", "command")]
    size = f"{data['clips']} clips, {data['seconds']:.0f} s"
    systems = f"{len(summary['systems'])} systems"
    return escape(" · ".join((data["name"], size, systems, f"data {data['fingerprint']}", *versions)))


def _tables(summary: Summary, colours: Mapping[str, str]) -> str:
    """The table of all clips, and behind a click those of sources and groups."""
    (_, first), *others = table.sections(summary)
    about = (
        '<p class="about">Means over clips with 95 % bootstrap intervals; the bars show the intervals on one scale a '
        "column. n: clips with all of these scores, of all. RTF: processor time on one thread over duration. "
        "A click on a heading sorts.</p>"
    )
    text = about + _table(first, summary["metrics"], colours)
    if others:
        metrics = summary["metrics"]
        inner = "".join(f"<h3>{escape(title)}</h3>{_table(rows, metrics, colours)}" for title, rows in others)
        text += f"<details><summary>By source and group</summary>{inner}</details>"
    return text


def _table(rows: Sequence[dict[str, Any]], metrics: Sequence[str], colours: Mapping[str, str]) -> str:
    heads = [_head("system", "ascending"), _head("n", "descending", "number")]
    for metric in metrics:
        better = "descending" if METRICS[metric].higher_is_better else "ascending"
        heads.append(_head(table.heading(metric), better))
    heads += [_head(name, "ascending", "number") for name in ("RTF", "parameters", "MAC/s")]
    scales = {metric: _scale(rows, metric) for metric in metrics}
    lines = []
    for place, row in enumerate(rows):
        cells = [
            f'<th scope="row" data-sort="{place}">{_dot(row["name"], colours)}{escape(row["name"])}</th>',
            f'<td class="number" data-sort="{row["scored"]}">{row["scored"]}/{row["total"]}</td>',
        ]
        for metric in metrics:
            top = table.best(rows, metric)
            cells.append(_score(row["scores"].get(metric), metric, top, scales[metric], colours.get(row["name"], "")))
        facts = (row["rtf"], row["parameters"], row["macs_per_second"])
        for value, text in zip(facts, table.cost(row), strict=True):
            order = "" if value is None else f' data-sort="{value}"'
            cells.append(f'<td class="number"{order}>{text or "–"}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table class="wide sortable"><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _head(text: str, first: str, kind: str = "") -> str:
    return f'<th scope="col" class="{kind}" data-first="{first}"><button type="button">{escape(text)}</button></th>'


def _dot(name: str, colours: Mapping[str, str]) -> str:
    return f'<span class="dot" aria-hidden="true" style="--colour: {colours.get(name, "transparent")}"></span>'


def _scale(rows: Sequence[dict[str, Any]], metric: str) -> tuple[float, float]:
    """The least and the greatest that a column shows."""
    scores = [row["scores"][metric] for row in rows if metric in row["scores"]]
    values = [
        value for score in scores for value in (table.shown(score), score["low"], score["high"]) if value is not None
    ]
    return (min(values), max(values)) if values else (0.0, 0.0)


def _score(
    score: Mapping[str, Any] | None, metric: str, top: float | None, scale: tuple[float, float], colour: str
) -> str:
    if score is None:
        return "<td>–</td>"
    places = table.digits(metric)
    value = table.shown(score)
    best = ' class="best"' if value == top else ""
    text = f"<span{best}>{value:.{places}f}</span>"
    if score["low"] is not None:
        text += f" <small>{score['low']:.{places}f}–{score['high']:.{places}f}</small>"
        width = (scale[1] - scale[0]) or 1.0
        left, wide = (score["low"] - scale[0]) / width, (score["high"] - score["low"]) / width
        place = f"--from: {100 * left:.2f}%; --width: {100 * wide:.2f}%; --colour: {colour}"
        text += f'<span class="range" aria-hidden="true"><i style="{place}"></i></span>'
    return f'<td data-sort="{value}">{text}</td>'


def _comparisons(summary: Summary) -> str:
    """The differences of all clips, and behind a click those of groups."""
    (text, *others) = [_differences(heads[:-5], rows, summary) for heads, rows in table.comparison_tables(summary)] or [
        ""
    ]
    if others:
        text += f"<details><summary>By group</summary>{''.join(others)}</details>"
    about = (
        '<p class="about">On the same clips, with 95 % bootstrap intervals; p by Wilcoxon’s signed-rank test after '
        "Holm. Grey: not significant at 5 %.</p>"
    )
    return text and about + text


def _differences(heads: Sequence[str], rows: Sequence[dict[str, Any]], summary: Summary) -> str:
    """A row a pair of systems, for each group if there are any, a column a metric."""
    pairs: dict[tuple[str, ...], dict[str, str]] = {}
    for line, row in zip(table.comparison_lines(rows), rows, strict=True):
        *names, _, _, difference, interval, p = line
        unsure = row["p"] is None or row["p"] >= 0.05
        likely = "" if not p else f"p {p}" if p.startswith("<") else f"p = {p}"
        small = ", ".join(part for part in (interval, likely, f"n = {row['n']}") if part)
        cell = f'<td class="{"unsure" if unsure else ""}">{escape(difference)} <small>{escape(small)}</small></td>'
        pairs.setdefault(tuple(names), {})[row["metric"]] = cell
    metrics = [metric for metric in summary["metrics"] if any(metric in cells for cells in pairs.values())]
    titles = [*heads[:-1], "systems", *map(table.heading, metrics)]
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    lines = ""
    for names, cells in pairs.items():
        left = "".join(f'<th scope="row">{escape(name)}</th>' for name in names)
        lines += f"<tr>{left}{''.join(cells.get(metric, '<td>–</td>') for metric in metrics)}</tr>"
    return f'<div class="scroll"><table class="wide"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _plots(plots: Mapping[str, bytes]) -> str:
    figures = []
    for name, png in plots.items():
        caption = escape(CAPTIONS.get(name, name))
        kind = ' class="full"' if name == "distributions" else ""
        image = f'<img src="{_data(png)}" alt="Plot: {caption}">'
        figures.append(f"<figure{kind}><figcaption>{caption}</figcaption>{image}</figure>")
    return f'<div class="plots">{"".join(figures)}</div>' if figures else ""


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _listening(players: Sequence[Player], summary: Summary, colours: Mapping[str, str]) -> str:
    if not players:
        return ""
    about = (
        '<p class="about">Clips where the first system gains most, about the median, and least. All sounds of a clip '
        "run in step: switching changes nothing but what you hear. A click on a spectrogram goes there. "
        f"Spectrograms show {RANGE_DB:.0f} dB, on one scale a clip.</p>"
        "<noscript><p>Playing needs JavaScript.</p></noscript>"
    )
    keys = "".join(f"<li><kbd>{key}</kbd> {what}</li>" for key, what in KEYS)
    modes = "".join(
        f'<button type="button" id="{name}" title="{title}" aria-pressed="false">{label}</button>'
        for name, label, title in MODES
    )
    modes = f'<div class="modes">{modes}<span id="votes" role="status"></span></div>'
    rows = "".join(_player(player, number, summary["metrics"], colours) for number, player in enumerate(players))
    return f'{about}<ul class="keys">{keys}</ul>{modes}{rows}'


def _player(player: Player, number: int, metrics: Sequence[str], colours: Mapping[str, str]) -> str:
    start = liveliest(player.sounds[min(1, len(player.sounds) - 1)].wave, player.rate)  # of the clean one, if any
    waves = cropped([sound.wave for sound in player.sounds], player.rate, start)
    seconds = waves.shape[1] / player.rate
    name = escape(player.clip)
    tags = "".join(f"<li>{escape(key)} {escape(value)}</li>" for key, value in player.tags.items())
    whole = len(player.sounds[0].wave) / player.rate
    if whole > seconds:
        begin = start / player.rate
        tags += f"<li>{begin:.1f}–{begin + seconds:.1f} s of {whole:.1f} s; scores are of all</li>"
    thumbs = "".join(
        f'<button type="button" tabindex="-1" aria-pressed="false"><img src="{_data(png)}" '
        f'alt="Spectrogram of {escape(sound.system)}"><span>{escape(sound.system)}</span></button>'
        for sound, png in zip(player.sounds, spectrograms(waves, player.rate), strict=True)
    )
    known = sum(sound.system in (UNTOUCHED, CLEAN) for sound in player.sounds[:2])  # with their names when blind, too
    levels = " ".join(f"{gain:.4f}" for gain in levelled(waves, player.rate))
    sounds = json.dumps([base64.b64encode(flac(wave, player.rate)).decode() for wave in waves])
    return f"""
<article class="clip" id="clip-{number}" tabindex="-1" aria-labelledby="name-{number}" data-seconds="{seconds}"
 data-known="{known}" data-levels="{levels}">
<header><h3 id="name-{number}">{name}</h3><ul class="tags">{tags}</ul>{_gain(player, metrics)}</header>
<div class="body"><div>
<div class="axes">{_ticks(seconds, player.rate)}
<div class="spectrogram" role="slider" tabindex="0" aria-label="Position in {name}" aria-valuemin="0"
 aria-valuemax="{seconds:.1f}" aria-valuenow="0"><img alt=""><div class="playhead"></div>
<span class="chosen"></span></div></div>
<div class="transport"><button type="button" class="play" aria-label="Play or pause {name}">▶ Play</button>
<button type="button" class="loop" aria-pressed="false">Loop</button><span class="clock"></span>
<span class="trouble" role="alert"></span></div>
</div>{_choices(player, metrics, colours)}</div>
<div class="strip" aria-hidden="true">{thumbs}</div>
<script type="application/json" class="sounds">{sounds}</script>
</article>"""


def _gain(player: Player, metrics: Sequence[str]) -> str:
    """What the first system gains, for the head of a clip."""
    acting = [sound for sound in player.sounds[1:] if sound.scores]
    if not acting or not metrics:
        return ""
    metric = metrics[0]
    before, after = player.sounds[0].scores.get(metric), acting[0].scores.get(metric)
    if before is None or after is None:
        return ""
    change = f"{after - before:+.{table.digits(metric)}f}"
    return f'<p class="gain">{escape(acting[0].system)}: {METRICS[metric].label} <b>{change}</b></p>'


def _ticks(seconds: float, rate: int) -> str:
    """Labels of the axes: kHz upwards, seconds along."""
    along = _steps(seconds, 10)
    up = _steps(rate / 2000, 5)
    return "".join(
        f'<span class="tick {kind}" aria-hidden="true" style="--at: {100 * value / end:.2f}%">{value:g}{unit}</span>'
        for kind, values, end in (("along", along, seconds), ("up", up, rate / 2000))
        for place, value in enumerate(values)
        for unit in [{"along": " s", "up": " kHz"}[kind] if place == len(values) - 1 else ""]
    )


def _steps(end: float, most: int) -> list[float]:
    """Round values from zero to ``end``, at most so many."""
    steps = (factor * 10.0**power for power in range(-3, 6) for factor in (1, 2, 5))
    step = next(step for step in steps if end / step < most)
    return [round(step * count, 6) for count in range(int(end / step + 1e-9) + 1)]


def _choices(player: Player, metrics: Sequence[str], colours: Mapping[str, str]) -> str:
    """A button and the scores of each sound."""
    shown = [metric for metric in metrics if any(metric in sound.scores for sound in player.sounds)]
    heads = "".join(f'<th scope="col">{escape(table.heading(metric))}</th>' for metric in shown)
    lines = []
    for place, sound in enumerate(player.sounds):
        key = f"<kbd>{(place + 1) % 10}</kbd>" if place < 10 else '<kbd class="none"></kbd>'
        cells = "".join(
            f"<td>{sound.scores[metric]:.{table.digits(metric)}f}</td>" if metric in sound.scores else "<td>–</td>"
            for metric in shown
        )
        system = escape(sound.system)
        label = f'{key}{_dot(sound.system, colours)}<span class="name" title="{system}">{system}</span>'
        button = f'<button type="button" aria-pressed="false">{label}</button>'
        lines.append(f'<tr><th scope="row">{button}</th>{cells}</tr>')
    return (
        f'<table class="choices"><thead><tr><td><span class="hidden">system</span></td>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
