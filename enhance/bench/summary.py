"""From records to what a table shows: means with intervals, groups, paired comparisons, and the footer."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from collections.abc import Iterable, Sequence
from statistics import mean, median
from typing import Any

import numpy as np

from enhance.bench.records import UNTOUCHED, Clip, Record, Summary, by_system
from enhance.bench.statistics import holm, mean_interval, median_interval, paired_p
from enhance.bench.systems import FACTS, System
from enhance.errors import EnhanceError
from enhance.metrics import METRICS

PACKAGES = ("torch", "pesq", "pystoi", "museval", "speechmos")
# Means of the untouched Voice Bank+DEMAND test set, and of its two speakers, at 16 kHz.
VOICE_BANK = {
    frozenset(("p232", "p257")): (824, {"pesq_wb": 1.97, "stoi": 0.921, "si_sdr": 8.45}),
    frozenset(("p232",)): (393, {"pesq_wb": 2.165, "stoi": 0.927, "si_sdr": 8.45}),
}
UNLIKE_DELAYS = 0.002  # s, between clips of one system: --align takes them out, a clip at a time, but says so
TOLERANCE = {"pesq_wb": 0.02, "stoi": 0.003, "si_sdr": 0.06}


def summarise(
    records: Sequence[Record],
    systems: Sequence[System],
    clips: Sequence[Clip],
    metrics: Sequence[str],
    by: str | None,
    data: dict[str, Any],
    footer: dict[str, str],
    against: str | None = None,
) -> Summary:
    """The summary, as ``enhance.bench.records.Summary`` describes it, without sources that a clip does not hold.

    Every system is compared with ``against``; without it, the first one that does something with every other one.
    EnhanceError where no clip has the tag ``by``.
    """
    records = [record for record in records if not record.absent]
    sources = list(dict.fromkeys(record.source for record in records))
    pairs = _compared(systems, against)
    summary: Summary = {
        "data": {**data, "clips": len(clips)},
        "metrics": list(metrics),
        "systems": _rows(records, systems, metrics),
        "comparisons": _after_holm(_comparisons(records, pairs, metrics)),
        "footer": footer,
    }
    if len(sources) > 1:
        summary["sources"] = {
            source: _rows([record for record in records if record.source == source], systems, metrics)
            for source in sources
        }
    if by:
        summary["groups"] = {by: _groups(records, systems, clips, metrics, by)}
        acting = [pair for pair in pairs if UNTOUCHED not in pair] or pairs
        found = [
            {"group": value, **row}
            for value in summary["groups"][by]
            for row in _comparisons([one for one in records if one.tags.get(by) == value], acting, metrics)
        ]
        summary["group_comparisons"] = {by: _after_holm(found)}
    return summary


def _groups(
    records: Sequence[Record], systems: Sequence[System], clips: Sequence[Clip], metrics: Sequence[str], by: str
) -> dict[str, list[dict[str, Any]]]:
    values = {clip.tags[by] for clip in clips if by in clip.tags}
    if not values:
        known = sorted({tag for clip in clips for tag in clip.tags})
        hint = f"known are {', '.join(known)}" if known else "a manifest, or a CSV beside the clips, would tell"
        raise EnhanceError(f"no clip says its {by}", hint)
    return {
        value: _rows([record for record in records if record.tags.get(by) == value], systems, metrics)
        for value in sorted(values, key=_natural)
    }


def check_tag(by: str | None, clips: Sequence[Clip]) -> None:
    """EnhanceError where no clip has that tag: found before the work."""
    if by:
        _groups([], [], clips, [], by)


def _natural(value: str) -> tuple[bool, float, str]:
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value


def _rows(records: Sequence[Record], systems: Sequence[System], metrics: Sequence[str]) -> list[dict[str, Any]]:
    found = by_system(records)
    return [_row(found.get(system.name, []), system, metrics) for system in systems]


def _row(records: Sequence[Record], system: System, metrics: Sequence[str]) -> dict[str, Any]:
    """A system's line: a clip is scored where all of the metrics have a value, for each of its sources."""
    clips = _by_clip(records)
    scored = sum(all(metric in record.scores for record in found for metric in metrics) for found in clips.values())
    timed = {record.clip: record for record in records if record.cpu_seconds is not None}  # once, not per source
    seconds = sum(record.seconds for record in timed.values())
    facts: dict[str, Any] = {**dict.fromkeys(FACTS), **system.facts}
    if seconds:
        facts["rtf"] = sum(record.cpu_seconds or 0.0 for record in timed.values()) / seconds
    scores = {}
    for metric in metrics:
        values = list(_of_clips(clips, metric).values())
        if values:
            average, low, high = mean_interval(values)
            scores[metric] = {"mean": average, "low": low, "high": high, "n": len(values)}
            if METRICS[metric].median:
                middle, low, high = median_interval(_by_source(clips, metric))
                scores[metric] |= {"median": middle, "low": low, "high": high}
    delays = [record.delay for record in records if record.delay is not None]
    if delays:
        facts["delay"] = {"median": median(delays), "low": min(delays), "high": max(delays)}
    return {
        "name": system.name,
        "kind": system.kind,
        "scored": scored,
        "total": len(clips),
        **facts,
        "scores": scores,
    }


