"""The listening page of a benchmark: which clips, and what every system makes of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from enhance.audio import read
from enhance.bench import plots
from enhance.bench.page import CLEAN, Player, Sound, choose, write_page
from enhance.bench.records import UNTOUCHED, Clip, Record, Summary
from enhance.bench.run import Bench
from enhance.bench.score import estimate_in_order
from enhance.errors import EnhanceError


def write_listening_page(path: Path, bench: Bench, summary: Summary, records: Sequence[Record]) -> None:
    """Write ``path``: the tables, the plots, and players for the clips with most, median and least gain.

    Of several sources each has a player of its own. Estimates are made again for these clips; a system that fails on
    one is left out of its row.
    """
    wanted = choose(records, bench.job.metrics[0])
    clips = {clip.id: clip for clip in bench.clips}
    players: dict[tuple[str, str], Player] = {}
    for name in dict.fromkeys(clip for clip, _ in wanted):  # a clip at a time, with all of its sources
        sources = [source for clip, source in wanted if clip == name]
        made = _players(clips[name], sources, bench, records)
        players |= {(name, source): player for source, player in made.items()}
    title = f"{summary['data']['name']}: {summary['data']['clips']} clips"
    write_page(path, summary, [players[place] for place in wanted], _plots(records, summary), title)


def _players(clip: Clip, wanted: Sequence[str], bench: Bench, records: Sequence[Record]) -> dict[str, Player]:
    """The sounds of each of those sources of the clip, with their scores."""
    scores = {(record.system, record.source): record.scores for record in records if record.clip == clip.id}
    mixture, rate = read(clip.mixture)
    references = {source: read(path)[0] for source, path in clip.references.items()}
    players = {}
    for source in wanted:
        name = f"{clip.id} · {source}" if len(references) > 1 else clip.id
        sounds = [Sound(UNTOUCHED, mixture.mean(0), scores.get((UNTOUCHED, source), {}))]
        if references:
            sounds.append(Sound(CLEAN, references[source].mean(0), {}))
        players[source] = Player(name, clip.tags, rate, sounds)
    for system in bench.systems:
        if system.name == UNTOUCHED:
            continue
        try:
            made = estimate_in_order(system, clip, bench.job, mixture, rate, references)
        except EnhanceError:  # reported with the scores
            continue
        for source, player in players.items():
            wave = made.waves[source].mean(0)
            player.sounds.append(Sound(system.name, wave, scores.get((system.name, source), {})))
    return players


def _plots(records: Sequence[Record], summary: Summary) -> dict[str, bytes]:
    """The PNGs of ``--plot``, by name."""
    found = {}
    for name, figure in plots.figures(records, summary).items():
        stream = io.BytesIO()
        figure.savefig(stream, format="png")
        found[name] = stream.getvalue()
    return found
