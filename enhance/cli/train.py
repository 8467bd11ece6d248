"""``enhance train``: a recipe to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from enhance.console import note, stderr, stdout

if TYPE_CHECKING:
    from enhance.training.recipe import Recipe


def train(
    recipe: Path = typer.Argument(..., help="A recipe: a TOML file, or a folder with default.toml."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Folder of the run; runs/<name> unless given."),
    changes: list[str] = typer.Option([], "--set", help="Override a setting: --set optim.lr=1e-4."),
    resume: bool = typer.Option(False, "--resume", help="Go on where the run in that folder stopped, or begin it."),
    devices: int | None = typer.Option(None, "--devices", min=1, help="GPUs (or CPU processes) of each machine."),
    nodes: int | None = typer.Option(None, "--nodes", min=1, help="Machines, under torchrun or Slurm."),
    precision: str | None = typer.Option(None, "--precision", help="32-true or bf16-mixed."),
    sweep: bool = typer.Option(False, "--sweep", help="RECIPE is a folder: train all in it; run again to go on."),
    tune: bool = typer.Option(False, "--tune", help="Search over what the recipe's table `search` names, with Optuna."),
    profile: bool = typer.Option(False, "--profile", help="Say where the time of a step goes, and train nothing."),
) -> None:
    """Train a model as a recipe says."""
    from enhance.errors import EnhanceError
    from enhance.training.recipe import read

    if sweep + tune + profile + resume > 1:
        raise EnhanceError(
            "--sweep, --tune, --profile and --resume", "choose one; sweeps and searches go on by themselves"
        )
    given = {"devices": devices, "nodes": nodes, "precision": precision}
    changes = changes + [f"run.{key}={value}" for key, value in given.items() if value is not None]
    if sweep:
        from enhance.training.sweep import RESULTS
        from enhance.training.sweep import sweep as run_all

        output = output or Path("runs") / recipe.resolve().parent.name / recipe.resolve().name
        failed = run_all(recipe, changes, output)
        note(f"{output / RESULTS}")
        if failed:
            raise typer.Exit(1)
        return
    settings = read(recipe, changes)
    if tune:
        from enhance.training.tune import tune as search

        best = search(recipe, changes, output or Path("runs") / f"{settings.name}-search")
        settled = " ".join(f"--set {key}={value}" for key, value in best["settings"].items())
        stdout().print(f"trial {best['trial']}, score {best['score']:.3f}: {settled}", highlight=False, soft_wrap=True)
        return
    if profile:
        _profile(settings)
        return
    from enhance.training.loop import train as run

    run(settings, output or Path("runs") / settings.name, resume)


def _profile(settings: Recipe) -> None:
    from rich.table import Table

    from enhance.training.profile import profile_training

    with stderr().status("profiling some steps"):
        found = profile_training(settings)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, justify in (("", "left"), ("ms a step", "right"), ("share", "right")):
        table.add_column(name, justify=justify)  # pyright: ignore[reportArgumentType]
    for name, seconds in (("step, without profiler", found.step), ("loader alone", found.loader)):
        table.add_row(name, f"{1000 * seconds:.1f}", "")
    profiled = sum(found.phases.values())
    for name, seconds in [*found.phases.items(), *found.operators]:
        table.add_row(name, f"{1000 * seconds:.1f}", f"{seconds / profiled:.0%}")
    stdout().print(table)
    stdout().print(f"{found.speed:.0f} s of audio a second; the loader could feed {found.feed:.0f}", highlight=False)
