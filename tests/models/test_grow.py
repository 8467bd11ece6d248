"""A grown model computes what the smaller one did, and can learn with what is new."""

import pytest
import torch

from enhance.models.compact import CompactUNet
from enhance.models.grow import grow

SMALL = {"widths": [4, 6, 8], "hidden": 8, "blocks": 2}


def trained_like(**options) -> CompactUNet:
    """A model none of whose weights is at its special initial value."""
    torch.manual_seed(3)
    model = CompactUNet(**options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(
    "change", [{"hidden": 13}, {"blocks": 4}, {"hidden": 16, "blocks": 3}, {"lookahead": 2, "hidden": 13}, {}]
)
def test_growing_keeps_the_function_and_every_new_weight_learns_within_two_steps(change):
    small = trained_like(**SMALL)
    torch.manual_seed(4)
    large = CompactUNet(**{**SMALL, **change})
    grow(large, small)
    wave = torch.randn(2, 1, 4000)
    large.eval()
    delay = large.latency - small.latency
    late = torch.nn.functional.pad(wave, (delay, 0))
    torch.testing.assert_close(large(wave), small(late)[..., delay:], atol=1e-5, rtol=1e-4)

    before = {name: tensor.clone() for name, tensor in large.named_parameters()}
    optimizer = torch.optim.Adam(large.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        large(wave).square().sum().backward()
        optimizer.step()
    still = [name for name, tensor in large.named_parameters() if torch.equal(before[name], tensor)]
    assert not still


WRONG = [
    {"hidden": 6},
    {"blocks": 1},
    {"widths": [4, 6, 10]},
    {"n_fft": 256},
    {"hop": 128},
    {"floor": 0.01},
    {"bound": 3.0},
    {"compression": 0.5},
    {"mask": "bdt"},
]


@pytest.mark.parametrize("change", WRONG)
def test_what_is_not_growth_is_refused(change):
    with pytest.raises((ValueError, RuntimeError)):
        grow(CompactUNet(**{**SMALL, **change}), CompactUNet(**SMALL))
