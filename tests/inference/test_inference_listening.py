"""A model with memory hears the beginning of a file before it starts: in chunks as in one pass, and only there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Late, noise

import enhance
from enhance.audio import read, write
from enhance.errors import EnhanceError
from enhance.inference.chunks import StreamChunks
from enhance.inference.live import Live
from enhance.models import checkpoint, create, listening
from enhance.models.recurrent_hybrid import ORDERS

CPU = torch.device("cpu")
RATE = 16000


def model(listen: float, order: str | None = None, **options: int) -> Any:
    """One whose mask depends on its memory: a compact model with these options, or a hybrid in that order."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"order": order} if order else options
    made: Any = create("hybrid" if order else "dcunet-s", listen=listen, **arguments)
    torch.nn.init.normal_((made.spectrogram if order else made).net.head.weight, std=0.5)
    if order:
        torch.nn.init.normal_(made.waveform.up[0].weight, std=0.1)
    return made.eval()


def changing(frames: int, channels: int = 1) -> np.ndarray:
    """Noise that grows: what is heard of it beforehand matters."""
    return noise(1, frames, channels) * np.linspace(0.1, 1, frames, dtype=np.float32)


def streamed(network: Any, wave: np.ndarray, block: int, seconds: float, listen: float | None = None) -> np.ndarray:
    chunks = StreamChunks(network, len(wave), CPU, seconds, listen)
    parts = [chunks.push(wave[:, start : start + block]) for start in range(0, wave.shape[1], block)]
    return np.concatenate((*parts, chunks.finish()), axis=1)


def whole(network: Any, wave: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(wave)[:, None])[:, 0, 0].numpy()


