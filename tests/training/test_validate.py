"""Validation of a denoiser: what its scores are at rates that PESQ-WB does not know."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from signals import voice

from enhance.data import pair_store
from enhance.data.manifest import scan_folder
from enhance.data.mixing import Mixer, MixingConfig
from enhance.data.store import Store, build
from enhance.errors import EnhanceError
from enhance.training import sources, validate
from enhance.training.recipe import Recipe


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8000, 48000])
def test_mixtures_at_another_rate_are_scored(audio_folders: dict[str, Path], tmp_path: Path, rate: int):
    clips = [clip for kind, folder in audio_folders.items() for clip in scan_folder(folder, kind)]
    store = build(tmp_path / "data", clips, [], rate, 1)
    listed = validate.examples(store, 1, 2.0)
    assert "clean" in listed
    assert all(listed.values())
    scores = validate.untouched(listed, rate)
    assert scores["clean"]["pesq"] == pytest.approx(4.64, abs=0.01)  # of a signal against itself
    assert 1 < scores["noise"]["pesq"] < 4


def test_the_target_of_validation_keeps_the_reflections_that_the_target_of_training_keeps(store: Store, monkeypatch):
    monkeypatch.setattr(validate, "score", lambda *_: {"pesq": 1.0})

    def listed(**mixing: float) -> dict[str, list]:
        recipe = plan(Path(store.folder), "mixtures", 0.5)
        data = recipe.data.model_copy(update={"mixing": MixingConfig(**mixing)})
        return sources.validation_list(recipe.model_copy(update={"data": data}), store)

    everything, early = listed(), listed(early_ms=10.0)
    config = validate.KINDS["reverberant"].model_copy(update={"early_ms": 10.0})
    (found,) = early["reverberant"]
    wanted = Mixer(store, "valid", config, 8000, validate.SEED).example(zlib.crc32(b"reverberant"), 0)
    np.testing.assert_array_equal(found.target, wanted.target)
    assert not np.array_equal(found.target, everything["reverberant"][0].target)
    for kind in everything.keys() - {"reverberant"}:
        np.testing.assert_array_equal(early[kind][0], everything[kind][0])


def plan(folder: Path, kind: str, seconds: float) -> Recipe:
    settings = {"name": "x", "model": "dcunet-s", "loss": {"snr": 1.0}, "valid": {"clips": 1, "seconds": seconds}}
    return Recipe.model_validate({**settings, "data": {"path": folder, "kind": kind}})


@pytest.mark.parametrize("kind", ["mixtures", "pairs"])
def test_examples_too_short_to_be_scored_are_one_line(store: Store, tmp_path: Path, kind: str):
    if kind == "pairs":
        wave = (8000 * voice(1.0, 1)).astype(np.int16)
        labels = {"id": "p_1", "speaker": "p", "split": "valid", "noise": "", "snr": ""}
        pair_store.write(tmp_path, [(labels, wave, wave)], 16000, {})
    recipe = plan(tmp_path if kind == "pairs" else Path(store.folder), kind, 0.2)
    with pytest.raises(EnhanceError, match=r"no example of 0\.2 s for validation can be scored: give a longer valid"):
        sources.Validation(recipe, sources.open_store(recipe))
