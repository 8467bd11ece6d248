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


def test_with_frames_in_between_the_blocks_hear_what_they_did():
    small = trained_like(**SMALL, lookahead=2)
    large = CompactUNet(**SMALL, lookahead=2, hop=128, time_stride=2).eval()
    grow(large, small)
    wave = 0.1 * torch.randn(2, 1, 40 * 256)
    with torch.no_grad():
        (estimate, before), (finer, after) = small.stream(wave, None), large.stream(wave, None)
    for states, others in zip(before.lstm, after.lstm, strict=True):
        torch.testing.assert_close(states, others, atol=1e-6, rtol=1e-5)
    late = large.latency - small.latency
    assert late == 128
    difference = (finer[..., late:] - estimate[..., :-late]).square().mean() / estimate.square().mean()
    assert 0 < difference < 0.1
    with pytest.raises(ValueError, match="time_stride"):
        grow(small, large)


def test_a_further_input_is_not_heard_at_first_and_then_learns():
    small = trained_like(**SMALL, floor=0.01)
    large = CompactUNet(**SMALL, floor=0.01, inputs=2)
    grow(large, small)
    wave, other = torch.randn(2, 1, 4000), torch.randn(2, 1, 1, 4000)
    large.eval()
    torch.testing.assert_close(large(wave, other), small(wave), atol=1e-5, rtol=1e-4)
    large(wave, other).square().sum().backward()
    for name in ("head.weight", "encoders.0.conv.weight"):
        gradient = large.net.get_parameter(name).grad
        assert gradient is not None
        columns = {"head.weight": -3, "encoders.0.conv.weight": 3}[name]
        assert gradient[:, columns:].abs().max() > 0


def test_channels_that_are_seen_together_grow_with_all_their_masks():
    options = {**SMALL, "sources": ["vocals", "other"], "channels": 2}
    small = trained_like(**options)
    large = CompactUNet(**{**options, "hidden": 13})
    grow(large, small)
    wave = torch.randn(2, 2, 4000)
    torch.testing.assert_close(large.eval()(wave), small(wave), atol=1e-5, rtol=1e-4)


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
    {"channels": 2},
    {"channels": 2, "inputs": 2},
]


@pytest.mark.parametrize("change", WRONG)
def test_what_is_not_growth_is_refused(change):
    with pytest.raises((ValueError, RuntimeError)):
        grow(CompactUNet(**{**SMALL, **change}), CompactUNet(**SMALL))
