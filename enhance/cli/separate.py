"""``enhance separate``: recordings in, their sources out."""

from __future__ import annotations

from pathlib import Path

import typer

from enhance.cli.denoise import (
    ADDRESS,
    ENGINE,
    FORCE,
    JOBS,
    LISTEN,
    PRECISION,
    RECORDS,
    SKIP_EXISTING,
    TRACK,
    known,
    process,
    runner,
    suffix,
)
from enhance.errors import EnhanceError

DEFAULT_MODEL = "separator-m"


def separate(
    inputs: list[str] = typer.Argument(..., metavar="INPUT...", help="Files, folders, patterns, URLs of such."),
    output: str = typer.Option(..., "--output", "-o", metavar="DIR", help="Folder: DIR/TRACK/SOURCE.wav."),
    model: str | None = typer.Option(
        None, "--model", "-m", help=f"Name from `enhance models`, or a file; by default {DEFAULT_MODEL}."
    ),
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
    precision: str = PRECISION,
    prevent_clipping: bool = typer.Option(
        False, "--prevent-clipping", help="Lower all parts of a file alike where a peak would pass full scale."
    ),
    independent: bool = typer.Option(
        False, "--independent", help="Separate channels one by one: different microphones, not one stereo picture."
    ),
    listen: float | None = LISTEN,
    track: int | None = TRACK,
    jobs: int | None = JOBS,
    engine: str = ENGINE,
    address: str | None = ADDRESS,
    force: bool = FORCE,
    skip_existing: bool = SKIP_EXISTING,
    records: Path | None = RECORDS,
    plot: bool = typer.Option(
        False, "--plot", help="Draw spectrograms of the input and of each part to DIR/TRACK/spectrograms.png."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object a line for each file."),
) -> None:
    """Take recordings apart: speech, music and noise, each into a file.

    Keeps the format, rate, channels and length of the file. Nothing is overwritten unless asked, and an output
    appears when it is complete.
    """
    from enhance.inference.blend import load_blend
    from enhance.inference.separate import check_wiener, choose_parts
    from enhance.inference.tasks import Settings, check_listen, plan_separation
    from enhance.models.checkpoint import load_model

    check_listen(listen)
    chosen = _model(model, blend)
    run = runner(engine, address, jobs, device)
    wanted = [name.strip() for name in sources.split(",") if name.strip()]
    network = load_model(chosen) if blend is None else load_blend(chosen)
    names = choose_parts(network, wanted, residual)
    if wiener:
        check_wiener(network, independent)
    settings = Settings(
        chosen,
        "cpu" if engine == "ray" else device,
        prevent_clipping=prevent_clipping,
        blend=blend is not None,
        wiener=wiener,
        independent=independent,
        listen=listen,
        precision=precision,
        track=track,
    )
    kept, existing, ours = known(records, settings, force, skip_existing)
    tasks = plan_separation(inputs, output, names, suffix(ending), plot, ours=ours)
    process(tasks, settings, run, as_json, kept, existing)


def _model(model: str | None, blend: str | None) -> str:
    """What to separate with; EnhanceError if that is said twice, or with the wrong option."""
    if blend is not None:
        if model is not None:
            raise EnhanceError(f"--model {model} and --blend {blend}", "give one of them: a blend names its models")
        return blend
    if model is not None and Path(model).suffix.lower() == ".toml":
        raise EnhanceError(f"--model {model}: is no checkpoint", "if it is a blend, give it with --blend")
    return model or DEFAULT_MODEL
