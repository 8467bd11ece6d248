"""``enhance blend fit``, and what it wrote in ``enhance separate --blend``."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from enhance import audio
from enhance.inference.separate import separate
from enhance.models import create, presets
from enhance.models.checkpoint import save

Cli = Callable[..., tuple[int, str, str]]
SIZE = {"widths": [4, 4, 8], "hidden": 8, "blocks": 1}


@pytest.fixture
def tracks(tmp_path: Path, separator: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two separators, and mixtures whose "sources" are a blend of what they make of them: 0.3 and 0.7."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    other = create("separator-s", **SIZE)
    torch.nn.init.normal_(other.net.head.weight, std=0.5)  # pyright: ignore[reportAttributeAccessIssue]
    save(Path("runs/other.safetensors"), other, {**presets()["separator-s"][1], **SIZE}, {})
    for track in ("one", "two"):
        wave = 0.1 * np.random.default_rng(len(track)).standard_normal((2, 16000)).astype(np.float32)
        wave[1] *= 0.5 if track == "one" else 2.0
        parts = [separate(wave, 16000, model, "cpu") for model in (separator, "runs/other.safetensors")]
        for name in parts[0]:
            truth = 0.3 * parts[0][name] + 0.7 * parts[1][name]
            audio.write(f"set/{track}/{name}.wav", truth, 16000, "FLOAT")
        audio.write(f"set/{track}/mixture.wav", wave, 16000, "FLOAT")
    return tmp_path / "set"


def test_it_finds_the_weights_and_separate_uses_them(cli: Cli, tracks: Path, separator: str):
    code, out, err = cli("blend", "fit", "set", "-m", f"{separator},runs/other.safetensors", "-o", "deep/blend.toml")
    assert code == 0, err
    assert err == "wrote deep/blend.toml\n"
    assert out.count("blend") == 3  # a line a source
    found = tomllib.loads(Path("deep/blend.toml").read_text())
    assert found["models"]["model-2"] == "../runs/other.safetensors"
    for source in ("speech", "music", "noise"):
        assert found["weights"][source] == pytest.approx({"model-1": 0.3, "model-2": 0.7}, abs=1e-3)
    code, _, err = cli("separate", "set/one/mixture.wav", "-o", "out", "--blend", "deep/blend.toml")
    assert code == 0, err
    for source in ("speech", "music", "noise"):
        made, truth = (audio.read(f"{folder}/{source}.wav")[0] for folder in ("out/one", "set/one"))
        np.testing.assert_allclose(made, truth, atol=1e-4)
    code, _, err = cli("separate", "set/one/mixture.wav", "-o", "filtered", "--blend", "deep/blend.toml", "--wiener")
    assert code == 0, err
    filtered = [audio.read(f"filtered/one/{source}.wav")[0] for source in ("speech", "music", "noise")]
    np.testing.assert_allclose(sum(filtered), audio.read("set/one/mixture.wav")[0], atol=1e-5)


def test_mistakes_are_one_line(cli: Cli, tracks: Path, separator: str):
    code, _, err = cli("blend", "fit", "set", "-m", separator, "-o", "b.toml")
    assert (code, err.count("\n")) == (2, 1)
    assert "one model alone: give two or more" in err
    Path("b.toml").write_text("[models]\n")
    code, _, err = cli("separate", "set/one/mixture.wav", "-o", "out", "--blend", "b.toml")
    assert code == 2
    assert "error: b.toml: not a blend" in err
    assert not Path("out").exists()


def test_an_output_is_checked_before_the_work(cli: Cli, tracks: Path, separator: str):
    Path("notes.toml").write_text("mine")
    Path("folder").mkdir()
    for name, message in (("notes.toml", "notes.toml: exists: choose another name"), ("folder", "folder: is a folder")):
        code, _, err = cli("blend", "fit", "set", "-m", f"{separator},runs/other.safetensors", "-o", name)
        assert (code, message in err) == (2, True)
    assert Path("notes.toml").read_text() == "mine"
    code, _, err = cli(
        "blend", "fit", "set", "-m", f"{separator},runs/other.safetensors", "-o", "notes.toml", "--force"
    )
    assert code == 0, err


def test_a_checkpoint_of_any_name_is_found_beside_its_blend(cli: Cli, tracks: Path, separator: str):
    Path("a.ckpt").write_bytes(Path(separator).read_bytes())
    assert cli("blend", "fit", "set", "-m", "a.ckpt,runs/other.safetensors", "-o", "sub/blend.toml")[0] == 0
    code, _, err = cli("separate", "set/one/mixture.wav", "-o", "out", "--blend", "sub/blend.toml")
    assert code == 0, err


def test_weights_with_another_sum_are_refused(cli: Cli, tracks: Path, separator: str):
    models = '[models]\na = "runs/other.safetensors"\nb = "runs/other.safetensors"\n'
    Path("loud.toml").write_text(models + "[weights.speech]\na = 2\nb = 1\n")
    code, _, err = cli("separate", "set/one/mixture.wav", "-o", "out", "--blend", "loud.toml")
    assert code == 2
    assert "loud.toml: weights.speech: their sum is 3: make it one" in err
