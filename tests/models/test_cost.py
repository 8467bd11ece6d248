"""Parameters and multiply-accumulates against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from enhance.models import create, presets
from enhance.models.cost import macs, macs_per_second, parameters
from enhance.nn.complex import ComplexConv2d

MEASURED = {  # millions of multiply-accumulates per second of audio
    "dcunet-10": 2_344,
    "dcunet-16": 3_265,
    "dcunet-20": 17_988,
    "large-dcunet-20": 51_944,
    "hybrid-l": 3_781,
}


class Wrapped(nn.Module):
    """A layer that sees frames of 100 samples, as a model: 10 frames a second at 1 kHz."""

    sample_rate = 1000
    sources = ("speech",)
    block = 100

    def __init__(self, layer: nn.Module, channels: int = 1, spare: int = 0) -> None:
        super().__init__()
        self.layer, self.channels, self.spare = layer, channels, spare

    def forward(self, mixture: Tensor) -> Tensor:
        frames = mixture.reshape(-1, mixture.shape[-1] // 100, 100)  # (B, N, 100)
        frames = nn.functional.pad(frames, (0, 0, 0, self.spare))  # as a model pads at the end
        if isinstance(self.layer, nn.LSTM | nn.Linear):
            self.layer(frames)
        else:
            self.layer(frames[:, None])  # (B, 1, N, 100)
        return mixture[:, None]


def test_linear():
    assert macs_per_second(Wrapped(nn.Linear(100, 7))) == 10 * 100 * 7


def test_convolution():
    # Each of 10 × 100 positions: 4 outputs of 3 × 5 taps.
    assert macs_per_second(Wrapped(nn.Conv2d(1, 4, (3, 5), padding=(1, 2)))) == 10 * 100 * 4 * 15


def test_transposed_convolution():
    # Each input is multiplied by all taps for all outputs, whatever the stride.
    assert macs_per_second(Wrapped(nn.ConvTranspose2d(1, 4, (3, 5), stride=(1, 2)))) == 10 * 100 * 4 * 15


def test_lstm():
    # Per frame and layer four gates, each of them from the input and from the last output.
    layer = nn.LSTM(100, 20, num_layers=2, batch_first=True)
    assert macs_per_second(Wrapped(layer)) == 10 * (4 * 20 * (100 + 20) + 4 * 20 * (20 + 20))


def test_complex_convolution_is_four_real_ones():
    class Doubled(ComplexConv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.cat([x, x], dim=1))

    assert macs_per_second(Wrapped(Doubled(1, 4, (3, 5), padding=(1, 2)))) == 4 * 10 * 100 * 4 * 15


def test_padding_cancels_and_joint_channels_are_shared():
    model = Wrapped(nn.Linear(100, 7), spare=3)
    assert macs(model, 1000) == (10 + 3) * 100 * 7
    assert macs_per_second(model) == 10 * 100 * 7
    assert macs_per_second(Wrapped(nn.Linear(100, 7), channels=2)) == 10 * 100 * 7


def test_the_model_is_left_as_it_was():
    model = create("dcunet-10").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    onednn = torch.backends.mkldnn.enabled
    macs_per_second(model)
    assert model.training
    assert torch.backends.mkldnn.enabled == onednn
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_dcunet_10_by_hand():
    """Complex channels in and out, taps, bins and frames a second: of the output of an encoder, of the input
    of a decoder. A complex product is four real ones."""
    encoders = [
        (1, 32, 35, 257, 31.25),
        (32, 64, 35, 129, 15.625),
        (64, 64, 15, 65, 7.8125),
        (64, 64, 15, 33, 3.90625),
        (64, 64, 15, 17, 3.90625),
    ]
    decoders = [
        (64, 64, 15, 17, 3.90625),
        (128, 64, 15, 33, 3.90625),
        (128, 64, 15, 65, 7.8125),
        (128, 32, 35, 129, 15.625),
        (64, 1, 35, 257, 31.25),
    ]
    products = sum(math.prod(layer) for layer in encoders + decoders)
    assert macs_per_second(create("dcunet-10")) == pytest.approx(4 * products)


@pytest.mark.parametrize("name", MEASURED)
def test_cost_of_large_networks(name):
    with torch.device("meta"):  # shapes without numbers
        model = create(name)
    assert macs_per_second(model) / 1e6 == pytest.approx(MEASURED[name], rel=1e-3)


def test_shapes_without_numbers_cost_the_same():
    with torch.device("meta"):
        model = create("dcunet-10")
    assert macs_per_second(model) == macs_per_second(create("dcunet-10"))


@pytest.mark.parametrize("name", [name for name in presets() if name not in MEASURED])
def test_compact_models_are_compact(name):
    model = create(name)
    assert parameters(model) < 1_200_000
    assert 1e6 < macs_per_second(model) < 1.6e9


def test_what_is_heard_before_the_beginning_does_not_count():
    at_once, listening = (create("dcunet-s", listen=seconds) for seconds in (0.0, 5.0))
    assert macs_per_second(listening) == macs_per_second(at_once)
    assert listening.listen == 5.0
