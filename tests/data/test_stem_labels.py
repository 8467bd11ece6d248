"""Wrong labels: the table, the verdict, and what becomes of the stems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from enhance.data import stem_labels, stem_store
from enhance.data.stem_dataset import StemConfig, StemDataset, valid_examples
from enhance.data.stem_labels import contradicted
from enhance.data.stem_store import StemStore
from enhance.errors import EnhanceError
from enhance.inference.refine import activities

NAMES = ["low", "high"]
HEARD = {
    ("a", "low"): {"low": 0.9, "high": 0.1},
    ("a", "high"): {"low": 0.75, "high": 0.25},
    ("b", "low"): {"low": 0.5, "high": 0.5},
    ("b", "high"): {"low": 0.55, "high": 0.45},
}


def test_the_table_comes_back(tmp_path):
    stem_labels.write(tmp_path / "labels.csv", NAMES, HEARD.items())
    assert stem_labels.read(tmp_path / "labels.csv") == HEARD
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert lines[:2] == ["recording,label,low,high", "a,low,0.9000,0.1000"]


def test_the_verdict():
    assert contradicted(HEARD, 0.5) == {("a", "high"): "low", ("b", "high"): "low"}
    assert contradicted(HEARD, 0.6) == {("a", "high"): "low", ("b", "low"): None, ("b", "high"): None}
    assert contradicted(HEARD, 0.2) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "recording,label,low\na,low,x\n",
        "low,high\n1,2\n",
        "recording,label,low\na\n",
        "recording,label,low\na,high,1\n",
    ],
)
def test_what_is_no_table(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    if text:
        with pytest.raises(EnhanceError, match=r"labels\.csv: not a table of `enhance refine`"):
            stem_labels.read(tmp_path / "labels.csv")
    else:
        assert stem_labels.read(tmp_path / "labels.csv") == {}
    with pytest.raises(EnhanceError, match=r"no such file: run `enhance refine` with the same recipe first"):
        stem_labels.read(tmp_path / "labels")


# What becomes of them


def constants(folder: Path, values: dict[str, list[list[int]]]) -> StemStore:
    """Recordings of 100 samples by split, whose stems are constants."""
    labelled = [
        ((f"{split}{number}", split), np.repeat(np.array(levels, np.int16), 100).reshape(len(levels), 1, 100))
        for split, found in values.items()
        for number, levels in enumerate(found)
    ]
    folder.mkdir()
    stem_store.write(folder, labelled, NAMES, 100, 1, {})
    return StemStore(folder)


def levels(store: StemStore, examples: int = 30, **changes) -> set[tuple[int, ...]]:
    """The levels of the targets over some examples."""
    data = StemDataset(store.folder, StemConfig(**{"sources": NAMES, **changes}), 1.0, 1, 10)
    return {tuple(np.rint(data[n].target[:, 0, 0] * 32768).astype(int).tolist()) for n in range(examples)}


@pytest.fixture
def store(tmp_path: Path) -> StemStore:
    return constants(tmp_path / "store", {"train": [[1, 10], [2, 20], [4, 40]], "valid": [[8, 80], [16, 160]]})


def test_all_stems_are_used_unless_told_otherwise(store):
    assert levels(store) == {(1, 10), (2, 20), (4, 40)}
    assert levels(store, 100, remix=1.0) == {(low, high) for low in (1, 2, 4) for high in (10, 20, 40)}


def test_a_stem_that_is_left_out_takes_its_recording_out_of_those_as_recorded(store):
    left_out = {("train0", "high"): None}
    assert levels(store, relabelled=left_out) == {(2, 20), (4, 40)}
    mixed = levels(store, 100, remix=1.0, relabelled=left_out)
    assert mixed == {(low, high) for low in (1, 2, 4) for high in (20, 40)}


def test_a_relabelled_stem_is_what_it_is(store):
    relabelled = {("train0", "high"): "low"}
    assert levels(store, relabelled=relabelled) == {(11, 0), (2, 20), (4, 40)}
    mixed = levels(store, 150, remix=1.0, relabelled=relabelled)
    assert mixed == {(low, high) for low in (1, 2, 4, 10) for high in (20, 40)}


def test_where_no_recording_is_whole_all_are_remixed(store):
    left_out = {(f"train{number}", "high"): None for number in range(2)} | {("train2", "low"): None}
    assert levels(store, relabelled=left_out) == {(1, 40), (2, 40)}


def test_validation_is_of_whole_recordings(store):
    config = StemConfig(NAMES, relabelled={("valid1", "low"): None})
    found = valid_examples(store, config, 3, 1.0)["low+high"]
    assert {float(example.mixture[0, 0] * 32768) for example in found} == {88.0}
    everything = {(f"valid{number}", "low"): None for number in range(2)}
    with pytest.raises(EnhanceError, match="no recordings in split 'valid'"):
        valid_examples(store, StemConfig(NAMES, relabelled=everything), 3, 1.0)


def test_a_source_without_stems_is_an_error(store):
    everything = {(f"train{number}", "high"): None for number in range(3)}
    with pytest.raises(EnhanceError, match=r"no stem of high in split 'train': .*refine less"):
        levels(store, relabelled=everything)


# What is heard


class Bands(nn.Module):
    """Below and above an eighth of the rate: a separator that is right by construction."""

    sources, context, channels = ("low", "high"), (0, 0), 1

    def __init__(self, sample_rate: int = 8000) -> None:
        super().__init__()
        self.sample_rate = sample_rate

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(mixture)
        low = torch.arange(spectrum.shape[-1]) < spectrum.shape[-1] // 4
        return torch.stack([torch.fft.irfft(spectrum * part, mixture.shape[-1]) for part in (low, ~low)], dim=1)


def test_activities_are_shares_of_energy_over_the_seconds_that_sound(tmp_path):
    """Of four seconds: 0.3 and 0.1 of low and high, 0.1 of low, then 50 dB less of high, and silence."""
    time = np.arange(8000) / 8000
    low, high = np.sin(2 * np.pi * 200 * time), np.sin(2 * np.pi * 3000 * time)
    quiet = 0.001 * high
    wave = np.concatenate([0.3 * low + 0.1 * high, 0.1 * low, quiet, 0 * low])
    stems = np.rint(32767 * np.stack([wave, 0 * wave])[:, None]).astype(np.int16)
    (tmp_path / "store").mkdir()
    stem_store.write(tmp_path / "store", [(("song", "train"), stems)], NAMES, 8000, 1, {})
    counted: list[int] = []
    found = dict(activities(StemStore(tmp_path / "store"), Bands(), "cpu", lambda: counted.append(1)))
    assert len(counted) == 2
    assert list(found) == [("song", "low")]  # the other stem is silent
    assert found["song", "low"] == pytest.approx({"low": (0.9 + 1) / 2, "high": (0.1 + 0) / 2}, abs=0.01)


def test_a_model_of_other_sources_is_refused(store):
    class Other(Bands):
        sources = ("low", "middle")

    with pytest.raises(EnhanceError, match=r"the model gives low, middle, but .* has high"):
        list(activities(store, Other(100), "cpu"))


def test_the_command_wants_a_table_and_training_what_it_wrote(cli, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = """
name = "songs"
model = "separator-s"
model_options = { sources = ["low", "high"], sample_rate = 100 }
loss = { snr = 1.0 }
[data]
kind = "stems"
path = "store"
sources = ["low", "high"]
"""
    (tmp_path / "plain.toml").write_text(recipe)
    code, _, error = cli("refine", "plain.toml")
    assert code == 2
    assert "plain.toml: has no table [refine]" in error.replace("\n", " ")
    (tmp_path / "refine.toml").write_text(recipe + '[refine]\nmodel = "none.safetensors"\nlabels = "labels.csv"\n')
    code, _, error = cli("train", "refine.toml")
    assert code == 2
    assert "labels.csv: no such file: run `enhance refine` with the same recipe first" in error.replace("\n", " ")
    code, _, error = cli("refine", "refine.toml")
    assert code == 2
    assert "none.safetensors" in error
    assert not (tmp_path / "labels.csv").exists()
    stem_labels.write(tmp_path / "labels.csv", NAMES, [(("train0", "high"), {"low": 0.9, "high": 0.1})])
    code, out, error = cli("refine", "refine.toml")  # the table is there: nothing is heard again
    assert code == 0
    assert out == "train0: high at 0.10, low\n"
    assert "1 of 1 stems" in error
