"""``enhance train``: a recipe to a checkpoint."""

from __future__ import annotations

from pathlib import Path

import typer


def train(
    recipe: Path = typer.Argument(..., help="A recipe: a TOML file, or a folder with default.toml."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Folder of the run; runs/<name> unless given."),
    changes: list[str] = typer.Option([], "--set", help="Override a setting: --set optim.lr=1e-4."),
    resume: bool = typer.Option(False, "--resume", help="Go on where the run in that folder stopped."),
) -> None:
    """Train a model as a recipe says."""
    from enhance.training.recipe import read

    settings = read(recipe, changes)
    from enhance.training.loop import train as run

    run(settings, output or Path("runs") / settings.name, resume)
