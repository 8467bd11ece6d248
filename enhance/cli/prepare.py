"""``enhance prepare``: audio files to a data set that training reads."""

from __future__ import annotations

from pathlib import Path

import typer


def prepare(
    output: Path = typer.Argument(..., help="Folder of the prepared data set, for instance runs/data/open-speech."),
    data: list[Path] = typer.Option([], "--data", help="Folder with a manifest.csv; may be given several times."),
    speech: list[Path] = typer.Option([], "--speech", help="Folder of clean speech, one folder a speaker."),
    noise: list[Path] = typer.Option([], "--noise", help="Folder of noise recordings."),
    music: list[Path] = typer.Option([], "--music", help="Folder of music."),
    rir: list[Path] = typer.Option([], "--rir", help="Folder of room impulse responses."),
    rooms: int = typer.Option(300, min=0, help="Simulated rooms to add."),
    sample_rate: int = typer.Option(16000, help="In Hz."),
    jobs: int = typer.Option(2, "--jobs", "-j", min=1, help="Processes."),
    force: bool = typer.Option(False, "--force", "-f", help="Replace a data set that is there already."),
) -> None:
    """Decode speech, noise, music and room responses once, for training."""
    from enhance.console import note, progress, warn
    from enhance.data import rooms as simulated
    from enhance.data import store
    from enhance.data.manifest import read_manifest, scan_folder, settle_splits, without_repeats
    from enhance.errors import EnhanceError

    if (output / store.INDEX).exists() and not force:
        raise EnhanceError(f"{output}: is there already", "give --force to make it again")
    folders = {"speech": speech, "noise": noise, "music": music, "rir": rir}
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
        built = store.build(output, clips, responses, sample_rate, jobs, lambda: bar.advance(task))
    for kind in folders:
        hours = {
            split: sum(entry.frames for entry in built.select(kind, split)) / sample_rate / 3600
            for split in ("train", "valid", "test")
        }
        note(f"{kind:7}" + "".join(f"  {split} {value:6.2f} h" for split, value in hours.items()))
    note(f"{output}: fingerprint {built.fingerprint}")
