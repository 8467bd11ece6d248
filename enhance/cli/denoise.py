"""``enhance denoise``: noisy recordings in, clean ones out."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import typer

from enhance.console import note, progress, stderr, warn

if TYPE_CHECKING:
    from enhance.inference.tasks import AnyTask, Result, Settings

DEFAULT_MODEL = "dcunet-s"


def denoise(
    inputs: list[str] = typer.Argument(..., metavar="INPUT...", help="Files, folders, patterns."),
    output: str | None = typer.Option(
        None,
        "--output",
        "-o",
        metavar="OUT",
        help="Where to write: a file, or a folder for several inputs. Its ending says the format. "
        "By default NAME.clean.EXT beside a single input.",
    ),
    model: str = typer.Option(DEFAULT_MODEL, "--model", "-m", help="Name from `enhance models`, or a file."),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda or mps."),
    strength: float = typer.Option(1.0, "--strength", "-s", help="0 leaves the input as it is, 1 is all."),
    keep_noise: bool = typer.Option(False, "--keep-noise", help="Write what was removed to OUT.noise.EXT."),
    prevent_clipping: bool = typer.Option(
        False, "--prevent-clipping", help="Lower the whole file where its peak would pass full scale."
    ),
    jobs: int = typer.Option(1, "--jobs", "-j", min=1, help="Files at a time, one thread each."),
    force: bool = typer.Option(False, "--force", "-f", help="Overwrite outputs that exist."),
    plot: bool = typer.Option(False, "--plot", help="Draw spectrograms of before and after to OUT.png."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object a line for each file."),
) -> None:
    """Remove noise from speech.

    Keeps the format, rate, channels and length of the file; a video keeps its pictures. Nothing is
    overwritten unless asked, and an output appears when it is complete.
    """
    from enhance.inference.tasks import Settings, plan

    process(
        plan(inputs, output, keep_noise, plot, force),
        Settings(model, device, strength, prevent_clipping),
        jobs,
        as_json,
    )


def process(tasks: Sequence[AnyTask], settings: Settings, jobs: int, as_json: bool) -> None:
    """Check everything, then do what can be done; exit code 1 if some inputs fail, 2 if all of them do."""
    from enhance.inference.batch import check

    failed, seconds = check(tasks, settings)
    for result in failed:
        _report(result, as_json)
    bad = {result.source for result in failed}
    results = _run([task for task in tasks if task.source not in bad], settings, jobs, seconds, as_json)
    done = sum(not result.error for result in results)
    if done < len(tasks):
        raise typer.Exit(1 if done else 2)


def _run(tasks: list[AnyTask], settings: Settings, jobs: int, seconds: float, as_json: bool) -> list[Result]:
    """Work with a progress bar in seconds of audio, and report each file as it is done."""
    from enhance.inference.batch import run

    results: list[Result] = []
    if not tasks:
        return results
    began = time.perf_counter()
    with progress("{task.fields[speed]}") as bar:
        name = tasks[0].source.name if len(tasks) == 1 else f"{len(tasks)} files"
        line = bar.add_task(name, total=seconds or None, speed="")
        total = 0.0

        def advance(audio: float) -> None:
            nonlocal total
            total += audio
            bar.update(line, advance=audio, speed=f"{total / (time.perf_counter() - began):.0f}x real time")

        with closing(run(tasks, settings, jobs, advance)) as stream:
            for result in stream:
                _report(result, as_json)
                results.append(result)
    return results


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
