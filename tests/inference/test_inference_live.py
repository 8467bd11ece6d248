"""Live: as many samples out as in, the stated delay, then what `enhance.denoise` gives."""

from __future__ import annotations

import errno
import io
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Gain, Late, noise

from enhance.errors import EnhanceError
from enhance.inference import live as module
from enhance.inference.denoise import denoise
from enhance.inference.live import Live, Meter, Pcm, pipe
from enhance.models.checkpoint import load_model

RATES = [8000, 11025, 16000, 22050, 44056, 44100, 48000, 96000]


@pytest.fixture(scope="module")
def shipped() -> torch.nn.Module:
    return load_model("dcunet-s")


def streamed(live: Live, wave: np.ndarray) -> tuple[np.ndarray, int]:
    """All that comes out, and the fewest samples that were left over after a block."""
    parts, left = [], live.delay
    end = wave.shape[1] // live.block * live.block
    for start in range(0, end, live.block):
        parts.append(live.push(wave[:, start : start + live.block]))
        assert parts[-1].shape == (len(wave), live.block)
        left = min(left, len(live.output))
    parts.append(live.finish(wave[:, end:]))
    return np.concatenate(parts, axis=1), left


def check(model: torch.nn.Module, wave: np.ndarray, rate: int, output: np.ndarray, delay: int, atol: float) -> None:
    assert output.shape == (len(wave), wave.shape[1] + delay)
    assert not output[:, :delay].any()
    np.testing.assert_allclose(output[:, delay:], denoise(wave, rate, model, listen=0), atol=atol)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_the_shipped_model_gives_what_denoise_gives(shipped: torch.nn.Module, rate: int, channels: int):
    wave = noise(1.2, rate, channels)
    live = Live(shipped, rate, channels)
    output, _ = streamed(live, wave)
    check(shipped, wave, rate, output, live.delay, atol=1e-5)
    assert np.abs(output[:, live.delay :] - wave).max() > 0.05  # it does something


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from(RATES),
    block=st.sampled_from([64, 160, 256, 480]),
    late=st.integers(0, 600),
    joint=st.booleans(),
    frames=st.integers(1, 6000),
)
def test_nothing_is_ever_missing(rate: int, block: int, late: int, joint: bool, frames: int):
    wave, model = noise(1, frames, 2), Late(block, late, channels=2 if joint else 1).eval()
    live = Live(model, rate, 2)
    output, _ = streamed(live, wave)
    check(model, wave, rate, output, live.delay, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000])
def test_the_delay_is_the_least(rate: int):
    """At some moment, in a time after which all repeats itself, the last sample that is there is given."""
    live = Live(Late().eval(), rate, 1)
    seconds = 20 if rate == 44100 else 2
    assert streamed(live, noise(seconds, rate))[1] == 0
    assert live.block == rate * 256 // 16000
    if rate == 16000:
        assert live.delay == 256
    else:
        assert 0.030 < live.delay / rate < 0.060


def test_strength():
    wave, live = noise(1, 4000), Live(Late().eval(), 16000, 1, strength=0.5)
    np.testing.assert_allclose(streamed(live, wave)[0][:, 256:], 0.75 * wave, atol=1e-6)


def test_what_cannot_go_live():
    with pytest.raises(EnhanceError, match="the model: does not stream"):
        Live(Gain(), 16000, 1)
    with pytest.raises(EnhanceError, match="the input: has 3 channels, the model wants 2"):
        Live(Late(channels=2), 16000, 3)
    with pytest.raises(EnhanceError, match="strength 2"):
        Live(Late(), 16000, 1, strength=2)
    wave = np.zeros((1, 256), dtype=np.float32)
    live = Live(Late(), 16000, 1)
    live.push(wave)
    wave[0, 64] = np.nan
    with pytest.raises(EnhanceError, match=r"the input: sample 320 \(at 0.020 s\) is NaN or far over full scale"):
        live.push(wave)
    wave[0, 64] = 1e30  # as of another format
    with pytest.raises(EnhanceError, match="far over full scale: is --format right"):
        live.push(wave)