def _by_clip(records: Sequence[Record]) -> dict[str, list[Record]]:
    """A system's records of each clip, one for each source."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.clip, []).append(record)
    return found


def _of_clips(clips: dict[str, list[Record]], metric: str) -> dict[str, float]:
    """Each clip's score, the mean over its sources: these are no independent samples. Clips without are left out."""
    return {name: mean(values.values()) for name, values in _scored(clips, metric).items()}


def _by_source(clips: dict[str, list[Record]], metric: str) -> np.ndarray:
    """The same scores as ``(clips, sources)``, NaN where a clip does not hold a source."""
    scored = _scored(clips, metric).values()
    sources = dict.fromkeys(source for values in scored for source in values)
    return np.array([[values.get(source, np.nan) for source in sources] for values in scored])


def _scored(clips: dict[str, list[Record]], metric: str) -> dict[str, dict[str, float]]:
    """Each clip's scores by source; clips without one of them are left out."""
    return {
        name: {record.source: record.scores[metric] for record in found}
        for name, found in clips.items()
        if all(metric in record.scores for record in found)
    }


def _compared(systems: Sequence[System], against: str | None) -> list[tuple[str, str]]:
    """Which two systems are compared: the first of each pair less the second."""
    names = [system.name for system in systems]
    if against is not None:
        return [(name, against) for name in names if name != against]
    first = next((name for name in names if name != UNTOUCHED), None)
    return [(first, name) for name in names if name != first] if first else []


def _comparisons(
    records: Sequence[Record], pairs: Sequence[tuple[str, str]], metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """The first system of each pair less the second, on the clips that both have."""
    clips = {name: _by_clip(found) for name, found in by_system(records).items()}
    rows = []
    for system, against in pairs:
        for metric in metrics:
            ours, theirs = (_of_clips(clips.get(name, {}), metric) for name in (system, against))
            differences = [value - theirs[clip] for clip, value in ours.items() if clip in theirs]
            if differences:
                average, low, high = mean_interval(differences)
                row = {"system": system, "against": against, "metric": metric, "difference": average}
                rows.append({**row, "low": low, "high": high, "p": paired_p(differences), "n": len(differences)})
    return rows


def _after_holm(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same comparisons with their p adjusted for how many there are."""
    return [{**row, "p": p} for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True)]


def footer(arguments: Sequence[str], device: str, jobs: int, precision: str = "32-true") -> dict[str, str]:
    """What another person needs to get the same numbers: versions, machine, command."""
    where = f"{device} ({_processor()})" + ("" if precision == "32-true" else f", {precision}")
    return {**versions(), "device": where, "jobs": str(jobs), "command": shlex.join(arguments)}


def versions() -> dict[str, str]:
    """Of this package, Python, and the packages that scores depend on, where they are installed."""
    from enhance import __version__

    found = {"enhance": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The processor's name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def warnings(summary: Summary, records: Iterable[Record]) -> list[str]:
    """What a reader of the table must know: failures, and data that are not what they seem."""
    records = list(records)
    lines = []
    failed = [record for record in records if record.error]
    for record in failed[:10]:
        lines.append(f"{record.system}: {record.error}")
    if len(failed) > 10:
        lines.append(f"and {len(failed) - 10} more without an estimate or reference (see --records)")
    lines += _unscored(records)
    for row in summary["systems"]:
        if "delay" in row and row["delay"]["high"] - row["delay"]["low"] > UNLIKE_DELAYS:
            low, high = (1000 * row["delay"][end] for end in ("low", "high"))
            lines.append(f"{row['name']}: --align found delays from {low:.0f} to {high:.0f} ms, not a constant one")
    return lines + _voice_bank_warnings(summary, records)


def _unscored(records: Sequence[Record]) -> list[str]:
    """A line for each reason why scores are missing, with what it concerns."""
    reasons: dict[str, list[tuple[str, str, str]]] = {}
    for record in records:
        for metric, reason in record.unscored.items():
            reasons.setdefault(reason, []).append((record.system, metric, record.clip))
    lines = []
    for reason, found in reasons.items():
        systems, metrics, clips = (list(dict.fromkeys(column)) for column in zip(*found, strict=True))
        where = clips[0] if len(clips) == 1 else f"{len(clips)} clips, {clips[0]} the first"
        lines.append(f"{', '.join(systems)}: no {', '.join(metrics)} of {where}: {reason}")
    more = [f"and {len(lines) - 10} more reasons (see --records)"] if len(lines) > 10 else []
    return lines[:10] + more


def _voice_bank_warnings(summary: Summary, records: Sequence[Record]) -> list[str]:
    """Where the clips are those of the Voice Bank+DEMAND test set: whether the untouched row is the known one."""
    clips = {record.clip.rpartition("/")[2] for record in records}
    speakers = frozenset(clip.partition("_")[0] for clip in clips)
    if speakers not in VOICE_BANK or len(clips) != VOICE_BANK[speakers][0]:
        return []
    untouched = next((row["scores"] for row in summary["systems"] if row["name"] == UNTOUCHED), {})
    if untouched.get("stoi", {}).get("mean", 0.0) > 0.9999:  # clean speech is given as the mixture, on purpose
        return []
    lines = []
    for metric, known in VOICE_BANK[speakers][1].items():
        if metric in untouched and abs(untouched[metric]["mean"] - known) > TOLERANCE[metric]:
            lines.append(
                f"untouched Voice Bank+DEMAND has {metric} {untouched[metric]['mean']:.3f} here, {known} where it is "
                "published: another resampler, or other files?"
            )
    return lines
