"""A shrunk model keeps what the larger one used."""

import pytest
import torch

from enhance.models.compact import CompactUNet
from enhance.models.grow import grow
from enhance.models.shrink import shrink
from tests.models.test_grow import SMALL, trained_like


@pytest.mark.parametrize("change", [{"hidden": 13}, {"blocks": 4}, {"hidden": 16, "blocks": 3}, {}])
def test_shrinking_what_was_grown_gives_back_the_function(change):
    small = trained_like(**SMALL)
    large = CompactUNet(**{**SMALL, **change})
    grow(large, small)
    again = CompactUNet(**SMALL)
    shrink(again, large)
    wave = torch.randn(2, 1, 4000)
    torch.testing.assert_close(again.eval()(wave), small(wave), atol=1e-5, rtol=1e-4)


def test_silent_units_and_an_idle_block_are_those_left_out():
    large = trained_like(**{**SMALL, "blocks": 3})
    with torch.no_grad():
        for last in (large.net.blocks[1].time_out, large.net.blocks[1].band_mlp[-1]):
            last.weight.zero_()
            last.bias.zero_()
        for block, silent in ((large.net.blocks[0], [0, 5]), (large.net.blocks[2], [3, 4])):
            block.time_out.weight[:, silent] = 0
            block.lstm.weight_hh_l0[:, silent] = 0
    small = CompactUNet(**{**SMALL, "hidden": 6, "blocks": 2}).eval()
    shrink(small, large)
    wave = torch.randn(1, 1, 4000)
    torch.testing.assert_close(small(wave), large(wave), atol=1e-5, rtol=1e-4)


WRONG = [
    {"hidden": 9},
    {"blocks": 3},
    {"hidden": 6, "blocks": 3},
    {"widths": [4, 6, 10]},
    {"n_fft": 256},
    {"bound": 3.0},
    {"compression": 0.5},
    {"mask": "bdt"},
    {"sources": ["speech", "noise"]},
    {"recurrence": "mingru"},
]


@pytest.mark.parametrize("change", WRONG)
def test_what_is_not_shrinking_is_refused(change):
    with pytest.raises((ValueError, KeyError)):
        shrink(CompactUNet(**{**SMALL, **change}), CompactUNet(**SMALL))


def test_a_mingru_keeps_its_units():
    large, small = (CompactUNet(**{**SMALL, "hidden": hidden, "recurrence": "mingru"}) for hidden in (8, 6))
    with pytest.raises(ValueError, match="not an LSTM"):
        shrink(small, large)
