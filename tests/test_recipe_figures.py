"""Figures in the READMEs of recipes, against what they are said to come from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from enhance.models.checkpoint import find, read_header
from enhance.training import recipe as recipes

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "recipes"


def text(name: str) -> str:
    """A README, in one line."""
    return " ".join((RECIPES / name / "README.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("name", "measured"), [("musdb", "musdb"), ("moisesdb", "musdb"), ("librimix", "librimix")])
def test_hours_on_one_core_are_those_of_the_benchmark(name: str, measured: str):
    ours, theirs = (recipes.read(RECIPES / each, []) for each in (name, measured))
    for setting in ("model", "model_options", "loss", "loss_options", "optim"):
        assert getattr(ours, setting) == getattr(theirs, setting)
    table = (ROOT / "benchmarks" / "training" / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `recipes/{measured}/default\.toml` \| [\w-]+ \| (\d+) \| (\d+) \|$", table, re.MULTILINE)
    assert row
    assert f"{row[2]} hours on one core" in text(name)
    audio = ours.optim.steps * ours.optim.batch * ours.data.seconds / 3600
    assert round(audio) == int(row[1])
    if name == measured:
        assert f"all {ours.optim.steps:,} steps of {ours.optim.batch} × {ours.data.seconds:g} s" in text(name)
        assert f"{row[1]} hours of crops" in text(name)


@pytest.mark.parametrize(("model", "file"), [("separator-s", "default.toml"), ("separator-m", "separator-m.toml")])
def test_hours_of_a_separator_are_those_of_the_shipped_weights(model: str, file: str):
    recipe = recipes.read(RECIPES / "musan-separation" / file, [])
    assert (recipe.model, recipe.data.path) == (model, "runs/data/musan-separation/store")
    hours, steps = 0.0, 0
    run: dict[str, Any] = read_header(find(model))["provenance"]
    while run["recipe"]["model"] == model:
        trained = run["recipe"]
        assert (trained["loss"], trained["optim"]["batch"], trained["data"]["seconds"]) == (
            recipe.loss,
            recipe.optim.batch,
            recipe.data.seconds,
        )
        hours, steps, run = hours + run["hours"], steps + run["step"], run["init"]
    estimate = hours / steps * recipe.optim.steps
    audio = recipe.optim.steps * recipe.optim.batch * recipe.data.seconds / 3600
    assert f"| {recipe.optim.steps:,} | {audio:.0f} h | {estimate:.{int(estimate < 1)}f} h" in text("musan-separation")
    if steps != recipe.optim.steps:
        assert f"{steps} steps in {hours:.1f} h" in text("musan-separation")


@pytest.mark.parametrize(("noise", "size"), [(False, "11 GB for"), (True, "(17 GB with noise)")])
def test_the_size_of_librimix_prepared(noise: bool, size: str):
    rows = re.findall(r"\| `([\w-]+)` \| [\d,]+ \| ([\d.]+) \| [\d.]+ GiB \|", text("librimix"))
    hours = {name: float(number) for name, number in rows}
    assert hours.keys() == {"train-100", "train-360", "dev", "test"}
    folders = 2 + noise
    assert f"{folders * (hours['train-100'] + hours['dev']) * 3600 * 2 * 16000 / 1e9:.0f} GB" in size
    assert size in text("librimix")