def test_it_keeps_up_at_48_khz(shipped: torch.nn.Module):
    """Processor time, so that other work on the machine does not count; a block lasts 16 ms."""
    live = Live(shipped, 48000, 1)
    times = []
    for block in np.split(noise(4, 48000)[:, : 200 * live.block], 200, axis=1):
        began = time.process_time()
        live.push(block)
        times.append(time.process_time() - began)
    assert live.block == 768
    assert np.percentile(times, 99) < 0.016


def test_the_report(monkeypatch: pytest.MonkeyPatch):
    meter = Meter(Live(Late(), 16000, 1))
    clock = iter(np.repeat(np.cumsum([0.0, *[0.001] * 98, 0.015, 0.017]), 2)[1:-1])
    with monkeypatch.context() as patch:
        patch.setattr(module.time, "perf_counter", lambda: float(next(clock)))
        for _ in range(100):
            with meter.block():
                pass
    report = meter.report()
    assert (report.blocks, report.late, report.dropped) == (100, 1, 0)
    assert (report.block_ms, report.delay_ms) == (16.0, 16.0)
    assert report.median_ms == pytest.approx(1.0)
    assert report.p99_ms == pytest.approx(15.02)
    assert str(report).startswith("100 blocks of 16.0 ms: median 1.00 ms, 99 % within 15.02 ms, 1 late, 0 dropped")
    assert Meter(Live(Late(), 16000, 1)).report().blocks == 0


# Raw samples


@pytest.mark.parametrize("name", ["s16le", "s32le", "f32le"])
def test_raw_samples_survive(name: str):
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 600)
    data = (samples / 2**15 if name == "f32le" else samples).astype(Pcm(name, 2).type).tobytes()
    wave = Pcm(name, 2).decode(data)
    assert wave.shape == (2, 300)
    assert Pcm(name, 2).encode(wave) == data
    np.testing.assert_allclose(wave.T.ravel(), samples / (2**31 if name == "s32le" else 2**15))


def test_raw_samples_are_clipped_not_wrapped():
    wave = np.array([[1.5, -1.5, 1.0, 0.1]], dtype=np.float32)
    assert np.frombuffer(Pcm("s16le", 1).encode(wave), "<i2").tolist() == [32767, -32768, 32767, 3277]
    assert np.frombuffer(Pcm("s32le", 1).encode(wave), "<i4").tolist()[:3] == [2**31 - 1, -(2**31), 2**31 - 1]
    with pytest.raises(EnhanceError, match="--format u8: unknown: take one of s16le, s32le, f32le"):
        Pcm("u8", 1)


@pytest.mark.parametrize("frames", [1, 255, 256, 257, 1024])
@pytest.mark.parametrize("excess", [0, 3])
def test_a_pipe_gives_every_frame_and_names_the_rest(frames: int, excess: int):
    wave, pcm, live = noise(1, frames, 2), Pcm("s16le", 2), Live(Late().eval(), 16000, 2)
    sink, meter = io.BytesIO(), Meter(live)
    assert pipe(live, pcm, io.BytesIO(pcm.encode(wave) + b"\1" * excess), sink, meter) == excess
    output = pcm.decode(sink.getvalue())
    assert output.shape == (2, frames + live.delay)
    np.testing.assert_allclose(output[:, live.delay :], 0.5 * wave, atol=2.1 / 2**16)
    assert meter.report().blocks == frames // 256


@pytest.mark.parametrize("data", [b"", b"\1\1\1"])
def test_an_empty_pipe(data: bytes):
    live = Live(Late(), 16000, 2)
    with pytest.raises(EnhanceError, match="stdin: holds no samples"):
        pipe(live, Pcm("s16le", 2), io.BytesIO(data), io.BytesIO(), Meter(live))


def test_a_pipe_that_cannot_be_read():
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    live = Live(Late(), 16000, 1)
    with pytest.raises(EnhanceError, match="stdin: Input/output error"):
        pipe(live, Pcm("s16le", 1), Gone(), io.BytesIO(), Meter(live))
