"""``enhance refine``: stems whose label is not what is in them."""

from __future__ import annotations

from pathlib import Path

import typer

from enhance.console import note, progress, stdout


def refine(
    recipe: Path = typer.Argument(..., help="A recipe with a table `refine`, for instance recipes/musdb/refine.toml."),
    changes: list[str] = typer.Option([], "--set", help="Override a setting: --set refine.activity=0.4."),
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda or mps."),
    force: bool = typer.Option(False, "--force", "-f", help="Listen again where the table is there already."),
) -> None:
    """Listen to every stem of a prepared data set, and list those that a separator hears as something else.

    Writes the table refine.labels of the recipe; `enhance train` with it leaves them out, or relabels them.
    """
    from enhance.data import stem_labels
    from enhance.data.stem_store import StemStore
    from enhance.errors import EnhanceError
    from enhance.inference.refine import activities
    from enhance.models.checkpoint import load_model
    from enhance.training.recipe import read

    settings = read(recipe, changes)
    if settings.refine is None:
        raise EnhanceError(f"{recipe}: has no table [refine]", "see recipes/musdb/refine.toml")
    store = StemStore(Path(settings.data.path))
    if force or not settings.refine.labels.exists():
        with progress("{task.completed}/{task.total} stems") as bar:
            task = bar.add_task("refine", total=len(store.tracks) * len(store.sources))
            heard = activities(store, load_model(settings.refine.model), device, lambda: bar.advance(task))
            stem_labels.write(settings.refine.labels, store.sources, heard)
    else:
        note(f"{settings.refine.labels}: is there already; --force listens again")
    heard = stem_labels.read(settings.refine.labels)
    found = stem_labels.contradicted(heard, settings.refine.activity)
    for stem, instead in found.items():
        what = f"{stem[1]} at {heard[stem][stem[1]]:.2f}, {instead or 'nothing else'}"
        stdout().print(f"{stem[0]}: {what}", highlight=False, markup=False, soft_wrap=True)
    note(f"{settings.refine.labels}: {len(found)} of {len(heard)} stems are not what their label says")