@settings(max_examples=12, deadline=None)
@given(
    frames=st.integers(1, 20000),
    block=st.integers(100, 9000),
    seconds=st.sampled_from([0.02, 0.3, 4.0]),
    listen=st.sampled_from([0.001, 0.1, 0.777, 5.0]),
    lookahead=st.sampled_from([0, 3]),
    time_stride=st.sampled_from([1, 2]),
)
def test_in_chunks_as_in_one_pass(
    frames: int, block: int, seconds: float, listen: float, lookahead: int, time_stride: int
):
    network = model(listen, lookahead=lookahead, hop=256 // time_stride, time_stride=time_stride)
    wave = changing(frames, 2)
    np.testing.assert_allclose(streamed(network, wave, block, seconds), whole(network, wave), atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("frames", "listen"), [(900, 1.0), (40001, 1.0), (40001, (60 * 256 + 1) / RATE)])
def test_the_hybrid_in_chunks_as_in_one_pass(frames: int, listen: float, order: str):
    network, wave = model(listen, order), changing(frames)
    np.testing.assert_allclose(streamed(network, wave, 7001, 0.5), whole(network, wave), atol=1e-5)


def test_nothing_is_no_less():
    assert streamed(model(1.0), np.zeros((2, 0), dtype=np.float32), 100, 0.1).shape == (2, 0)


def test_it_remembers_what_it_heard_and_nothing_else():
    wave = changing(3 * RATE)
    other = wave.copy()
    other[:, 2 * RATE :] *= -3
    first = slice(0, 2 * RATE - 1000)  # as far as nothing of the rest is heard ahead
    cold, warm = model(0.0), model(2.0)
    assert np.abs(whole(warm, wave) - whole(cold, wave))[:, first].max() > 1e-4
    np.testing.assert_array_equal(whole(warm, wave)[:, first], whole(warm, other)[:, first])
    longer = model(3.0)
    assert np.abs(whole(longer, wave) - whole(longer, other))[:, first].max() > 1e-4


def test_as_if_it_had_been_heard_just_before():
    """With silence between the two, long enough for every window, it is one stream that hears both."""
    network, wave = model(1.0), changing(RATE)
    network.net.blocks[0].lstm.flatten_parameters()
    blocks = -(-RATE // network.block) * network.block
    chunk = torch.zeros(1, 1, blocks)
    chunk[..., :RATE] = torch.from_numpy(wave)
    with torch.inference_mode():
        _, state = network.stream(chunk, None)
        again = torch.nn.functional.pad(chunk, (0, network.block))
        estimates, _ = network.stream(again, network.restarted(state))
    heard = estimates[0, 0, :, network.latency : network.latency + RATE].numpy()
    np.testing.assert_allclose(whole(network, wave), heard, atol=1e-6)


def test_silence_before_the_beginning_is_not_remembered():
    network, chunk = model(1.0, lookahead=3), torch.from_numpy(changing(RATE // 256 * 256))[:, None]
    with torch.inference_mode():
        memory = listening.remembered(network, chunk, 1.0)
        assert memory is not None
        first, state = network.stream(chunk[..., : 3 * network.block], memory)
        _, later = network.stream(chunk[..., 3 * network.block : 4 * network.block], state)
        estimates, _ = network.stream(chunk, memory)
        frames = network._spectra(torch.nn.functional.pad(chunk[0], (network.overlap, 0)))
        masked, *_ = network.net(frames, memory.lstm)
    for (before, cell), (same, same_cell), (other, _) in zip(memory.lstm, state.lstm, later.lstm, strict=True):
        assert torch.equal(before, same)
        assert torch.equal(cell, same_cell)
        assert not torch.equal(before, other)
    assert not first.any()
    spectrum = torch.view_as_complex(masked[0, 0, :, 0, 0].contiguous())  # the frame that begins one block too early
    begun = torch.fft.irfft(spectrum) * network.window
    np.testing.assert_allclose(estimates[0, 0, 0, network.latency - 256 :][:256], begun[:256], atol=1e-5)


def test_half_of_the_training_begins_with_an_empty_memory():
    network = model(1.0).train()
    mixture = torch.from_numpy(changing(RATE // 2))[:, None]
    torch.manual_seed(0)
    found = [listening.heard(network, mixture) for _ in range(60)]
    assert 15 < sum(state is None for state in found) < 45
    states = [tensor for state in found if state for pair in state.lstm for tensor in pair]
    assert not any(tensor.requires_grad for tensor in states)
    network(mixture).square().mean().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_the_api_and_live():
    network, wave = model(0.5), changing(2 * RATE)[0]
    np.testing.assert_allclose(enhance.denoise(wave, RATE, network), whole(network, wave[None])[0], atol=1e-6)
    cold = enhance.denoise(wave, RATE, network, listen=0)
    np.testing.assert_allclose(cold, whole(model(0.0), wave[None])[0], atol=1e-6)
    np.testing.assert_allclose(enhance.separate(wave, RATE, network, listen=0)["speech"], cold, atol=1e-6)
    np.testing.assert_allclose(
        enhance.denoise(wave, RATE, model(0.0), listen=0.5), whole(network, wave[None])[0], atol=1e-6
    )
    live = Live(network, RATE, 1)
    size = live.block
    parts = [live.push(wave[None, start : start + size]) for start in range(0, len(wave) // size * size, size)]
    given = np.concatenate((*parts, live.finish(wave[None, len(wave) // size * size :])), axis=1)[0, live.delay :]
    np.testing.assert_allclose(given[: len(wave)], cold, atol=1e-5)


def test_a_model_that_cannot_begin_again_begins_at_once():
    wave = noise(1, 5000)
    np.testing.assert_array_equal(streamed(Late(), wave, 700, 0.1, 2.0), streamed(Late(), wave, 700, 0.1))


@pytest.mark.parametrize("seconds", [-1.0, 601.0, float("nan")])
def test_no_number_of_seconds(seconds: float):
    wave = np.zeros(100, dtype=np.float32)
    for function in (enhance.denoise, enhance.separate):
        with pytest.raises(EnhanceError, match=r"listen .*: give seconds from 0, which begins at once, to 600"):
            function(wave, RATE, model(0.0), listen=seconds)
    if seconds < 0:
        with pytest.raises(EnhanceError, match="listen = -1"):
            create("dcunet-s", listen=seconds)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_the_commands(cli: Callable[..., Any], tmp_path: Path, rate: int):
    network = create("dcunet-s", listen=1.0)
    torch.nn.init.normal_(network.net.head.weight, std=0.5)
    arguments = {"widths": [16, 32, 48], "hidden": 64, "blocks": 3, "listen": 1.0}
    checkpoint.save(tmp_path / "m.safetensors", network, arguments, {})
    write(tmp_path / "noisy.wav", changing(2 * rate), rate)
    command = ("denoise", str(tmp_path / "noisy.wav"), "--model", str(tmp_path / "m.safetensors"), "--force")
    found = {}
    for seconds in (None, "1", "0"):
        target = tmp_path / f"{seconds}.wav"
        assert cli(*command, "-o", str(target), *(("--listen", seconds) if seconds else ())).code == 0
        found[seconds] = read(target)[0]
        assert found[seconds].shape == (1, 2 * rate)
    np.testing.assert_array_equal(found[None], found["1"])
    assert np.abs(found["0"] - found["1"]).max() > 1e-4
    code, _, complaint = cli(*command, "-o", str(tmp_path / "x.wav"), "--listen", "700")
    assert (code, complaint) == (2, "error: listen 700: give seconds from 0, which begins at once, to 600\n")
    assert not (tmp_path / "x.wav").exists()


def test_records_know_for_how_long_was_listened(cli: Callable[..., Any], tmp_path: Path):
    write(tmp_path / "noisy.wav", changing(RATE), RATE)
    command = ["denoise", str(tmp_path / "noisy.wav"), "-o", str(tmp_path / "clean.wav"), "--model", "dcunet-s"]
    command += ["--records", str(tmp_path / "records.jsonl"), "--listen"]
    assert cli(*command, "1").code == 0
    assert "was done before" in cli(*command, "1")[2]
    again = cli(*command, "0.5")
    assert again.code == 0
    assert "done before" not in again[2]
