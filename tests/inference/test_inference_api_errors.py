"""What the Python API refuses."""

from __future__ import annotations

import numpy as np
import pytest
from toys import Gain, noise

from enhance import denoise
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
        (np.zeros((1, 10)), {"model": Gain(channels=2)}, "has 1 channels, the model wants 2"),
        (np.zeros(10), {"model": Gain(float("nan"))}, "the model's output is not finite"),
    ],
)
def test_refused(wave: np.ndarray, arguments: dict, message: str):
    with pytest.raises(EnhanceError, match=message):
        denoise(wave, 16000, **{"model": Gain(), **arguments})


def test_nothing_in_nothing_out():
    assert denoise(np.zeros((2, 0), dtype=np.float32), 16000, Gain()).shape == (2, 0)


def test_the_input_is_not_changed():
    wave = noise(0.5, 44100)
    before = wave.copy()
    denoise(wave, 44100, Gain(0.5))
    np.testing.assert_array_equal(wave, before)
