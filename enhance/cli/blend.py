"""``enhance blend``: several separators as one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from enhance.console import note, progress, stdout, warn

if TYPE_CHECKING:
    from enhance.bench.records import Clip
    from enhance.inference.fit_blend import Fit, Known

app = typer.Typer(help="Several separators as one: a weighted sum of their estimates.", no_args_is_help=True)


@app.callback()
def _blend() -> None:
    """Keeps ``fit`` a command of its own, though there is no other yet."""


@app.command()
def fit(
    data: Path = typer.Argument(
        ..., help="Mixtures with their sources, as `enhance bench` takes them. Not the test set."
    ),
    models: str = typer.Option(..., "--models", "-m", help="Names or checkpoints, with commas."),
    output: Path = typer.Option(
        ..., "--output", "-o", metavar="FILE", help="The blend, for `enhance separate --blend`."
    ),
    limit: int | None = typer.Option(None, "--limit", min=1, help="Only so many clips, a seeded random pick."),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda or mps."),
    force: bool = typer.Option(False, "--force", "-f", help="Overwrite an output that exists."),
) -> None:
    """Find the weights with the least squared error: not negative, with a sum of one, a set for each source."""
    from enhance.bench.pairs import check_clip, find_clips, pick
    from enhance.errors import EnhanceError
    from enhance.inference.blend import write_blend
    from enhance.inference.fit_blend import fit as fit_weights
    from enhance.models.checkpoint import load_model

    _check_output(output, force)
    names = [name.strip() for name in models.split(",") if name.strip()]
    if len(names) < 2:
        raise EnhanceError(f"--models {models}: one model alone", "give two or more, with commas")
    clips, warnings = find_clips(data)
    for line in warnings:
        warn(line)
    clips = pick(clips, limit) if limit else clips
    for clip in clips:
        check_clip(clip)
    places = {f"model-{number}": name for number, name in enumerate(names, start=1)}
    loaded = {name: load_model(where) for name, where in places.items()}
    with progress("{task.completed}/{task.total}") as bar:
        known = bar.track(_read(clips), total=len(clips), description="fit")
        found = fit_weights(loaded, known, device)
    write_blend(output, {name: _from(output, where) for name, where in places.items()}, found.weights)
    _print(found, places)
    note(f"wrote {output}")


def _check_output(output: Path, force: bool) -> None:
    """EnhanceError for what must not or cannot be written: before the work, which takes long."""
    from enhance.errors import EnhanceError

    if output.is_dir():
        raise EnhanceError(f"{output}: is a folder", "-o takes the name of a file, such as blend.toml")
    if output.exists() and not force:
        raise EnhanceError(f"{output}: exists", "choose another name with -o, or add --force")


def _from(blend: Path, model: str) -> str:
    """A model as the blend names it: a checkpoint by its way from there."""
    return Path(os.path.relpath(model, blend.parent)).as_posix() if Path(model).is_file() else model


def _read(clips: list[Clip]) -> Iterator[Known]:
    from enhance.audio import read
    from enhance.inference.fit_blend import Known

    for clip in clips:
        mixture, rate = read(clip.mixture)
        yield Known(mixture, {source: read(path)[0] for source, path in clip.references.items()}, rate)


def _print(found: Fit, places: dict[str, str]) -> None:
    """A line for each source and model: its weight, and its error; the last of a source is that of the blend."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("source", "model", "weight", "error (dB of the mixture)"):
        table.add_column(title, justify="left" if title in ("source", "model") else "right", overflow="fold")
    for source, errors in found.errors.items():
        for name, error in errors.items():
            weight = found.weights[source].get(name)
            table.add_row(source, places.get(name, name), "" if weight is None else f"{weight:.3f}", f"{error:.2f}")
    stdout().print(table)
