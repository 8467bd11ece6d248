"""The page of the throughput measurement, from its results.json and, for the default model, from footprint.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, LISTING = "results.json", "listing.json"
FOOTPRINT = HERE.parent / "results" / "footprint.json"  # of the default model
CORPUS = 10_000  # hours
STAGES = ("decode", "resample", "model", "encode")


def readme() -> str:
    """Markdown."""
    found, listed = read(HERE / RESULTS), read(HERE / LISTING)
    return f"""# Throughput

How much audio `enhance denoise` gets through with `{found["model"]}`, one thread a process. {found["processor"]};
torch {found["torch"]}, enhance {found["enhance"]}. Made by `python benchmarks/throughput/run.py` on an idle machine.

## Where the time goes

Processor time within one process, seconds for a minute of audio; resampling includes the band above the model's.

{stages(found["stages"])}

## Processes

{processes(found["processes"])}

## With the default model

{corpus(found, read(FOOTPRINT))}

## Many short files

{short(found["short"])}

## A million files

{listing(listed)}
"""


def read(path: Path) -> dict[str, Any]:
    """A committed result."""
    return json.loads(path.read_text(encoding="utf-8"))


def core_hours(found: dict[str, Any], footprint: dict[str, Any]) -> list[tuple[str, str, float]]:
    """Model, files, and what ``CORPUS`` of them take: the model measured here first, then the default one."""
    each, rate = found["processes"], found["stages"][0]["rate"]
    audio = 60 * each["files"] * each["minutes"]
    rows = [
        (
            found["model"],
            f"{rate} Hz, 1 ch, of {each['minutes']} minutes, {row['jobs']} at a time",
            CORPUS * row["jobs"] * row["seconds"] / audio,
        )
        for row in each["rows"]
    ]
    longest: dict[Any, dict[str, Any]] = {}  # of each kind
    for row in sorted(footprint["rows"], key=lambda row: row["minutes"]):
        longest[row["rate"], row["channels"], row["format"]] = row
    for row in sorted(longest.values(), key=lambda row: row["rtf"]):
        files = f"{row['rate']} Hz, {row['channels']} ch, {row['format']}, of {row['minutes']} minutes"
        rows.append((footprint["model"], files, CORPUS * row["rtf"]))
    return rows


def summary() -> str:
    """Markdown for the README: which model was measured, and what the default takes."""
    found, footprint = read(HERE / RESULTS), read(FOOTPRINT)
    rows = core_hours(found, footprint)
    default = next(row for row in rows if row[0] == footprint["model"] and row[1].startswith("16000 Hz, 1 ch"))
    page = "benchmarks/throughput/README.md"
    return (
        f"[How much it gets through]({page}) was measured with `{found['model']}`: {CORPUS:,} hours of 16 kHz mono "
        f"take {rows[0][2]:.0f} core\nhours with it, and {default[2]:.0f} with `{default[0]}`, the default "
        f"([other files]({page}#with-the-default-model))."
    )


def corpus(found: dict[str, Any], footprint: dict[str, Any]) -> str:
    default = footprint["model"]
    lines = [
        f"Unless told otherwise `enhance denoise` takes `{default}`, of which there is processor time on one thread",
        "(`python benchmarks/footprint.py`, measured apart). By that, and by the wall time above,",
        f"{CORPUS:,} hours of audio take, in whole commands:",
        "",
        "| model | files | core hours |",
        "| --- | --- | --- |",
    ]
    rows = core_hours(found, footprint)
    return "\n".join(lines + [f"| {model} | {files} | {hours:.0f} |" for model, files, hours in rows])


def stages(rows: list[dict[str, Any]]) -> str:
    lines = [f"| file | {' | '.join(STAGES)} | not the model | hours an hour and core |", "| --- " * 7 + "|"]
    for row in rows:
        times = [row["seconds_a_minute"][name] for name in STAGES]
        other = 1 - row["seconds_a_minute"]["model"] / sum(times)
        file = f"{row['rate']} Hz, {row['channels']} ch, {row['format']}"
        cells = [file, *(f"{seconds:.2f}" for seconds in times), f"{100 * other:.0f} %", f"{60 / sum(times):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    limit = rows[0]["seconds_a_minute"]
    hours = 60 / (limit["decode"] + limit["encode"])
    return "\n".join(lines) + f"\n\nDecoding and encoding the first of them alone: {hours:.0f} hours an hour."


def processes(found: dict[str, Any]) -> str:
    lines = [
        f"{found['files']} files of {found['minutes']} minutes, whole commands, start included:",
        "",
        "| processes | wall time (s) | hours of audio an hour | times as fast |",
        "| --- | --- | --- | --- |",
    ]
    audio, first = 60 * found["files"] * found["minutes"], found["rows"][0]["seconds"]
    for row in found["rows"]:
        seconds = row["seconds"]
        lines.append(f"| {row['jobs']} | {seconds:.1f} | {audio / seconds:.0f} | {first / seconds:.2f} |")
    return "\n".join(lines)


def short(found: dict[str, Any]) -> str:
    audio = found["files"] * found["seconds"]
    one, many = found["one_file"], found["short_files"]
    share, extra = 100 * one / many, 1000 * (many - one) / found["files"]
    return "\n".join(
        (
            f"{audio} s of audio, one process, whole commands:",
            "",
            "| files | wall time (s) | hours of audio an hour |",
            "| --- | --- | --- |",
            f"| 1 | {one:.1f} | {audio / one:.0f} |",
            f"| {found['files']} of {found['seconds']} s | {many:.1f} | {audio / many:.0f} |",
            "",
            f"Short files have {share:.0f} % of the throughput of one long file; each takes {extra:.1f} ms more.",
        )
    )


def listing(found: dict[str, Any]) -> str:
    lines = [
        "What the process that hands out the work needs for a corpus that is only made up, without the work",
        f"(`python benchmarks/throughput/listing.py`; enhance {found['enhance']}):",
        "",
        "| run | files | handed out | memory grew by (MB) | processor time a file (ms) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in found["rows"]:
        cells = (row["run"], row["files"], row["handed_out"], f"{row['growth_mb']:.0f}", f"{row['ms_a_file']:.2f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
