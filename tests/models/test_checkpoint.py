"""Checkpoints: what is saved comes back, and what is not a checkpoint is refused with a sentence."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from enhance.errors import EnhanceError
from enhance.models import checkpoint, create
from enhance.models.checkpoint import find, load_model, read_header, save, shipped

ARGUMENTS = {"layers": "dcunet-10", "mask": "ubd", "kind": "RMRn"}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create("dcunet-10", **ARGUMENTS).eval()


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, model, ARGUMENTS, {"recipe": "voicebank", "hours": 2.5})
    return path


def rewrite(path, **changes) -> None:
    """Change entries of a checkpoint's header."""
    header = read_header(path) | changes
    save_file(load_file(path), path, metadata={"enhance": json.dumps(header)})


def test_round_trip(model, saved):
    loaded = load_model(saved)
    assert type(loaded) is type(model)
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    wave = torch.randn(1, 1, 3000)
    assert torch.equal(loaded(wave), model(wave))


def test_header(saved):
    assert read_header(saved) == {
        "format": 1,
        "model": "DCUNet",
        "arguments": ARGUMENTS,
        "sample_rate": 16000,
        "sources": ["speech"],
        "provenance": {"recipe": "voicebank", "hours": 2.5},
    }


def test_other_weights_in_place_of_the_model_s(model, tmp_path):
    path = tmp_path / "average.safetensors"
    save(path, model, ARGUMENTS, {}, weights={name: value * 0 for name, value in model.state_dict().items()})
    assert not any(value.any() for value in load_model(path).state_dict().values())


def test_saving_leaves_one_readable_file(saved):
    assert [path.name for path in saved.parent.iterdir()] == ["model.safetensors"]
    assert saved.stat().st_mode & 0o777 == 0o644


def test_folders_are_made(model, tmp_path):
    path = tmp_path / "a" / "b" / "model.safetensors"
    save(path, model, ARGUMENTS, {})
    assert path.is_file()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(model, saved, value):
    before = saved.read_bytes()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights["decoders.4.0.bias"][0] = value
    with pytest.raises(EnhanceError, match=r"weight decoders\.4\.0\.bias is not finite: not written"):
        save(saved, model, ARGUMENTS, {}, weights)
    assert saved.read_bytes() == before


# Files that are none


def test_no_such_file(tmp_path):
    with pytest.raises(EnhanceError, match=r"none\.safetensors: no such file: give a name"):
        load_model(tmp_path / "none.safetensors")


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVEfmt ", b"\xff" * 1000])
def test_some_other_file(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(EnhanceError, match=r"other\.safetensors: not a checkpoint"):
        load_model(path)


def test_a_folder(tmp_path):
    path = tmp_path / "folder.safetensors"
    path.mkdir()
    with pytest.raises(EnhanceError, match=r"folder\.safetensors: not a checkpoint"):
        load_model(path)


def test_a_truncated_file(saved):
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(EnhanceError, match="not a checkpoint"):
        load_model(saved)


def test_weights_of_somebody_else(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(EnhanceError, match=r"foreign\.safetensors: safetensors, but not a check"):
        load_model(path)


def test_a_newer_format(saved):
    rewrite(saved, format=2)
    with pytest.raises(EnhanceError, match=r"newer enhance \(format 2\): upgrade enhance"):
        load_model(saved)


def test_an_unknown_model_class(saved):
    rewrite(saved, model="Nonsense")
    with pytest.raises(EnhanceError, match="unknown model class 'Nonsense'"):
        load_model(saved)


def test_arguments_the_class_does_not_know(saved):
    rewrite(saved, arguments={"depth": 3})
    with pytest.raises(EnhanceError, match=r"model\.safetensors: cannot build its model: .*depth"):
        load_model(saved)


def test_weights_of_another_size(saved):
    rewrite(saved, arguments={"layers": "dcunet-16"})
    with pytest.raises(EnhanceError, match="weights do not fit DCUNet"):
        load_model(saved)


def test_a_missing_weight(saved):
    header = read_header(saved)
    tensors = load_file(saved)
    del tensors["decoders.4.0.bias"]
    save_file(tensors, saved, metadata={"enhance": json.dumps(header)})
    with pytest.raises(EnhanceError, match="weights do not fit DCUNet"):
        load_model(saved)


# Names


def test_unknown_name():
    with pytest.raises(EnhanceError, match="unknown model 'zzz': `enhance models` lists what there is"):
        find("zzz")


def test_a_name_near_a_shipped_one(tmp_path, monkeypatch, saved):
    monkeypatch.setattr(checkpoint, "PRETRAINED", tmp_path)
    saved.rename(tmp_path / "dcunet-10.safetensors")
    assert list(shipped()) == ["dcunet-10"]
    assert find("dcunet-10") == tmp_path / "dcunet-10.safetensors"
    with pytest.raises(EnhanceError, match="did you mean 'dcunet-10'"):
        find("dcunet10")


def test_a_preset_without_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PRETRAINED", tmp_path)
    with pytest.raises(EnhanceError, match="model 'dcunet-20' has no shipped weights: train it"):
        find("dcunet-20")


def test_every_shipped_checkpoint_loads():
    for name, path in shipped().items():
        assert read_header(path)["provenance"], name
        model = load_model(name)
        assert torch.isfinite(model(0.1 * torch.randn(1, model.channels, 4000))).all()


@pytest.mark.parametrize("header", ["{", "[]", "{}", '{"format": "x"}', '{"format": 1, "model": "CompactUNet"}'])
def test_a_damaged_header_is_one_line(tmp_path, header):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "m.safetensors", metadata={"enhance": header})
    with pytest.raises(EnhanceError, match=r"m\.safetensors: its header is damaged"):
        load_model(tmp_path / "m.safetensors")
