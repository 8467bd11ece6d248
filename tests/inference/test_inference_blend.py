"""Blends: the weights are found again, sums are what they say, files are read as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Fir, Recurrent, Shares, noise

import enhance
from enhance.errors import EnhanceError
from enhance.inference.blend import Blend, load_blend, simplex_weights, write_blend
from enhance.inference.fit_blend import Known, fit
from enhance.models import create, presets
from enhance.models.checkpoint import save


class Oracle(torch.nn.Module):
    """Gives signals that were prepared for a mixture, whatever they are."""

    channels = 1
    sample_rate = 16000
    context = (0, 0)

    def __init__(self, estimates: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.sources = tuple(estimates)
        self.estimates = torch.from_numpy(np.stack(list(estimates.values())))  # (S, C, T)

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        return self.estimates.transpose(0, 1)[:, :, None]  # (C, S, 1, T), channels as a batch


# Weights


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 4), st.integers(0, 2**20))
def test_known_weights_are_found(count: int, seed: int):
    rng = np.random.default_rng(seed)
    wanted = rng.dirichlet(np.ones(count))
    estimates = rng.standard_normal((count, 500))
    found = simplex_weights(estimates @ estimates.T, estimates @ (wanted @ estimates))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 4), st.integers(0, 2**20))
def test_none_on_the_simplex_is_better(count: int, seed: int):
    """Also where the free solution has negative weights: against many random ones, and the models alone."""
    rng = np.random.default_rng(seed)
    target = rng.standard_normal(300)
    estimates = rng.uniform(-1, 1.5, (count, 1)) * target + rng.standard_normal((count, 300))
    found = simplex_weights(estimates @ estimates.T, estimates @ target)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    others = np.concatenate((np.eye(count), rng.dirichlet(np.ones(count), 200)))
    errors = np.square(target - others @ estimates).sum(-1)
    assert np.square(target - found @ estimates).sum() <= errors.min() + 1e-9


def test_two_models_that_are_the_same_have_weights_all_the_same():
    wave = noise(1, 100)[0].astype(np.float64)
    found = simplex_weights(np.full((2, 2), wave @ wave), np.full(2, wave @ wave))
    assert found.sum() == pytest.approx(1)


def test_a_fit_over_recordings_finds_weights_a_source():
    speech, music = noise(1, 16000, 1, seed=1), noise(1, 16000, 1, seed=2)
    errors = [noise(1, 16000, 1, seed=number) for number in range(3, 7)]
    # The errors of the two models cancel in the drawn proportion.
    a = Oracle({"speech": speech + 0.7 * errors[0], "music": music + 0.2 * errors[1]})
    b = Oracle({"speech": speech - 0.3 * errors[0], "music": music - 0.8 * errors[1]})
    known = [Known(speech + music, {"speech": speech, "music": music}, 16000)]
    found = fit({"a": a, "b": b}, known, "cpu")
    assert found.weights["speech"] == pytest.approx({"a": 0.3, "b": 0.7}, abs=1e-3)
    assert found.weights["music"] == pytest.approx({"a": 0.8, "b": 0.2}, abs=1e-3)
    for row in found.errors.values():
        assert row["blend"] < -60
        assert row["blend"] < min(row["a"], row["b"])
    assert found.errors["speech"]["b"] == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.1)


def test_what_nothing_is_known_of():
    model = Shares({"speech": 0.5, "music": 0.5})
    wave = noise(1, 16000)
    with pytest.raises(EnhanceError, match="nothing is known of music: give recordings with these sources"):
        fit({"a": model, "b": model}, [Known(wave, {"speech": wave}, 16000)], "cpu")


@pytest.mark.parametrize("talkers", [{"s1": 0.5, "s2": 0.5}, {"s1": 0.4, "s2": 0.4, "noise": 0.2}])
def test_talkers_in_no_order_are_refused(talkers: dict[str, float]):
    """Before anything is read."""

    def recordings() -> Iterator[Known]:
        raise AssertionError("read")
        yield

    with pytest.raises(EnhanceError, match="s1, s2: talkers in no order, which cannot be summed: blend models whose"):
        fit({"a": Shares(talkers), "b": Shares(talkers)}, recordings(), "cpu")


# Blended estimates


@pytest.mark.parametrize("rate", [16000, 44100])
def test_models_of_any_reach_are_summed_sample_by_sample(rate: int):
    models = {"fir": Fir(), "late": Recurrent(), "other": Recurrent(sample_rate=8000)}
    weights = {"fir": 0.5, "late": 0.25, "other": 0.25}
    wave = noise(1.7, rate, 2)
    expected = sum(
        weights[name] * enhance.separate(wave, rate, model, "cpu")["speech"] for name, model in models.items()
    )
    found = enhance.separate(wave, rate, Blend(models, {"speech": weights}), "cpu")
    np.testing.assert_allclose(found["speech"], expected, atol=1e-6)


def test_a_source_may_come_from_some_of_the_models():
    models = {"a": Shares({"x": 0.2, "y": 0.8}), "b": Shares({"x": 0.6})}
    wave = noise(1, 16000)
    found = enhance.separate(wave, 16000, Blend(models, {"y": {"a": 1.0}, "x": {"a": 0.5, "b": 0.5}}), "cpu")
    assert list(found) == ["y", "x"]
    np.testing.assert_allclose(found["x"], 0.4 * wave, atol=1e-6)
    np.testing.assert_allclose(found["y"], 0.8 * wave, atol=1e-6)


def test_what_cannot_be_blended():
    a, b = Shares({"x": 1.0}), Shares({"x": 1.0}, channels=2)
    with pytest.raises(EnhanceError, match=r"weights\.x\.c: no such model: there are a"):
        Blend({"a": a}, {"x": {"c": 1.0}})
    with pytest.raises(EnhanceError, match=r"weights\.y\.a: it gives x"):
        Blend({"a": a}, {"y": {"a": 1.0}})
    with pytest.raises(EnhanceError, match="channels"):
        Blend({"b": b, "c": Shares({"x": 1.0}, channels=3)}, {"x": {"b": 1.0}})
    assert Blend({"a": a, "b": b}, {"x": {"a": 0.5, "b": 0.5}}).channels == 2


# Files


def test_a_blend_is_read_as_it_was_written(tmp_path: Path):
    size = {"widths": [4, 4, 8], "hidden": 8, "blocks": 1}
    checkpoint = tmp_path / "runs" / "best.safetensors"
    save(checkpoint, create("separator-s", **size), {**presets()["separator-s"][1], **size}, {})
    weights = {"speech": {"own one": 0.25, "shipped": 0.75}, "music": {"own one": 1.0}}
    write_blend(tmp_path / "b.toml", {"own one": "runs/best.safetensors", "shipped": "dcunet-s"}, weights)
    blend = load_blend(tmp_path / "b.toml")
    assert blend.weights == weights
    assert blend.sources == ("speech", "music")
    assert blend.models["own one"].sources == ("speech", "music", "noise")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("a = -0.1\nb = 1.1", r"b\.toml: weights\.speech\.a is -0\.1: give zero or more"),
        ("a = 0.5\nb = nan", r"b\.toml: weights\.speech\.b is nan: give zero or more"),
        ("a = inf", r"b\.toml: weights\.speech\.a is inf: give zero or more"),
        ("a = 0\nb = 0.0", r"b\.toml: weights\.speech: none is above zero"),
        ("", r"b\.toml: weights\.speech: none is above zero"),
    ],
)
def test_weights_that_are_none(tmp_path: Path, weights: str, message: str):
    models = '[models]\na = "dcunet-s"\nb = "dcunet-s"\n'
    (tmp_path / "b.toml").write_text(f"{models}[weights.speech]\n{weights}\n")
    with pytest.raises(EnhanceError, match=message):
        load_blend(tmp_path / "b.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[models]\n", r"b\.toml: not a blend"),
        ("not TOML", r"b\.toml: not a blend"),
        ('[models]\na = "dcunet-s"\n[weights]\nspeech = 3\n', r"b\.toml: not a blend"),
        ('[models]\na = "dcunet-s"\n[weights]\n', r"b\.toml: not a blend: it names no models, or no sources"),
        ('[models]\na = "nowhere.safetensors"\n[weights.speech]\na = 1\n', r"nowhere\.safetensors: no such file"),
    ],
)
def test_a_file_that_is_no_blend(tmp_path: Path, text: str, message: str):
    (tmp_path / "b.toml").write_text(text)
    with pytest.raises(EnhanceError, match=message):
        load_blend(tmp_path / "b.toml")
    with pytest.raises(EnhanceError, match=r"none\.toml: cannot be read \(No such file"):
        load_blend(tmp_path / "none.toml")
