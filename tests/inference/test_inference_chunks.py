"""A model in chunks gives what it gives in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Fir, Gain, Late, Recurrent, noise

from enhance.errors import EnhanceError
from enhance.inference import chunks
from enhance.models import create
from enhance.models.recurrent_hybrid import RecurrentHybrid

CPU = torch.device("cpu")


class SmallHybrid(RecurrentHybrid):
    """One that sees about as far around a chunk as the chunk is long."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        waveform = {"widths": [2, 2, 2], "dilations": [[1], [1], [1, 2, 4]], "strides": (8, 4, 2)}
        super().__init__(waveform, {"widths": [4, 4, 8], "hidden": 8, "blocks": 1, "lookahead": 2})
        torch.nn.init.normal_(self.spectrogram.net.head.weight, std=0.5)
        torch.nn.init.normal_(self.waveform.up[0].weight, std=0.1)  # pyright: ignore[reportArgumentType]


def run(model: torch.nn.Module, wave: np.ndarray, block: int, seconds: float = chunks.CHUNK_SECONDS) -> np.ndarray:
    runner = chunks.chunked(model.eval(), len(wave), CPU, seconds)
    parts = [runner.push(wave[:, start : start + block]) for start in range(0, wave.shape[1], block)]
    return np.concatenate((*parts, runner.finish()), axis=1)


def whole(model: torch.nn.Module, wave: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(wave)[:, None])[:, 0, 0].numpy()


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 12000),
    block=st.integers(1, 5000),
    left=st.integers(0, 900),
    right=st.integers(0, 900),
)
def test_chunks_with_context_equal_the_whole(frames: int, block: int, left: int, right: int):
    wave, model = noise(1, frames, 2), Fir(left, right)
    np.testing.assert_allclose(run(model, wave, block, seconds=0.1), whole(model, wave), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(1, 3000), block=st.integers(1, 1000))
def test_a_stream_equals_the_whole(frames: int, block: int):
    wave, model = noise(1, frames, 2), Recurrent()
    np.testing.assert_allclose(run(model, wave, block, seconds=0.05), whole(model, wave), atol=1e-6)


@pytest.mark.parametrize("frames", [1, 255, 256, 257, 16000, 50001])
def test_the_compact_model_in_chunks_equals_the_whole(frames: int):
    torch.manual_seed(0)
    model = create("dcunet-s")
    torch.nn.init.normal_(model.net.head.weight, std=0.5)
    wave = noise(1, frames, 2)
    expected = whole(model, wave)
    assert np.abs(expected - wave).max() > 1e-4  # it does something
    np.testing.assert_allclose(run(model, wave, 7001, seconds=0.7), expected, atol=1e-5)


def test_a_context_longer_than_a_chunk_is_kept_exactly():
    model, wave = Fir(9000, 3000), noise(4, 16000)
    np.testing.assert_allclose(run(model, wave, 32000, seconds=0.1), whole(model, wave), atol=1e-5)


@pytest.mark.parametrize("channels", [7, 20])
@pytest.mark.parametrize("make", [lambda: Fir(9000, 3000), Recurrent, SmallHybrid])
def test_of_many_channels_few_are_heard_at_a_time(make: Callable[[], torch.nn.Module], channels: int):
    """No more than in a chunk of one channel, with the samples around it; and they stay what they are alone."""
    model: Any = make().eval()
    heard: list[int] = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(chunk: torch.Tensor, *others: Any) -> Any:
            heard.append(chunk.numel())
            return function(chunk, *others)

        return noted

    if hasattr(model, "waveform"):
        model.waveform.forward = noting(model.waveform.forward)
    elif hasattr(model, "stream"):
        model.stream = noting(model.stream)
    else:
        model.forward = noting(model.forward)
    wave, seconds = noise(1.5, 16000, channels), 1.0
    alone = np.concatenate([run(model, row[None], 5000, seconds) for row in wave])
    most = max(heard)
    heard.clear()
    np.testing.assert_allclose(run(model, wave, 5000, seconds), alone, atol=1e-5)
    assert max(heard) <= 2 * most


def test_stereo_equals_its_channels_done_alone():
    wave = noise(1, 16000, 2)
    for model in (Fir(), create("dcunet-s")):
        both = run(model, wave, 5000)
        alone = np.concatenate([run(model, row[None], 5000) for row in wave])
        np.testing.assert_allclose(both, alone, atol=1e-6)


def test_a_joint_model_gets_its_channels_together():
    class Swap(Gain):
        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            return mixture.flip(1)[:, None]

    wave = noise(1, 16000, 2)
    np.testing.assert_array_equal(run(Swap(channels=2), wave, 5000), wave[::-1])


@pytest.mark.parametrize("kind", [Gain, Late])
@pytest.mark.parametrize("frames", [1, 255, 30001])
def test_one_channel_goes_through_a_joint_model_as_all_of_them(kind: type[Gain | Late], frames: int):
    class Uneven(kind):
        """The right channel three times as loud as the left one."""

        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            assert mixture.shape[1] == 2
            return super().forward(mixture) * torch.tensor([1.0, 3.0])[:, None]

        def stream(self, chunk: torch.Tensor, state: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
            assert chunk.shape[1] == 2
            estimates, state = super().stream(chunk, state)
            return estimates * torch.tensor([1.0, 3.0])[:, None], state

    if kind is Gain:
        del Uneven.stream
    model, wave = Uneven(channels=2), noise(1, frames)
    chunks.check_denoiser(model, 1, "x")
    expected = 2 * wave if kind is Gain else wave  # `Late` halves its input
    np.testing.assert_allclose(run(model, wave, 7001, seconds=0.7), expected, atol=1e-6)


def test_wrong_channels_or_sources_are_refused():
    with pytest.raises(EnhanceError, match="x: has 3 channels, the model wants 2: mix it to 2 or to mono"):
        chunks.check_denoiser(Gain(channels=2), 3, "x")
    separator = Gain()
    separator.sources = ("vocals", "rest")
    with pytest.raises(EnhanceError, match="separates vocals, rest"):
        chunks.check_denoiser(separator, 1, "x")
