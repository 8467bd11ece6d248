"""Training on stems: what fits a model, sources without an order, channels in validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file
from torch import nn

from enhance.data import stem_store
from enhance.data.mixing import Example
from enhance.data.stem_store import StemStore
from enhance.errors import EnhanceError
from enhance.training import loop, sources, validate_sources
from enhance.training.recipe import Recipe

NAMES = ["s1", "s2"]


@pytest.fixture(scope="module")
def talkers(tmp_path_factory: pytest.TempPathFactory) -> StemStore:
    """Six recordings of two sources of noise in one channel at 16 kHz; the second one of the last is silent."""
    folder = tmp_path_factory.mktemp("talkers")
    rng = np.random.default_rng(0)
    waves = [np.rint(3000 * rng.standard_normal((2, 1, 16000))).astype(np.int16) for _ in range(6)]
    waves[5][1] = 0
    labelled = ((((f"{number}", "valid" if number > 3 else "train")), wave) for number, wave in enumerate(waves))
    stem_store.write(folder, labelled, NAMES, 16000, 1, {})
    return StemStore(folder)


def recipe(store: StemStore, **changes) -> Recipe:
    """A tiny separator of them; ``changes`` as ``table__key=value``."""
    settings: dict = {
        "name": "tiny",
        "model": "separator-s",
        "model_options": {"widths": [4, 4, 8], "hidden": 8, "blocks": 1, "sources": NAMES},
        "permute": True,
        "loss": {"si_sdr": 1.0},
        "data": {"kind": "stems", "path": store.folder, "sources": NAMES, "seconds": 0.5, "workers": 0},
        "optim": {"steps": 2, "batch": 2, "warmup": 1},
        "run": {"compile": False, "precision": "32-true"},
        "valid": {"every": 1000, "clips": 4, "seconds": 0.5},
    }
    for key, value in changes.items():
        table, _, name = key.rpartition("__")
        (settings[table] if table else settings)[name] = value
    return Recipe.model_validate(settings)


class Known(nn.Module):
    """Gives the sources of the examples that it knows, in the other order."""

    def __init__(self, listed: dict[str, list[Example]]) -> None:
        super().__init__()
        self.sources = tuple(NAMES)
        self.known = [example for found in listed.values() for example in found]

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        wave = mixture[0].numpy()
        target = next(example.target for example in self.known if np.array_equal(example.mixture, wave))
        return torch.from_numpy(target[::-1].copy())[None]


def test_the_order_of_talkers_does_not_count(talkers):
    """Perfect estimates reach the bound of 30 dB; without ``permute`` the other talker's wave is none of this one's."""
    found = {}
    for permute in (True, False):
        validation = sources.Validation(recipe(talkers, permute=permute), talkers)
        found[permute] = validation.scores(Known(validation.listed), torch.device("cpu"))["s1+s2"]
    assert found[True] == {"s1": 30, "s2": 30}
    assert found[False]["s1"] < -15


def test_a_silent_talker_does_not_count(talkers):
    validation = sources.Validation(recipe(talkers), talkers)
    silent = [not example.target[1].any() for example in validation.listed["s1+s2"]]
    assert 0 < sum(silent) < len(silent)
    assert abs(validation.baseline["s1+s2"]["s2"]) < 1  # noise of one level, where it is
    only = {"s1+s2": [example for example, hush in zip(validation.listed["s1+s2"], silent, strict=True) if hush]}
    assert list(validate_sources.untouched(only, NAMES)["s1+s2"]) == ["s1"]


def test_two_channels_are_one_ratio():
    """-20 dB of noise in one channel of two that are as loud: 20 + 3 dB over both."""
    rng = np.random.default_rng(0)
    target = rng.standard_normal((1, 2, 50000)).astype(np.float32)
    mixture = target[0].copy()
    mixture[1] += 0.1 * rng.standard_normal(50000)
    scores = validate_sources.untouched({"s1": [Example(mixture, target)]}, ["s1"])
    assert scores["s1"]["s1"] == pytest.approx(23.0, abs=0.1)


def test_a_store_that_does_not_fit_is_refused_before_the_work(talkers, tmp_path):
    slower = {**recipe(talkers).model_options, "sample_rate": 8000}
    with pytest.raises(EnhanceError, match=r"prepared at 16000 Hz, but 'separator-s' runs at 8000 Hz"):
        loop.train(recipe(talkers, model_options=slower), tmp_path / "run", resume=False)
    with pytest.raises(EnhanceError, match=r"data\.sources are s2, s1, those of 'separator-s' s1, s2"):
        loop.train(recipe(talkers, data__sources=["s2", "s1"]), tmp_path / "run", resume=False)
    with pytest.raises(EnhanceError, match=r"no source 'noise': it has s1, s2"):
        loop.train(recipe(talkers, data__others=["noise"]), tmp_path / "run", resume=False)
    with pytest.raises(EnhanceError, match=r"not a data set of pairs: prepare it again, or set data\.kind"):
        loop.train(
            recipe(talkers, data__kind="pairs", data__sources=[], model="dcunet-s", model_options={}),
            tmp_path / "run",
            False,
        )
    assert not list(tmp_path.glob("run/*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__sources": []}, r"data\.sources: name the targets of stems"),
        ({"data__kind": "mixtures"}, r"data\.sources: name the targets of stems, and of nothing else"),
        ({"data__others": ["s2", "noise"]}, r"data\.others: s2 is a target"),
    ],
)
def test_settings_that_make_no_sense(talkers, changes, message):
    with pytest.raises(ValidationError, match=message):
        recipe(talkers, **changes)


def test_it_goes_on_as_if_it_had_not_stopped(talkers, tmp_path: Path):
    loop.train(recipe(talkers, optim__steps=4), tmp_path / "whole", resume=False)
    stopped: list[int] = []

    def stop(step: int, score: float) -> None:
        stopped.append(step)
        raise KeyboardInterrupt

    plan = recipe(talkers, optim__steps=4, valid__every=2, run__save_every=1)
    with pytest.raises(KeyboardInterrupt):
        loop.train(plan, tmp_path / "parts", resume=False, report=stop)
    loop.train(recipe(talkers, optim__steps=4), tmp_path / "parts", resume=True)
    assert stopped == [2]
    whole, parts = (load_file(tmp_path / run / loop.LAST) for run in ("whole", "parts"))
    for name, tensor in whole.items():
        np.testing.assert_array_equal(tensor, parts[name])
