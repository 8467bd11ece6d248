"""Models as ONNX files: what they give, what they say, and what cannot be one."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from toys import Gain, Late

from enhance import audio
from enhance.cli import app
from enhance.errors import EnhanceError
from enhance.inference.denoise import denoise
from enhance.inference.export import check_packages, export_onnx, flatten, largest_difference, unflatten
from enhance.models.checkpoint import load_model
from enhance.models.compact import CompactUNet

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass
class Memory:
    line: Tensor
    layers: list[tuple[Tensor, Tensor]]
    nothing: Tensor | None = None


def memory(first: float) -> Memory:
    line, *rest = torch.arange(first, first + 5)
    return Memory(line, [(rest[0], rest[1]), (rest[2], rest[3])])


class Deep(Late):
    """A stream with a dataclass, a list and tuples for a state."""

    def stream(self, chunk: Tensor, state: Memory | None) -> tuple[Tensor, Memory]:
        if state is None:
            zero = torch.zeros(1, 1)
            state = Memory(torch.zeros(*chunk.shape[:-1], self.latency), [(zero, zero), (zero, zero)])
        estimates, line = super().stream(chunk, state.line)
        layers = [(level + chunk.mean(), 0.9 * other + level) for level, other in state.layers]
        return estimates + 1e-3 * layers[1][1], Memory(line, layers)


def test_states_are_taken_apart_and_put_together():
    parts = flatten(memory(0))
    assert list(parts) == ["line", "layers.0.0", "layers.0.1", "layers.1.0", "layers.1.1"]
    assert [int(tensor) for tensor in parts.values()] == [0, 1, 2, 3, 4]
    again = unflatten(memory(10), iter(parts.values()))
    assert isinstance(again, Memory)
    assert isinstance(again.layers[1], tuple)
    assert again.nothing is None
    assert all(a is b for a, b in zip(flatten(again).values(), parts.values(), strict=True))
    assert list(flatten(torch.zeros(1))) == ["state"]
    with pytest.raises(
        EnhanceError, match=r"the model's state holds int at 1\.0: an exported model keeps tensors only"
    ):
        flatten((torch.zeros(1), [3]))


@pytest.mark.parametrize("model", [Late(), Deep(), Late(channels=2, latency=100)], ids=["tensor", "deep", "joint"])
def test_other_models_that_stream(model: Late, tmp_path: Path):
    import onnxruntime

    export_onnx(model.eval(), "runs/toy.safetensors", tmp_path / "toy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "toy.onnx")
    about = session.get_modelmeta().custom_metadata_map
    shapes = json.loads(about["state"])
    assert about["model"] == "toy.safetensors"
    assert about["licence"] == "that of its weights"
    assert (about["latency"], about["channels"]) == (str(model.latency), str(model.channels))
    assert [value.name for value in session.get_inputs()] == ["chunk", *shapes]
    assert [value.name for value in session.get_outputs()] == ["estimates", *(f"next.{name}" for name in shapes)]
    assert [value.shape for value in session.get_inputs()[1:]] == list(shapes.values())


def test_a_compact_model_with_frames_between_those_of_its_blocks(tmp_path: Path):
    import onnxruntime

    torch.manual_seed(0)
    model = CompactUNet(widths=[4, 4, 4], hidden=4, blocks=1, hop=128, time_stride=2)
    torch.nn.init.normal_(model.net.head.weight, std=0.5)
    export_onnx(model.eval(), "runs/toy.safetensors", tmp_path / "toy.onnx")
    about = onnxruntime.InferenceSession(tmp_path / "toy.onnx").get_modelmeta().custom_metadata_map
    assert (about["block"], about["latency"]) == ("256", "384")
    assert json.loads(about["state"])["held"] == [1, 1, 32, 4]


class Bessel(Late):
    def stream(self, chunk: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        estimates, state = super().stream(chunk, state)
        return torch.special.bessel_j0(estimates), state


class Narrow(Late):
    def stream(self, chunk: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        estimates, state = super().stream(chunk, state)
        return estimates.bfloat16().sin().float(), state


class Branch(Late):
    def stream(self, chunk: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        estimates, state = super().stream(chunk, state)
        return (estimates if estimates.sum() > 0 else -estimates), state


class Nonzero(Late):
    """Its state begins with ones, the exported one's with zeros."""

    def stream(self, chunk: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().stream(chunk, torch.ones(*chunk.shape[:-1], self.latency) if state is None else state)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Gain(), "toy: does not stream"),
        (Bessel(), "toy: ONNX cannot express it: .*bessel_j0"),
        (Narrow(), "toy: ONNX Runtime cannot run it: .*Sin"),
        (Branch(), "toy: ONNX cannot express it: .*data-dependent"),
        (Nonzero(), "toy: ONNX Runtime differs from PyTorch by 5.0e-01: at most 0.0001 is allowed"),
    ],
    ids=["context", "operator", "runtime", "branch", "differs"],
)
def test_what_cannot_be_exported(
    model: torch.nn.Module, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "toy.onnx").write_text("an older one")
    with pytest.raises(EnhanceError, match=message):
        export_onnx(model.eval(), "toy", tmp_path / "toy.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["toy.onnx"]
    assert (tmp_path / "toy.onnx").read_text() == "an older one"
    assert capfd.readouterr() == ("", "")


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(EnhanceError, match=r"the package onnxscript: pip install onnx onnxscript onnxruntime"):
        check_packages()


# The shipped model, by the command


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "dcunet-s.onnx"
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        app(["export", "dcunet-s", "-o", str(path)], standalone_mode=False)
    assert out.getvalue() == ""
    assert error.getvalue().splitlines() == [
        "translating dcunet-s",
        "comparing with PyTorch",
        f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)",
    ]
    return path


