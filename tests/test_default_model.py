"""What the documentation says of the default model, against the model itself."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pages
import pytest
import torch

from enhance.cli.live import DEFAULT_MODEL as LIVE
from enhance.models.checkpoint import DEFAULT, find, load_model, read_header
from enhance.models.provenance import hours, runs
from enhance.training import recipe as recipes
from enhance.training.setup import build_model

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "recipes" / "open-speech" / "adapt.toml"


def test_adapting_begins_with_the_shipped_weights_of_the_default_model():
    """The command of the README, the page and the recipe; tests/test_readme.py runs it."""
    printed = [command for command in pages.commands(ROOT / "README.md") if RECIPE.name in command]
    assert printed == [command for command in pages.commands(ROOT / "docs" / "train.md") if RECIPE.name in command]
    assert f"#   {printed[0]}\n" in RECIPE.read_text(encoding="utf-8")
    _, _, path, *rest = shlex.split(printed[0])
    recipe = recipes.read(ROOT / path, rest[1::2])
    model, arguments = build_model(recipe)
    shipped = load_model()
    assert arguments == read_header(find(DEFAULT))["arguments"]
    assert (recipe.model, model.spectrogram.net.floor) == (DEFAULT, shipped.spectrogram.net.floor)
    for (name, ours), theirs in zip(model.state_dict().items(), shipped.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_its_hours_are_those_of_the_last_run_of_the_shipped_weights():
    recipe, found = recipes.read(RECIPE, []), runs(read_header(find(DEFAULT))["provenance"]).values()
    trainings = [run for run in found if run["recipe"]["model"] == DEFAULT and run["step"] > 1]  # and no mean
    run = max(trainings, key=hours)
    assert (run["recipe"]["optim"]["batch"], run["recipe"]["data"]["seconds"]) == (
        recipe.optim.batch,
        recipe.data.seconds,
    )
    taken = run["hours"] / run["step"] * recipe.optim.steps
    page = " ".join((ROOT / "docs" / "train.md").read_text(encoding="utf-8").split())
    assert f"{recipe.optim.steps} steps take {taken:.1f} hours on one core" in page


@pytest.mark.parametrize("name", ["open-speech", "musan-mix"])
def test_the_recipe_names_the_model_that_it_trains(name: str):
    path = ROOT / "recipes" / name
    recipe = recipes.read(path, [])
    assert recipe.model == LIVE != DEFAULT
    comment = re.match(r"(?:#.*\n)+", (path / "default.toml").read_text(encoding="utf-8"))
    assert comment
    assert recipe.model in comment[0]
    assert f"`{recipe.model}`" in (path / "README.md").read_text(encoding="utf-8").partition("```")[0]


def test_the_listening_page_names_the_model_that_made_its_sounds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import hooks  # pyright: ignore[reportMissingImports]

    page = hooks.on_page_markdown((ROOT / "docs" / "listen.md").read_text(encoding="utf-8"))
    assert f"as `{DEFAULT}` gives them" in page
