"""Training on several sources: targets fit the model, validation counts gains, and the order may be free."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from enhance.data.mixing import Example
from enhance.errors import EnhanceError
from enhance.models.checkpoint import load_model, read_header
from enhance.training import loop, setup, sources, validate_sources
from enhance.training.recipe import Recipe
from enhance.training.step import Step, new_run

NAMES = ["speech", "music", "noise"]
SIZE = {"widths": [4, 4, 8], "hidden": 8, "blocks": 1}


def recipe(store, **changes) -> Recipe:
    """A tiny separator on the made-up data set; ``changes`` as ``table__key=value``."""
    settings: dict = {
        "name": "tiny",
        "model": "separator-s",
        "model_options": SIZE,
        "loss": {"snr": 0.5, "source_subsets": 0.1},
        "loss_options": {"source_subsets": {"n_fft": 512, "hop": 256}},
        "data": {
            "path": store.folder,
            "seconds": 0.5,
            "workers": 0,
            "mixing": {
                "sources": dict.fromkeys(NAMES, 0.9),
                "interferers": {"noise": 1.0},
                "reverb": 0.0,
                "clip": 0.0,
                "codec": 0.0,
            },
        },
        "optim": {"steps": 4, "batch": 4, "warmup": 2, "lr": 5e-3},
        "run": {"compile": False, "precision": "32-true"},
        "valid": {"every": 1000, "clips": 2, "seconds": 1.0},
    }
    for key, value in changes.items():
        table, _, name = key.rpartition("__")
        (settings[table] if table else settings)[name] = value
    return Recipe.model_validate(settings)


@pytest.mark.slow
def test_a_separator_learns(store, tmp_path):
    """Voices, tones and white noise: a tiny net gains decibels within seconds."""
    plan = recipe(store, optim__steps=60, optim__batch=8, optim__lr=2e-2, run__log_every=10)
    best = loop.train(plan, tmp_path, resume=False)
    rows = [json.loads(line) for line in (tmp_path / loop.LOG).read_text().splitlines()]
    train = [row["loss"] for row in rows if row["kind"] == "train"]
    assert train[-1] < train[0] - 1
    assert best > 1.5  # dB
    assert load_model(tmp_path / loop.BEST).sources == tuple(NAMES)


def test_validation_names_every_source_of_every_mixture(store, tmp_path):
    loop.train(recipe(store), tmp_path, resume=False)
    row = json.loads((tmp_path / loop.LOG).read_text().splitlines()[-1])
    expected = {"speech+music", "speech+noise", "music+noise", "speech+music+noise"}
    assert row["kind"] == "valid"
    assert {kind: "+".join(scores) for kind, scores in row["scores"].items()} == {kind: kind for kind in expected}
    assert np.isfinite(row["score"])
    assert row["score"] == max(row["score_raw"], row["score_average"])


def test_the_list_is_fixed_held_out_and_of_what_it_says(store):
    plan = recipe(store)
    listed, again = (sources.validation_list(plan, store) for _ in range(2))
    assert sum(map(len, listed.values())) == sources.validation_clips(plan) == 8
    for kind, found in listed.items():
        for example, same in zip(found, again[kind], strict=True):
            assert np.array_equal(example.mixture, same.mixture)
            assert [NAMES[n] for n in np.flatnonzero(example.target.any(-1))] == kind.split("+")
            np.testing.assert_allclose(example.target.sum(0), example.mixture, atol=1e-6)


class Half(nn.Module):
    """Knows the sources of the examples and errs by half the rest: SI-SDR 6.02 dB above the mixture's."""

    def __init__(self, listed: dict[str, list[Example]]) -> None:
        super().__init__()
        self.sources = tuple(NAMES)
        self.known = [example for found in listed.values() for example in found]

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        wave = mixture[0, 0].numpy()
        target = next(example.target for example in self.known if np.array_equal(example.mixture, wave))
        return torch.from_numpy(0.5 * target + 0.5 * wave)[None, :, None]


def test_scores_are_gains_in_decibels(store):
    """Half of what disturbs a source taken away is 6 dB, where the others are uncorrelated with it."""
    validation = sources.Validation(recipe(store), store)
    assert validation.steering_score(validation.baseline) == 0
    scores = validation.scores(Half(validation.listed), torch.device("cpu"))
    assert validation.steering_score(scores) == pytest.approx(6.02, abs=0.3)
    assert validation.line({"speech+music": {"speech": 1.04, "music": -2.0}}) == "speech+music 1.0/-2.0"


def test_it_starts_from_the_shipped_denoiser_by_name(store):
    plan = recipe(store, model_options={}, init="dcunet-s")
    model, _ = setup.build_model(plan)
    mixture = 0.1 * torch.randn(1, 1, 8000, generator=torch.Generator().manual_seed(0))
    model.eval().consistent = False
    denoiser = load_model("dcunet-s")
    denoiser.net.floor = 0.0  # pyright: ignore[reportAttributeAccessIssue]  # an option, and no weight
    with torch.no_grad():
        torch.testing.assert_close(model(mixture)[:, 0], denoiser(mixture)[:, 0], rtol=0, atol=1e-6)
    assert setup.origin(plan) == read_header(setup.find("dcunet-s"))["provenance"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__mixing": {}}, r"'separator-s' separates speech, music, noise: say how often each is there"),
        (
            {"data__mixing": {"sources": {"music": 1.0, "speech": 1.0}, "interferers": {"noise": 1.0}}},
            "data.mixing.sources are music, speech, those of 'separator-s' speech, music, noise",
        ),
        ({"model": "dcunet-s"}, "data.mixing.sources are speech, music, noise, those of 'dcunet-s' speech"),
    ],
)
def test_targets_that_do_not_fit_the_model_are_refused_before_the_work(store, tmp_path, changes, message):
    with pytest.raises(EnhanceError, match=message):
        loop.train(recipe(store, **changes), tmp_path, resume=False)
    assert not list(tmp_path.iterdir())


def test_pairs_have_one_target(store):
    with pytest.raises(ValueError, match="pairs have one target"):
        recipe(store, data__kind="pairs")


@pytest.mark.parametrize("permute", [True, False])
def test_permuted_targets_are_the_same_to_a_recipe_that_says_so(store, permute):
    target = 0.1 * torch.randn(4, 3, 4000, generator=torch.Generator().manual_seed(0))
    losses = []
    for order in ([0, 1, 2], [2, 0, 1]):
        plan = recipe(store, permute=permute, model_options={**SIZE, "consistent": False})
        fabric = setup.launch(plan)
        run, _ = new_run(plan, fabric)
        with torch.no_grad():
            run.model.net.head.weight.normal_()  # else all estimates are alike
        batch = Example(target.sum(1), target[:, order])  # pyright: ignore[reportArgumentType]
        losses.append(Step(plan, fabric, run)([batch])["loss"])
    assert (abs(losses[0] - losses[1]) < 1e-5) == permute
    assert validate_sources.kinds(["speech", "music"]) == ["speech+music"]
