"""A folder of recipes as one job, which goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from enhance.console import note, warn
from enhance.errors import EnhanceError
from enhance.files import replacing
from enhance.models.checkpoint import read_header
from enhance.training import state as states
from enhance.training.loop import BEST, STATE, train
from enhance.training.recipe import Recipe, read
from enhance.training.setup import one_process

RESULTS = "results.json"


def sweep(folder: Path, changes: Sequence[str], output: Path) -> list[str]:
    """Train every recipe of ``folder`` in ``output / NAME``, in the order of names, and write ``results.json`` there.

    What is finished is left alone, what was interrupted goes on. A recipe that fails does not stop the others; gives
    the names of those. All recipes are read first: EnhanceError, before any training, for a mistake in one.
    """
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise EnhanceError(f"{folder}: no recipes", "--sweep takes a folder with a TOML file for each experiment")
    recipes = {path.stem: read(path, list(changes)) for path in paths}
    one_process(recipes.values(), "--sweep")
    rows, failed = [], []
    for number, (name, recipe) in enumerate(recipes.items(), start=1):
        note(f"{number} of {len(recipes)}: {name}")
        try:
            _finish(recipe, output / name)
            rows.append(row(name, output / name))
        except (EnhanceError, RuntimeError, ValueError) as error:  # no memory left, for instance, or sizes that differ
            warn(f"{name} failed: {error}")
            failed.append(name)
            continue
        with replacing(output / RESULTS) as temporary:
            temporary.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return failed


def _finish(recipe: Recipe, folder: Path) -> None:
    started = (folder / STATE).exists()
    train(recipe, folder, resume=started)  # which does nothing where it is finished


def row(name: str, folder: Path) -> dict[str, Any]:
    """What a table needs of a finished run: what it was, its best validation, what it cost, where its weights are."""
    recipe = Recipe.model_validate(read_header(folder / BEST)["provenance"]["recipe"])
    state = states.load(folder / STATE)
    best = max(state["history"], key=lambda record: record["score"])
    return {
        "name": name,
        "model": recipe.model,
        "model_options": recipe.model_options,
        "loss": recipe.loss,
        "seed": recipe.seed,
        "steps": state["step"],
        "hours": state["seconds"] / 3600,
        "score": best["score"],
        "step": best["step"],
        "scores": best["scores"],
        "checkpoint": str(folder / BEST),
    }
