"""``enhance prepare``: audio files to a data set that training reads."""

from __future__ import annotations

import os
from pathlib import Path

import typer


def prepare(
    output: Path = typer.Argument(
        ..., help="Folder of the prepared data set, or a recipe with a data.toml, for instance recipes/voicebank."
    ),
    data: list[Path] = typer.Option(
        [],
        "--data",
        help="Folder with a manifest.csv; may be given several times. With a recipe: where to put its data set.",
    ),
    speech: list[Path] = typer.Option([], "--speech", help="Folder of clean speech, one folder a speaker."),
    noise: list[Path] = typer.Option([], "--noise", help="Folder of noise recordings."),
    music: list[Path] = typer.Option([], "--music", help="Folder of music."),
    rir: list[Path] = typer.Option([], "--rir", help="Folder of room impulse responses."),
    rooms: int | None = typer.Option(
        None, min=0, help="Simulated rooms to add; 300 unless given (by pyroomacoustics)."
    ),
    sample_rate: int | None = typer.Option(None, help="In Hz; 16000 unless given."),
    sources: list[Path] = typer.Option(
        [], "--from", help="With a recipe: folder of its unpacked archives, instead of downloading."
    ),
    mirror: str | None = typer.Option(
        None, "--mirror", help="With a recipe: address of a folder with its archives; or set ENHANCE_MIRROR."
    ),
    shards: bool = typer.Option(
        False, "--shards", help="Into tar files (WebDataset), for data.kind=shards: to be read from far away too."
    ),
    jobs: int = typer.Option(2, "--jobs", "-j", min=1, help="Processes."),
    force: bool = typer.Option(False, "--force", "-f", help="Replace a data set that is there already."),
) -> None:
    """Decode recordings once, for training: your own folders, or a data set that a recipe downloads.

    Own folders:  enhance prepare OUTPUT --speech DIR --noise DIR

    A data set:  enhance prepare recipes/voicebank --data DIR
    """
    from enhance.errors import EnhanceError

    folders = {"speech": speech, "noise": noise, "music": music, "rir": rir}
    if (output / "data.toml").is_file():
        if any((*folders.values(), sample_rate is not None)):
            raise EnhanceError(f"{output}: a recipe says itself what its data are", "give --data DIR and --from only")
        if len(data) != 1:
            raise EnhanceError(f"{output}: prepared into which folder?", "give one --data DIR")
        _end(_prepare_recipe(output, data[0], sources, mirror, rooms, shards, jobs, force))
        return
    for option, value in (("--from", sources[0] if sources else None), ("--mirror", mirror)):
        if value is not None:
            raise EnhanceError(f"{option} {value}: {output} has no data.toml", "it is for recipes such as voicebank")
    from enhance.data import rooms as simulated
    from enhance.data.manifest import read_manifest, scan_folders
    from enhance.data.prepare import Form
    from enhance.data.prepare import prepare as prepare_clips

    lists = [read_manifest(folder) for folder in data]
    for kind, found in folders.items():
        lists += scan_folders(found, kind)
    _end(prepare_clips(output, lists, Form(sample_rate or 16000, simulated.count(rooms, 300), shards, jobs), force))


def _end(failed: int) -> None:
    if failed:
        raise typer.Exit(1)


def _prepare_recipe(
    folder: Path,
    data: Path,
    sources: list[Path],
    mirror: str | None,
    rooms: int | None,
    shards: bool,
    jobs: int,
    force: bool,
) -> int:
    """Returns how many files could not be read."""
    from enhance.data import rooms as simulated
    from enhance.data import stems
    from enhance.data.data_recipe import MixRecipe, StemRecipe, read
    from enhance.data.prepare import Form, prepare_recipe
    from enhance.data.voicebank import Job
    from enhance.data.voicebank import prepare as prepare_pairs
    from enhance.errors import EnhanceError

    for source in sources:
        if not source.is_dir():
            raise EnhanceError(f"--from {source}: no such folder", "give the folder with the unpacked archives")
    recipe = read(folder)
    mirror = mirror or os.environ.get("ENHANCE_MIRROR")
    if isinstance(recipe, MixRecipe):
        form = Form(recipe.sample_rate, simulated.count(rooms, recipe.rooms), shards, jobs)
        return prepare_recipe(recipe, data, sources, mirror, form, force)
    if rooms is not None:
        raise EnhanceError(f"--rooms: {folder} has no rooms", "rooms are for recordings that training mixes")
    if shards:
        what = "stems" if isinstance(recipe, StemRecipe) else "pairs"
        raise EnhanceError(f"--shards: {folder} is of {what}", "shards are for recordings that training mixes")
    if len(sources) > 1:
        raise EnhanceError(f"--from {sources[1]}: a second one", "give one folder with all unpacked archives in it")
    if isinstance(recipe, StemRecipe):
        if not sources:
            raise EnhanceError(f"{folder}: its data are not downloaded", "give --from FOLDER; see the recipe's README")
        stems.prepare(stems.Job(recipe, data, sources[0], jobs), force)
    else:
        prepare_pairs(Job(recipe, data, sources[0] if sources else None, mirror, jobs), force)
    return 0
