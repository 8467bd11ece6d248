"""What the Python API refuses."""

from __future__ import annotations

import numpy as np
import pytest
from toys import Gain, Shares, noise

from enhance import denoise, separate
from enhance.errors import EnhanceError


@pytest.mark.parametrize(
    ("wave", "arguments", "message"),
    [
        (np.zeros(10, dtype=np.int16), {}, "samples of type int16"),
        (np.array([0.0, np.nan]), {}, "NaN"),
        (np.zeros(10), {"strength": 1.5}, "strength 1.5"),
        (np.zeros(10), {"strength": float("nan")}, "strength nan"),
        (np.zeros(10), {"device": "tpu"}, "--device tpu: unknown"),
        (np.zeros(10), {"model": "dcunet-xxl"}, "unknown model 'dcunet-xxl'"),
        (np.zeros((3, 10)), {"model": Gain(channels=2)}, "has 3 channels, the model wants 2"),
        (np.zeros((1000, 2)), {}, r"the wave has 1000 channels of 2 samples: give \(channels, time\)"),
        (np.zeros((3, 1000, 1)), {}, "the wave has 1000 channels of 1 sample: give"),
        (np.float32(0.5), {}, "the wave is a single number"),
        (np.zeros(10), {"model": Gain(float("nan"))}, "the model's output is not finite"),
    ],
)
def test_refused(wave: np.ndarray, arguments: dict, message: str):
    with pytest.raises(EnhanceError, match=message):
        denoise(wave, 16000, **{"model": Gain(), **arguments})


@pytest.mark.parametrize("rate", [0, -1, 999, 768001, 16000.0, True, "16000", None, [16000]])
def test_rates_that_are_none(rate: object):
    for function, model in ((denoise, Gain()), (separate, Shares({"speech": 0.5, "noise": 0.5}))):
        with pytest.raises(
            EnhanceError, match=r"the wave: a sample rate of .*: give one in Hz, a whole number from 1000"
        ):
            function(np.zeros(10), rate, model)  # pyright: ignore[reportArgumentType]


def test_a_rate_may_be_of_numpy():
    assert denoise(np.zeros(10), np.int32(8000), Gain()).shape == (10,)


def test_a_moment_of_many_channels_is_no_mistake():
    wave = noise(1, 2, 64)
    np.testing.assert_allclose(denoise(wave, 16000, Gain()), wave, atol=1e-6)


@pytest.mark.parametrize("shape", [(16000,), (1, 16000), (3, 1, 16000)])
def test_mono_through_a_stereo_model(shape: tuple[int, ...]):
    wave = noise(1, 16000, 3)[: int(np.prod(shape)) // 16000].reshape(shape)
    np.testing.assert_allclose(denoise(wave, 16000, Gain(0.5, channels=2)), 0.5 * wave, atol=1e-6)


def test_nothing_in_nothing_out():
    assert denoise(np.zeros((2, 0), dtype=np.float32), 16000, Gain()).shape == (2, 0)


def test_the_input_is_not_changed():
    wave = noise(0.5, 44100)
    before = wave.copy()
    denoise(wave, 44100, Gain(0.5))
    np.testing.assert_array_equal(wave, before)
