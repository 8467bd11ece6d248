"""``enhance separate``: recordings in, their sources out."""

from __future__ import annotations

import functools
from pathlib import Path

import typer

DEFAULT_MODEL = "separator-m"


def separate(
    inputs: list[str] = typer.Argument(..., metavar="INPUT...", help="Files, folders, patterns, URLs of such."),
    output: str = typer.Option(..., "--output", "-o", metavar="DIR", help="Folder: DIR/TRACK/SOURCE.wav."),
    model: str = typer.Option(DEFAULT_MODEL, "--model", "-m", help="Name from `enhance models`, or a file."),
    blend: str | None = typer.Option(
        None, "--blend", metavar="FILE", help="In place of --model: several, weighted as `enhance blend fit` wrote it."
    ),
    sources: str = typer.Option("", "--sources", help="Only these, with commas, for instance speech."),
    residual: bool = typer.Option(False, "--residual", help="Also write what the written sources leave of the input."),
    ending: str | None = typer.Option(
        None, "--format", metavar="EXT", help="wav, flac, mp3, ... By default that of the input; wav for a video."
    ),
    wiener: bool = typer.Option(
        False, "--wiener", help="Filter once more, by level and direction: the sources then sum to the input."
    ),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda or mps."),
    prevent_clipping: bool = typer.Option(
        False, "--prevent-clipping", help="Lower all parts of a file alike where a peak would pass full scale."
    ),
    jobs: int = typer.Option(1, "--jobs", "-j", min=1, help="Files at a time, one thread each."),
    force: bool = typer.Option(False, "--force", "-f", help="Overwrite outputs that exist."),
    records: Path | None = typer.Option(
        None,
        "--records",
        help="Write a JSON line for each file there; run again, only what is missing or changed is done.",
    ),
    plot: bool = typer.Option(
        False, "--plot", help="Draw spectrograms of the input and of each part to DIR/TRACK/spectrograms.png."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object a line for each file."),
) -> None:
    """Take recordings apart: speech, music and noise, each into a file.

    Keeps the format, rate, channels and length of the file. Nothing is overwritten unless asked, and an output
    appears when it is complete.
    """
    from enhance.cli.denoise import process
    from enhance.inference.batch import run
    from enhance.inference.blend import load_blend
    from enhance.inference.records import Records
    from enhance.inference.separate import check_wiener, choose_parts
    from enhance.inference.tasks import Settings, plan_separation
    from enhance.models.checkpoint import load_model

    wanted = [name.strip() for name in sources.split(",") if name.strip()]
    network = load_blend(blend) if blend else load_model(model)
    names = choose_parts(network, wanted, residual)
    if wiener:
        check_wiener(network)
    suffix = f".{ending.removeprefix('.').lower()}" if ending else None
    settings = Settings(
        blend or model, device, prevent_clipping=prevent_clipping, blend=blend is not None, wiener=wiener
    )
    run_jobs = functools.partial(run, jobs=jobs)
    if records is None:
        process(plan_separation(inputs, output, names, suffix, plot, force), settings, run_jobs, as_json)
        return
    kept = Records(records, settings)
    tasks = plan_separation(inputs, output, names, suffix, plot, force, kept.wrote)
    process(kept.missing(tasks), settings, run_jobs, as_json, kept)
