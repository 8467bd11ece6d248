"""``enhance bench``: tables of scores that one can trust."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from enhance.cli.denoise import PRECISION
from enhance.console import note, progress, stderr, stdout, warn
from enhance.errors import EnhanceError

if TYPE_CHECKING:
    from enhance.bench.records import Record, Summary
    from enhance.bench.run import Bench


def bench(
    data: Path | None = typer.Argument(
        None,
        metavar="[DATA]",
        help="Folder with noisy/ and clean/, Voice Bank+DEMAND, a DNS-Challenge test set, LibriMix, MUSDB-like "
        "tracks, or a CSV manifest. By default a dozen clips that come with the package.",
        show_default=False,
    ),
    models: str = typer.Option(
        "", "--models", "-m", help="Names, checkpoints or blends, with commas. Default: shipped denoisers."
    ),
    estimates: list[str] = typer.Option(
        [],
        "--estimates",
        "-e",
        metavar="[NAME=]DIR",
        help="Files that another tool made, or their scores. Repeatable.",
    ),
    metrics: str = typer.Option(
        "",
        "--metrics",
        help="With commas, or all. Default: PESQ-WB, STOI and SI-SDR; of several sources BSSEval v4 and MDX's SDR; of "
        "talkers SI-SDR and what it gains; DNSMOS without references.",
    ),
    jobs: int = typer.Option(0, "--jobs", "-j", min=0, help="Processes. Default: one for each core."),
    limit: int | None = typer.Option(None, "--limit", min=1, help="Only so many clips, a seeded random pick."),
    by: str | None = typer.Option(None, "--by", help="Also a table for each snr, speaker, noise, ... of the clips."),
    against: str | None = typer.Option(
        None, "--against", metavar="SYSTEM", help="Compare every system with this one; default: the first with all."
    ),
    align: bool = typer.Option(False, "--align", help="Take a constant delay, up to 1 s, out of --estimates."),
    device: str = typer.Option("cpu", "--device", help="Where models run: cpu, cuda, mps or auto."),
    precision: str = PRECISION,
    records: Path | None = typer.Option(None, "--records", help="Write each clip's scores there, one JSON line each."),
    resume: bool = typer.Option(False, "--resume", help="Go on with the --records of a run that was broken off."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON in place of the table."),
    as_csv: bool = typer.Option(False, "--csv", help="Print CSV in place of the table."),
    as_markdown: bool = typer.Option(False, "--markdown", help="Print Markdown in place of the table."),
    plot: Path | None = typer.Option(None, "--plot", metavar="DIR", help="Draw plots into that folder."),
    html: Path | None = typer.Option(None, "--html", metavar="PAGE", help="Write a page to listen to, in one file."),
) -> None:
    """Score models, and what other tools made, with PESQ, STOI, SDR and more.

    Every mean has a 95 % interval, systems are compared on the same clips by a paired test, and a clip that cannot
    be scored is reported, not dropped.
    """
    from enhance.bench.run import SHIPPED, Request, prepare
    from enhance.models.checkpoint import shipped_denoisers

    if as_json + as_csv + as_markdown > 1:
        raise EnhanceError("--json, --csv and --markdown", "choose one of them")
    if html is not None and html.is_dir():
        raise EnhanceError(f"{html}: is a folder", "--html takes the name of a page, such as listen.html")
    request = Request(
        data=data or SHIPPED,
        models=_listed(models) or (() if estimates else shipped_denoisers()),
        estimates=tuple(estimates),
        metrics=_listed(metrics),
        jobs=jobs or _cores(),
        limit=limit,
        by=by,
        against=against,
        device=device,
        precision=precision,
        align=align,
        records=records,
        resume=resume,
    )
    with stderr().status("looking at the clips and models"):
        prepared = prepare(request)
    for line in prepared.warnings:
        warn(line)
    found = _run(prepared)
    summary = _summary(prepared, found)
    _print(summary, as_json, as_csv, as_markdown)
    _report(prepared, summary, found, plot, html)
    if prepared.warnings or not all(record.scores or record.absent for record in found):
        raise typer.Exit(1 if any(record.scores for record in found) else 2)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(bench: Bench) -> list[Record]:
    from enhance.bench.run import run

    total = len(bench.clips) * len(bench.systems)
    with progress("{task.completed}/{task.total}") as bar:
        task = bar.add_task("score", total=total)
        return run(bench, lambda done: bar.advance(task, done))


def _summary(bench: Bench, records: list[Record]) -> Summary:
    from enhance.bench.records import UNTOUCHED
    from enhance.bench.summary import footer, summarise

    request = bench.request
    seconds = {record.clip: record.seconds for record in records if record.system == UNTOUCHED}
    about = {**bench.about, "seconds": sum(seconds.values())}
    foot = footer(["enhance", *sys.argv[1:]], bench.job.device, request.jobs, request.precision)
    ways = (bench.job.metrics, request.by, about, foot, request.against)
    return summarise(records, bench.systems, bench.clips, *ways)


def _print(summary: Summary, as_json: bool, as_csv: bool, as_markdown: bool) -> None:
    from enhance.bench import table

    if as_json:
        print(json.dumps(summary, indent=2))
    elif as_csv:
        print(table.csv_text(summary), end="")
    elif as_markdown:
        print(table.markdown(summary), end="")
    else:
        stdout().print(table.rich_tables(summary, stdout().width))


def _report(bench: Bench, summary: Summary, records: list[Record], plot: Path | None, html: Path | None) -> None:
    """Warnings, plots and the page."""
    from enhance.bench.summary import warnings

    for line in warnings(summary, records):
        warn(line)
    if plot is not None:
        from enhance.bench.plots import save_all

        for path in save_all(records, summary, plot):
            note(f"wrote {path}")
    if html is not None:
        from enhance.bench.listening import write_listening_page

        with stderr().status("writing the page"):
            write_listening_page(html, bench, summary, records)
        note(f"wrote {html}")
