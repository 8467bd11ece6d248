"""The listening page of a benchmark: which clips, and what every system makes of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from enhance.audio import read
from enhance.bench import plots
from enhance.bench.page import Player, Sound, choose, write_page
from enhance.bench.records import UNTOUCHED, Clip, Record, Summary
from enhance.bench.run import Bench
from enhance.bench.systems import estimate
from enhance.errors import EnhanceError


def write_listening_page(path: Path, bench: Bench, summary: Summary, records: Sequence[Record]) -> None:
    """Write ``path``: the tables, the plots, and players for the clips with most, median and least gain.

    Estimates are made again for these clips; a system that fails on one is left out of its row.
    """
    wanted = choose(records, bench.job.metrics[0])
    clips = {clip.id: clip for clip in bench.clips}
    players = [_player(clips[name], bench, records) for name in wanted]
    title = f"{summary['data']['name']}: {summary['data']['clips']} clips"
    write_page(path, summary, players, _plots(records, summary), title)


def _player(clip: Clip, bench: Bench, records: Sequence[Record]) -> Player:
    """The sounds of the clip's first source, with their scores."""
    sources = list(clip.references) or ["speech"]
    scores = {
        record.system: record.scores for record in records if (record.clip, record.source) == (clip.id, sources[0])
    }
    mixture, rate = read(clip.mixture)
    sounds = [Sound(UNTOUCHED, mixture.mean(0), scores.get(UNTOUCHED, {}))]
    if clip.references:
        reference, _ = read(clip.references[sources[0]])
        sounds.append(Sound("clean", reference.mean(0), {}))
    for system in bench.systems:
        if system.name == UNTOUCHED:
            continue
        try:
            made = estimate(system, clip, mixture, rate, sources, bench.job.device, bench.job.align)
        except EnhanceError:  # reported with the scores
            continue
        sounds.append(Sound(system.name, made.waves[sources[0]].mean(0), scores.get(system.name, {})))
    return Player(clip.id, clip.tags, rate, sounds)


def _plots(records: Sequence[Record], summary: Summary) -> dict[str, bytes]:
    """The PNGs of ``--plot``, by name."""
    found = {}
    for name, figure in plots.figures(records, summary).items():
        stream = io.BytesIO()
        figure.savefig(stream, format="png")
        found[name] = stream.getvalue()
    return found