@pytest.mark.slow
def test_the_shipped_model_as_a_file(exported: Path):
    import onnxruntime

    about = onnxruntime.InferenceSession(exported).get_modelmeta().custom_metadata_map
    expected = {"model": "dcunet-s", "licence": "MIT", "sample_rate": "16000", "block": "256", "latency": "256"}
    assert {key: about[key] for key in expected} == expected
    assert json.loads(about["sources"]) == ["speech"]
    assert exported.stat().st_size < 2e6
    assert str(ROOT).encode() not in exported.read_bytes()  # nothing of this machine is in it
    wave = audio.read(ROOT / "examples/noisy.wav")[0]
    wave = wave[:, : 250 * 256]  # four seconds; benchmarks/runtimes.py compares ten minutes
    assert largest_difference(exported, load_model("dcunet-s"), wave) < 1e-5  # asked for are 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2])
def test_the_example_runs_without_torch(exported: Path, tmp_path: Path, channels: int):
    noisy = np.repeat(audio.read(ROOT / "examples/noisy.wav")[0][:, :40001], channels, axis=0)
    noisy[-1] = noisy[-1, ::-1]
    soundfile.write(tmp_path / "noisy.wav", noisy.T, 16000, "FLOAT")
    program = (
        "import runpy, sys; sys.modules.update(torch=None, enhance=None, scipy=None); "
        "runpy.run_path(sys.argv.pop(), run_name='__main__')"
    )
    arguments = [exported, tmp_path / "noisy.wav", tmp_path / "clean.wav", ROOT / "examples/onnx_denoise.py"]
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True)
    clean = soundfile.read(tmp_path / "clean.wav", dtype="float32", always_2d=True)[0].T
    np.testing.assert_allclose(clean, denoise(noisy, 16000, "dcunet-s"), atol=1e-4)
    assert np.abs(clean - noisy).max() > 0.05


@pytest.mark.slow
def test_the_example_refuses_another_rate(exported: Path, tmp_path: Path):
    soundfile.write(tmp_path / "noisy.wav", np.zeros(100), 8000)
    example = str(ROOT / "examples/onnx_denoise.py")
    found = subprocess.run(
        [sys.executable, example, exported, tmp_path / "noisy.wav", tmp_path / "clean.wav"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    assert found.stderr.endswith("noisy.wav: 8000 Hz, but the model wants 16000 Hz\n")


def test_bad_input(cli: Callable[..., tuple[int, str, str]], tmp_path: Path):
    (tmp_path / "there.onnx").write_text("")
    for arguments, message in (
        (["dcunet-s", "-o", tmp_path / "m.pt"], "m.pt: not a name for an ONNX file: end it with .onnx"),
        (
            ["dcunet-s", "-o", tmp_path / "there.onnx"],
            "there.onnx: exists: choose another name with -o, or add --force",
        ),
        (["dcunet-10", "-o", tmp_path / "m.onnx"], "model 'dcunet-10' has no shipped weights"),
    ):
        code, _, errors = cli("export", *arguments)
        assert code == 2
        assert message in errors
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
