"""Models in bfloat16: near what they are in float32, asked for in all places, refused where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import Gain, noise

import enhance
from enhance import audio
from enhance.bench.systems import find_systems, identity
from enhance.errors import EnhanceError
from enhance.inference import precision
from enhance.inference.chunks import StreamChunks
from enhance.inference.precision import MixedPrecision, with_precision
from enhance.models import create
from enhance.models.checkpoint import load_model
from enhance.nn.precision import has_bfloat16

RATE = 16000
EXAMPLE = Path(__file__).parents[2] / "examples" / "noisy.wav"
Cli = Callable[..., tuple[int, str, str]]

needs_bfloat16 = pytest.mark.skipif(not has_bfloat16("cpu"), reason="this processor has no bfloat16")


def nearness(near: np.ndarray, wave: np.ndarray) -> float:
    """Level of a wave over that of its difference to another, dB."""
    return 10 * np.log10(np.square(wave).sum() / np.square(near - wave).sum())


@needs_bfloat16
@pytest.mark.parametrize("name", ["dcunet-s", "dcunet-m", "hybrid"])
def test_a_denoiser_does_nearly_the_same(name: str):
    wave, rate = audio.read(EXAMPLE)
    exact, near = (enhance.denoise(wave, rate, name, precision=each) for each in ("32-true", "bf16-mixed"))
    assert near.dtype == np.float32
    assert 40 < nearness(near, exact) < 80


@needs_bfloat16
@pytest.mark.parametrize("name", ["dcunet-10", "hybrid-dcunet", "waveform", "stems-s"])
def test_other_networks_compute_in_it_too(name: str):
    torch.manual_seed(0)
    model = create(name).eval()
    for name, weight in model.named_parameters():
        if "head" in name or "up.0" in name:
            torch.nn.init.normal_(weight, std=0.1)
    wave = torch.from_numpy(noise(0.5, RATE, model.channels))[None]
    with torch.inference_mode():
        exact, near = model(wave), MixedPrecision(model)(wave)
    assert near.dtype == torch.float32
    assert 20 < nearness(near.numpy(), exact.numpy()) < 100


@needs_bfloat16
def test_a_stream_in_chunks_is_near_the_whole():
    wave = audio.read(EXAMPLE)[0][:, : 3 * RATE]
    chunks = StreamChunks(MixedPrecision(load_model("dcunet-s")), 1, torch.device("cpu"), seconds=0.5)
    parts = [chunks.push(wave[:, start : start + 7000]) for start in range(0, wave.shape[1], 7000)]
    streamed = np.concatenate((*parts, chunks.finish()), axis=1)
    assert 35 < nearness(streamed, enhance.denoise(wave, RATE, "dcunet-s")) < 80


@needs_bfloat16
@pytest.mark.parametrize("training", [False, True])
def test_a_model_is_given_back_as_it_was(training: bool):
    model = load_model("dcunet-s").train(training)
    wave = noise(0.3, RATE)
    enhance.denoise(wave, RATE, model, precision="bf16-mixed")
    assert all(module.training == training for module in model.modules())
    assert np.array_equal(enhance.denoise(wave, RATE, model), enhance.denoise(wave, RATE, "dcunet-s"))


@needs_bfloat16
def test_the_beginning_is_heard_in_it_too():
    model = load_model("dcunet-m")
    kinds = []
    model.net.blocks[0].lstm.register_forward_hook(lambda module, inputs, output: kinds.append(output[0].dtype))
    enhance.denoise(noise(0.3, RATE), RATE, model, precision="bf16-mixed")
    assert kinds == 2 * [torch.bfloat16]  # heard, then denoised


@needs_bfloat16
def test_estimates_of_a_last_layer_that_is_a_convolution():
    class Convolution(Gain):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv1d(1, 1, 1)

        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            return self.layer(mixture)[:, None]

    wave = noise(0.3, RATE)
    exact, near = (enhance.denoise(wave, RATE, Convolution(), precision=each) for each in ("32-true", "bf16-mixed"))
    assert near.dtype == exact.dtype == np.float32


@needs_bfloat16
def test_a_separator_and_a_blend_do_nearly_the_same(cli: Cli, tmp_path: Path):
    (tmp_path / "both.toml").write_text('[models]\na = "separator-s"\n[weights.speech]\na = 1.0\n')
    for folder, *options in (("exact",), ("near", "--precision", "bf16-mixed")):
        for way in (("--model", "separator-s"), ("--blend", tmp_path / "both.toml")):
            output = tmp_path / folder / way[0][2:]
            assert cli("separate", EXAMPLE, "-o", output, "--sources", "speech", *way, *options)[0] == 0
    exact, model, blend = (
        audio.read(tmp_path / place / "noisy" / "speech.wav")[0]
        for place in ("exact/model", "near/model", "near/blend")
    )
    assert nearness(model, exact) > 30
    assert not np.array_equal(model, exact)
    assert np.array_equal(model, blend)


@needs_bfloat16
def test_files_of_another_precision_are_done_again(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        audio.write(tmp_path / f"in/{number}.wav", noise(0.3, RATE, seed=number), RATE)
    command = ("denoise", "in", "-o", "out", "-m", "dcunet-s", "--records", "done.jsonl", "--jobs", "2")
    assert cli(*command)[0] == 0
    exact = audio.read("out/1.wav")[0]
    assert cli(*command, "--precision", "bf16-mixed")[0] == 0
    assert len(Path("done.jsonl").read_text().splitlines()) == 4
    assert not np.array_equal(audio.read("out/1.wav")[0], exact)
    assert cli(*command, "--precision", "bf16-mixed")[2] == "2 files were done before\n"


@needs_bfloat16
def test_a_benchmark_scores_it(cli: Cli, tmp_path: Path):
    records = tmp_path / "scores.jsonl"
    command = ("bench", "--models", "dcunet-s", "--metrics", "si_sdr", "--limit", "2", "-j", "1", "--json")
    means = []
    for options in ((), ("--precision", "bf16-mixed", "--resume")):
        code, out, error = cli(*command, "--records", records, *options)
        assert code == 0, error
        means.append(json.loads(out)["systems"][1]["scores"]["si_sdr"]["mean"])
    assert "cpu" in json.loads(out)["footer"]["device"]
    assert json.loads(out)["footer"]["device"].endswith(", bf16-mixed")
    assert means[0] != means[1]
    assert means[0] == pytest.approx(means[1], abs=0.05)
    names = {identity(find_systems(["dcunet-s"], [], each)[1]) for each in ("32-true", "bf16-mixed")}
    assert len(names) == 2


def test_float32_is_the_model_itself():
    model = create("dcunet-s")
    assert with_precision(model, "32-true") is model


@pytest.mark.parametrize("command", ["denoise", "separate", "bench"])
def test_where_there_is_none_it_is_refused(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    options = () if command == "bench" else (EXAMPLE, "-o", tmp_path / "out")
    for asked, problem in (("bf16-mixed", "the cpu device has no bfloat16 arithmetic"), ("fp8", "unknown")):
        code, _, error = cli(command, *options, "--device", "cpu", "--precision", asked)
        assert code == 2
        assert f"--precision {asked}: {problem}" in error
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_on_ray_the_processor_is_asked(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: device == "cuda")
    command = ("denoise", EXAMPLE, "-o", tmp_path / "out.wav", "--precision", "bf16-mixed")
    code, _, error = cli(*command, "--engine", "ray")
    assert code == 2
    assert "the cpu device has no bfloat16 arithmetic" in error


def test_the_functions_refuse_it_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    for function in (enhance.denoise, enhance.separate):
        with pytest.raises(EnhanceError, match="no bfloat16"):
            function(noise(0.1, RATE), RATE, device="cpu", precision="bf16-mixed")
