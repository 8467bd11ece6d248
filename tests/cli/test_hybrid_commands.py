"""A hybrid where it is of no use: ``enhance live`` says so, ``enhance export`` refuses it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from enhance.models import constructor_arguments, create
from enhance.models.checkpoint import save

Cli = Callable[..., tuple[int, str, str]]
SMALL: dict[str, Any] = {
    "compact": {"widths": [4, 4, 8], "hidden": 8, "blocks": 1, "lookahead": 4},
    "waveform": {"widths": [2, 2, 2]},
}


@pytest.fixture
def hybrid(tmp_path: Path) -> Path:
    """A checkpoint of a small hybrid, of the full reach in time."""
    path = tmp_path / "cascade.safetensors"
    save(path, create("hybrid", **SMALL), constructor_arguments("hybrid", **SMALL), {})
    return path


def live(cli: Cli, model: str | Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """What ``enhance live`` says, line by line, to a tenth of a second of silence."""
    (folder / "in").write_bytes(bytes(3200))
    threads = torch.get_num_threads()
    with (folder / "in").open() as source, (folder / "out").open("w") as sink:
        monkeypatch.setattr(sys, "stdin", source)
        monkeypatch.setattr(sys, "stdout", sink)
        code, _, errors = cli("live", "--stdin", "--rate", "16000", "--model", model)
    torch.set_num_threads(threads)
    assert code == 0, errors
    return errors.splitlines()


def test_live_warns_of_a_delay_that_is_long(cli: Cli, hybrid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    warning, said, _ = live(cli, hybrid, monkeypatch, tmp_path)
    assert warning == f"warning: {hybrid}: its delay of 632 ms is too long for live sound; dcunet-s is made for it"
    assert "delay 632.0 ms" in said


@pytest.mark.parametrize("model", ["dcunet-s", "dcunet-m"])
def test_live_warns_of_no_other(cli: Cli, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert live(cli, model, monkeypatch, tmp_path)[0].startswith("16000 Hz")


def test_export_names_the_model_whose_state_is_more_than_tensors(cli: Cli, hybrid: Path, tmp_path: Path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    code, _, errors = cli("export", hybrid, "-o", tmp_path / "a.onnx")
    assert code == 2
    assert f"error: {hybrid}: the model's state holds int at start: " in errors
    assert errors.endswith("take another, such as dcunet-s\n")
    assert not list(tmp_path.glob("*.onnx*"))
