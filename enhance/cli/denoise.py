"""``enhance denoise``: noisy recordings in, clean ones out."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from enhance.console import note, progress, stderr, warn
from enhance.errors import EnhanceError

if TYPE_CHECKING:
    from enhance.inference.records import Existing, Records
    from enhance.inference.tasks import AnyTask, Result, Settings

DEFAULT_MODEL = "hybrid"
AHEAD = 1000  # files that are looked at before the first is written

# Options that `enhance separate` has as well
PRECISION = typer.Option(
    "32-true",
    "--precision",
    help="32-true: float32; bf16-mixed: bfloat16, faster on processors that have it, less exact.",
)
JOBS = typer.Option(
    None, "--jobs", "-j", min=1, help="Files at a time, one thread each; by default 1, or what the cluster takes."
)
ENGINE = typer.Option("local", "--engine", help="Who does it: local processes, or ray, a cluster.")
ADDRESS = typer.Option(
    None, "--address", help="Of the Ray cluster: HOST:PORT, or auto for that of this machine; else one starts here."
)
FORCE = typer.Option(False, "--force", "-f", help="Overwrite outputs that exist.")
SKIP_EXISTING = typer.Option(
    False, "--skip-existing", help="Leave out inputs whose outputs exist, whatever they were made with."
)
LISTEN = typer.Option(
    None,
    "--listen",
    metavar="SECONDS",
    help="Of the beginning, which the model hears once before it starts; 0: it starts at once. By default what it was "
    "trained to.",
)
TRACK = typer.Option(
    None, "--track", metavar="N", min=1, help="Of a file with several sound tracks; by default the first."
)
RECORDS = typer.Option(
    None, "--records", help="Write a JSON line for each file there; run again, only what is missing or changed is done."
)


def denoise(
    inputs: list[str] = typer.Argument(
        ..., metavar="INPUT...", help="Files, folders, patterns, URLs of such; or -, standard input."
    ),
    output: str | None = typer.Option(
        None,
        "--output",
        "-o",
        metavar="OUT",
        help="Where to write: a file, or a folder for several inputs. Its ending says the format. "
        "By default NAME.clean.EXT beside a single input. -: standard output, where - itself goes by default.",
    ),
    model: str = typer.Option(DEFAULT_MODEL, "--model", "-m", help="Name from `enhance models`, or a file."),
    ending: str | None = typer.Option(
        None, "--format", metavar="EXT", help="Of all outputs: wav, flac, mp3, ... By default that of the input."
    ),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda or mps."),
    precision: str = PRECISION,
    strength: float = typer.Option(1.0, "--strength", "-s", help="0 leaves the input as it is, 1 is all."),
    keep_noise: bool = typer.Option(False, "--keep-noise", help="Write what was removed to OUT.noise.EXT."),
    prevent_clipping: bool = typer.Option(
        False, "--prevent-clipping", help="Lower the whole file where its peak would pass full scale."
    ),
    linked: bool = typer.Option(
        False, "--linked", help="One mask for all channels: a stereo picture stays as it is. By default one each."
    ),
    listen: float | None = LISTEN,
    track: int | None = TRACK,
    jobs: int | None = JOBS,
    engine: str = ENGINE,
    address: str | None = ADDRESS,
    force: bool = FORCE,
    skip_existing: bool = SKIP_EXISTING,
    records: Path | None = RECORDS,
    plot: bool = typer.Option(False, "--plot", help="Draw spectrograms of before and after to OUT.png."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object a line for each file."),
) -> None:
    """Remove noise from speech.

    Keeps the format, rate, channels and length of the file; a video keeps its pictures and
    other sound tracks. Nothing is overwritten unless asked, and an output appears when it is complete.
    """
    from enhance.inference.pipes import piped
    from enhance.inference.tasks import Settings, check_listen, plan

    check_listen(listen)
    run = runner(engine, address, jobs, device)
    device = "cpu" if engine == "ray" else device  # which then is what is checked here, too
    ways: dict[str, Any] = {"linked": linked, "listen": listen, "precision": precision, "track": track}
    settings = Settings(model, device, strength, prevent_clipping, **ways)
    beside = [name for name, given in (("--keep-noise", keep_noise), ("--plot", plot), ("--json", as_json)) if given]
    never = [name for name, given in (("--records", records), ("--engine ray", engine == "ray")) if given]
    with piped(inputs, output, suffix(ending), beside, never) as pipes:
        kept, existing, ours = known(records, settings, force, skip_existing)
        tasks = plan(pipes.inputs, pipes.output, suffix(ending), keep_noise, plot, ours=ours)
        process(tasks, settings, run, as_json, kept, existing, pipes.renamed)


def suffix(ending: str | None) -> str | None:
    """What ``--format`` says, as names end in it; EnhanceError for what no name can end in."""
    if ending is None:
        return None
    bare = ending.removeprefix(".").lower()
    if not bare.isalnum():
        raise EnhanceError(f"--format {ending}: is no ending", "give wav, flac, mp3 or the like")
    return f".{bare}"


def known(
    records: Path | None, settings: Settings, force: bool, skip_existing: bool
) -> tuple[Records | None, Existing | None, Callable[[Path], bool]]:
    """What earlier runs recorded, what stays where it exists, and what else may be replaced."""
    from enhance.inference.records import Existing, Records

    if force and skip_existing:
        raise EnhanceError("--force and --skip-existing", "give one of them: what exists is replaced, or it stays")
    kept = Records(records, settings) if records else None
    wrote = kept.wrote if kept else lambda path: False
    if skip_existing:
        return kept, Existing(wrote), lambda path: True  # what is not to be replaced is left out later
    return kept, None, (lambda path: True) if force else wrote


def runner(name: str, address: str | None, jobs: int | None, device: str) -> Callable[..., Generator[Result]]:
    """What runs the tasks; EnhanceError if there is no such engine, or none that could be used."""
    if name == "ray":
        from enhance.inference import ray_engine

        ray_engine.check(address, device)
        return functools.partial(ray_engine.run, jobs=jobs, address=address)
    if name != "local":
        raise EnhanceError(f"--engine {name}: unknown", "take local or ray")
    if address is not None:
        raise EnhanceError("--address is that of a Ray cluster", "add --engine ray, or leave it out")
    from enhance.inference.batch import run

    return functools.partial(run, jobs=jobs or 1)


def process(
    tasks: Iterable[AnyTask],
    settings: Settings,
    run: Callable[..., Generator[Result]],
    as_json: bool,
    records: Records | None = None,
    existing: Existing | None = None,
    named: Callable[[Result], Result] = lambda result: result,
) -> None:
    """Check the first thousand, then do what can be done; exit code 1 if some inputs fail, 2 if all of them do.

    ``named`` gives a result the names that it is reported by.
    """
    from enhance.inference.batch import check

    waiting = existing.missing(tasks) if existing else iter(tasks)
    waiting = records.missing(waiting) if records else waiting
    head = list(itertools.islice(waiting, AHEAD))
    failed, seconds = check(head, settings)
    if records:
        records.check(head)
        records.begin()
    counts = {True: 0, False: 0}  # of files that failed, and of those that did not

    def finish(result: Result) -> None:
        if records:
            records.write(result, _record(result))
        _report(named(result), as_json)
        counts[bool(result.error)] += 1

    for result in failed:
        finish(result)
    bad = {result.source for result in failed}
    good = [task for task in head if task.source not in bad]
    name = head[0].source.name if len(head) == 1 else f"{len(head)} files"
    if len(head) < AHEAD:
        _run(good, name, seconds, settings, run, finish)
    else:
        _run(itertools.chain(good, waiting), "files", None, settings, run, finish)
    for result in existing.failed if existing else ():
        finish(result)
    skipped, left_out = records.skipped if records else 0, existing.count if existing else 0
    if skipped:
        note("1 file was done before" if skipped == 1 else f"{skipped} files were done before")
    if left_out:
        note("1 file exists and is left out" if left_out == 1 else f"{left_out} files exist and are left out")
    if counts[True]:
        if sum(counts.values()) > 1:
            note(f"{counts[True]} of {sum(counts.values())} files failed")
        raise typer.Exit(1 if counts[False] or skipped or left_out else 2)


def _run(
    tasks: Iterable[AnyTask],
    name: str,
    seconds: float | None,
    settings: Settings,
    run: Callable[..., Generator[Result]],
    finish: Callable[[Result], None],
) -> None:
    """Work with a progress bar in seconds of audio, and call ``finish`` for each file as it is done."""
    began = time.perf_counter()
    with progress("{task.fields[speed]}") as bar:
        line = bar.add_task(name, total=seconds or None, speed="")
        total = 0.0

        def advance(audio: float) -> None:
            nonlocal total
            total += audio
            bar.update(line, advance=audio, speed=f"{total / (time.perf_counter() - began):.0f}x real time")

        with closing(run(tasks, settings, progress=advance)) as stream:
            for result in stream:
                finish(result)


def _report(result: Result, as_json: bool) -> None:
    """One file's result: a JSON line on stdout if asked, a line for a person on stderr."""
    if as_json:
        print(json.dumps(_record(result), default=str), flush=True)
    for warning in result.warnings:
        warn(warning)
    if result.error:
        stderr().print(f"error: {result.error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return
    lowered = f", lowered by {result.lowered_db:.1f} dB" if result.lowered_db else ""
    note(
        f"{result.source} -> {result.target}: {result.seconds:.1f} s in {result.elapsed:.1f} s "
        f"({1 / max(result.rtf, 1e-9):.0f}x real time){lowered}"
    )


def _record(result: Result) -> dict[str, Any]:
    """A result for JSON, without the paths that were not asked for."""
    record = {key: value for key, value in dataclasses.asdict(result).items() if value is not None}
    return {**record, "rtf": result.rtf}
