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
    rooms: int | None = typer.Option(None, min=0, help="Simulated rooms to add; 300 unless given."),
    sample_rate: int | None = typer.Option(None, help="In Hz; 16000 unless given."),
    source: Path | None = typer.Option(
        None, "--from", help="With a recipe: folder of its unpacked archives, instead of downloading."
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
        if any((*folders.values(), rooms is not None, sample_rate is not None)):
            raise EnhanceError(f"{output}: a recipe says itself what its data are", "give --data DIR and --from only")
        if len(data) != 1:
            raise EnhanceError(f"{output}: prepared into which folder?", "give one --data DIR")
        _prepare_recipe(output, data[0], source, mirror, jobs, force)
        return
    for option, value in (("--from", source), ("--mirror", mirror)):
        if value is not None:
            raise EnhanceError(f"{option} {value}: {output} has no data.toml", "it is for recipes such as voicebank")
    rooms = 300 if rooms is None else rooms
    _prepare_folders(output, data, folders, rooms, sample_rate or 16000, shards, jobs, force)


def _prepare_recipe(recipe: Path, data: Path, source: Path | None, mirror: str | None, jobs: int, force: bool) -> None:
    from enhance.data.data_recipe import read
    from enhance.data.voicebank import Job, prepare
    from enhance.errors import EnhanceError

    if source is not None and not source.is_dir():
        raise EnhanceError(f"--from {source}: no such folder", "give the folder with the unpacked archives")
    prepare(Job(read(recipe), data, source, mirror or os.environ.get("ENHANCE_MIRROR"), jobs), force)


def _prepare_folders(
    output: Path,
    data: list[Path],
    folders: dict[str, list[Path]],
    rooms: int,
    sample_rate: int,
    shards: bool,
    jobs: int,
    force: bool,
) -> None:
    from enhance.console import note, progress, warn
    from enhance.data import rooms as simulated
    from enhance.data import shards as sharded
    from enhance.data import store
    from enhance.data.manifest import read_manifest, scan_folder, settle_splits, without_repeats
    from enhance.errors import EnhanceError

    if (output / store.INDEX).exists() and not force:
        raise EnhanceError(f"{output}: is there already", "give --force to make it again")
    lists = [read_manifest(folder) for folder in data]
    lists += [scan_folder(folder, kind) for kind, found in folders.items() for folder in found]
    clips, moved = settle_splits(list(without_repeats(lists)))
    for name in moved:
        warn(f"{name} was in several splits: all of it is now in the one that is held back most")
    if not any(clip.kind == "speech" for clip in clips):
        raise EnhanceError("no speech given", "name folders with --data or --speech")
    with progress("{task.completed}/{task.total} clips") as bar:
        task = bar.add_task("prepare", total=len(clips) + rooms)
        responses = ((f"room-{seed:04d}", simulated.simulate(seed, sample_rate)) for seed in range(rooms))
        build = sharded.build if shards else store.build
        built = build(output, clips, responses, sample_rate, jobs, lambda: bar.advance(task))
    for kind in folders:
        hours = {split: built.seconds(kind, split) / 3600 for split in ("train", "valid", "test")}
        note(f"{kind:7}" + "".join(f"  {split} {value:6.2f} h" for split, value in hours.items()))
    note(f"{output}: fingerprint {built.fingerprint}")
