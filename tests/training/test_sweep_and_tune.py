"""Many runs as one job: a folder of recipes, and a search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enhance.errors import EnhanceError
from enhance.training import loop, sweep, tune
from enhance.training import state as states
from enhance.training.recipe import read

BASE = """
model = "dcunet-s"
model_options = {{ widths = [4, 4, 8], hidden = 8, blocks = 1 }}
[data]
path = "{store}"
seconds = 0.5
workers = 0
mixing = {{ reverb = 0.0, codec = 0.0 }}
[loss]
snr = 1.0
[optim]
steps = 2
batch = 2
[run]
compile = false
precision = "32-true"
[valid]
clips = 1
seconds = 2.0
"""


@pytest.fixture
def recipes(store, tmp_path: Path) -> Path:
    """Two experiments beside their base, which is in the folder above."""
    (tmp_path / "base.toml").write_text(BASE.format(store=store.folder), encoding="utf-8")
    folder = tmp_path / "grid"
    folder.mkdir()
    for name, loss in (("a", "snr"), ("b", "wsdr")):
        (folder / f"{name}.toml").write_text(f'base = "../base.toml"\n[loss]\n{loss} = 1.0\n', encoding="utf-8")
    return folder


def test_a_sweep_goes_on_where_it_stopped_and_gathers_results(recipes, tmp_path, monkeypatch):
    output = tmp_path / "runs"
    train, started = sweep.train, []

    def broken_off(recipe, folder, resume):
        started.append((folder.name, resume))
        if folder.name == "b":
            raise KeyboardInterrupt
        return train(recipe, folder, resume)

    monkeypatch.setattr(sweep, "train", broken_off)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(recipes, [], output)
    assert [row["name"] for row in json.loads((output / sweep.RESULTS).read_text())] == ["a"]

    history = states.load(output / "a" / loop.STATE)["history"]

    def noted(recipe, folder, resume):
        started.append((folder.name, resume))
        return train(recipe, folder, resume)

    monkeypatch.setattr(sweep, "train", noted)
    sweep.sweep(recipes, [], output)
    assert started == [("a", False), ("b", False), ("a", True), ("b", False)]
    assert states.load(output / "a" / loop.STATE)["history"] == history  # the finished one is left alone
    rows = {row["name"]: row for row in json.loads((output / sweep.RESULTS).read_text())}
    assert rows["b"]["loss"] == {"wsdr": 1.0}
    assert rows["b"]["steps"] == 2
    state = states.load(output / "b" / loop.STATE)
    assert rows["b"]["score"] == state["best"]
    assert Path(rows["b"]["checkpoint"]).is_file()
    monkeypatch.setattr(sweep, "train", train)
    sweep.sweep(recipes, ["seed=7"], output)
    again = {row["name"]: row for row in json.loads((output / sweep.RESULTS).read_text())}
    assert again == rows  # which say what was trained, with the seed of that time


def test_a_mistake_in_one_recipe_is_found_before_any_training(recipes, tmp_path):
    (recipes / "c.toml").write_text('base = "../base.toml"\nmodle = "x"\n', encoding="utf-8")
    with pytest.raises(EnhanceError, match=r"c\.toml: 1 mistake"):
        sweep.sweep(recipes, [], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(EnhanceError, match="no recipes"):
        sweep.sweep(tmp_path / "runs", [], tmp_path / "other")


def test_one_that_fails_does_not_stop_the_others(recipes, tmp_path):
    (recipes / "a.toml").write_text('base = "../base.toml"\n[model_options]\nsample_rate = 8000\n', encoding="utf-8")
    assert sweep.sweep(recipes, [], tmp_path / "runs") == ["a"]
    assert [row["name"] for row in json.loads((tmp_path / "runs" / sweep.RESULTS).read_text())] == ["b"]


def test_what_only_training_finds_does_not_stop_the_others(recipes, tmp_path, monkeypatch):
    def fails(recipe, folder, resume):
        raise {"a": ValueError("sizes differ"), "b": RuntimeError("no memory")}[folder.name]

    monkeypatch.setattr(sweep, "train", fails)
    assert sweep.sweep(recipes, [], tmp_path / "runs") == ["a", "b"]


SEARCH = """
base = "base.toml"
[search]
trials = 3
[search.space]
"optim.lr" = { low = 1e-4, high = 1e-2, log = true }
"optim.batch" = { choices = [2, 3] }
"model_options.hidden" = { low = 4, high = 8, step = 4 }
"""


@pytest.mark.slow
def test_a_search_keeps_to_its_space_resumes_and_names_the_best(recipes, tmp_path):
    toml = tmp_path / "search.toml"
    toml.write_text(SEARCH, encoding="utf-8")
    output = tmp_path / "found"
    tune.tune(toml, ["search.trials=1"], output)
    assert len(list(output.glob("trial-*"))) == 1
    best = tune.tune(toml, [], output)
    folders = sorted(output.glob("trial-*"))
    assert len(folders) == 3  # of which one was there before
    scores = {}
    for number, folder in enumerate(folders):
        settings = json.loads((folder / loop.RESOLVED).read_text(encoding="utf-8"))
        assert 1e-4 <= settings["optim"]["lr"] <= 1e-2
        assert settings["optim"]["batch"] in (2, 3)
        assert settings["model_options"]["hidden"] in (4, 8)
        scores[number] = states.load(folder / loop.STATE)["best"]
    assert best["score"] == pytest.approx(max(scores.values()))
    assert best["trial"] == max(scores, key=lambda number: scores[number])
    assert json.loads((output / tune.BEST).read_text(encoding="utf-8")) == best
    assert tune.tune(toml, [], output) == best  # nothing is left to do
    assert len(list(output.glob("trial-*"))) == 3


def test_a_hopeless_trial_is_given_up(recipes, tmp_path, monkeypatch):
    """After five trials the median pruner knows what is usual; one far below it ends at its first validation."""
    toml = tmp_path / "search.toml"
    toml.write_text(SEARCH.replace("trials = 3", "trials = 7"), encoding="utf-8")
    steps = []

    def pretended(settings, folder, resume, report):
        hopeless = folder.name == "trial-0006"
        for step in (1, 2, 3):
            steps.append((folder.name, step))
            report(step, -5.0 if hopeless else 1.0)
        return 1.0

    monkeypatch.setattr(tune, "train", pretended)
    tune.tune(toml, [], tmp_path / "found")
    assert steps.count(("trial-0005", 3)) == 1
    assert ("trial-0006", 1) in steps
    assert ("trial-0006", 2) not in steps


def test_a_trial_that_fails_is_given_up(recipes, tmp_path, monkeypatch):
    """In training, or because what was drawn is no recipe."""
    toml = tmp_path / "search.toml"
    space = '[search.space]\n"data.remix" = { choices = [0.5, 2.0] }\n"seed" = { low = 0, high = 1000 }\n'
    toml.write_text(f'base = "base.toml"\n[search]\ntrials = 12\n{space}', encoding="utf-8")
    begun = []

    def pretended(settings, folder, resume, report):
        begun.append(settings.data.remix)
        if len(begun) <= 2:
            raise {1: RuntimeError("no memory"), 2: ValueError("sizes differ")}[len(begun)]
        return 1.0

    monkeypatch.setattr(tune, "train", pretended)
    assert tune.tune(toml, [], tmp_path / "found")["score"] == 1.0
    assert 3 <= len(begun) <= 12
    assert set(begun) == {0.5}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", r"has no \[search\]"),
        ('[search.space]\n"optim.lrr" = { low = 1, high = 2 }\n', r"optim\.lrr"),
        ('[search.space]\n"optim.lr" = { low = 1 }\n', "give either choices, or low and high"),
        ('[search.space]\n"optim.lr" = { low = 2, high = 1 }\n', "low is above high"),
        ("[search]\ntrials = 2\n", "space"),
    ],
)
def test_a_wrong_search_is_found_before_any_training(recipes, tmp_path, table, message):
    toml = tmp_path / "search.toml"
    toml.write_text(f'base = "base.toml"\n{table}', encoding="utf-8")
    with pytest.raises(EnhanceError, match=message):
        tune.tune(toml, [], tmp_path / "found")
    assert not (tmp_path / "found").exists()


@pytest.mark.slow
def test_profile_says_where_the_time_goes(recipes, cli):
    code, out, _ = cli("train", recipes.parent / "base.toml", "--profile")
    assert code == 0
    shares = {line.split("  ")[0].strip(): line.split()[-1] for line in out.splitlines() if line.rstrip().endswith("%")}
    phases = [int(shares[phase].rstrip("%")) for phase in ("forward", "losses", "backward", "update")]
    assert sum(phases) == pytest.approx(100, abs=2)
    assert "loader alone" in out
    assert "s of audio a second" in out
    assert read(recipes.parent / "base.toml", []).search is None
