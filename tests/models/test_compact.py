"""What the compact model's options change, and what they must not."""

from __future__ import annotations

import pytest
import torch

from enhance.errors import EnhanceError
from enhance.models.compact import CompactUNet
from enhance.nn.recurrent import BandConv

SMALL = {"widths": [4, 6, 8], "hidden": 8, "blocks": 2}
OPTIONS = [
    {"hop": 128},
    {"hop": 64},
    {"lookahead": 2},
    {"lookahead": 3, "hop": 128},
    {"n_fft": 640},
    {"recurrence": "mingru"},
    {"hop": 128, "recurrence": "mingru"},
    {"floor": 0.1},
    {"hop": 128, "time_stride": 2},
    {"hop": 64, "time_stride": 4, "lookahead": 3},
    {"hop": 128, "time_stride": 3},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_an_untrained_model_leaves_its_input_alone(options):
    """Which also says that analysis and synthesis undo each other, whatever the hop."""
    wave = torch.randn(2, 1, 3001, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(CompactUNet(**SMALL, **options).eval()(wave)[:, 0], wave, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_stream_is_the_whole_later(options, settle):
    torch.manual_seed(1)
    model = settle(CompactUNet(**SMALL, **options))
    hop = options.get("hop", options.get("n_fft", 512) // 2)
    block = hop * options.get("time_stride", 1)
    latency = options.get("n_fft", 512) - hop + options.get("lookahead", 0) * block
    assert (model.block, model.latency) == (block, latency)
    wave = 0.1 * torch.randn(2, 1, 20 * model.block, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = model(wave)
        pieces, state = [], None
        for chunk in torch.nn.functional.pad(wave, (0, 10 * model.block)).split(3 * model.block, dim=-1):
            estimates, state = model.stream(chunk, state)
            pieces.append(estimates)
    streamed = torch.cat(pieces, dim=-1)[..., model.latency :][..., : wave.shape[-1]]
    torch.testing.assert_close(streamed, whole, atol=1e-5, rtol=0)


MASK_VALUES = {  # of O = (1, -0.5) everywhere; |O| = 1.118
    "polar": (1.44340, -0.72170),  # 2 tanh(1.118) / 1.118 = 1.44340
    "bdt": (0.72170, -0.36085),
    "bdss": (0.73106, 0.37754),  # logistic function of both
    "ubd": (1.0, -0.5),
    "magnitude": (0.73106, 0.0),
}


@pytest.mark.parametrize("floor", [0.0, 0.25])
@pytest.mark.parametrize(("mask", "value"), MASK_VALUES.items())
def test_a_constant_mask_scales_and_turns_every_bin(mask, value, floor):
    model = CompactUNet(**SMALL, mask=mask, floor=floor).eval()
    with torch.no_grad():
        model.net.head.weight.zero_()
        model.net.head.bias.copy_(torch.tensor([1.0, -0.5]))
        spectra = torch.randn(7, 2, 257, 1, 2, generator=torch.Generator().manual_seed(0))
        masked, *_ = model.net(spectra, [(torch.zeros(1, 64, 8),) * 2] * 2)
    wanted = torch.view_as_complex(spectra) * (floor + (1 - floor) * complex(*value))
    torch.testing.assert_close(torch.view_as_complex(masked), wanted[..., None, :], atol=1e-4, rtol=0)


@pytest.mark.parametrize("mask", ["bdt", "bdss", "ubd", "magnitude"])
def test_every_mask_learns_from_its_start(mask):
    model = CompactUNet(**SMALL, mask=mask)
    wave = torch.randn(2, 1, 4000)
    (model(wave)[:, 0] - 0.5 * wave).square().mean().backward()
    gradient = model.net.head.bias.grad
    assert gradient is not None
    assert gradient[0].abs() > 1e-3


def test_a_floor_that_is_no_share_is_named():
    with pytest.raises(EnhanceError, match=r"floor = 1\.5"):
        CompactUNet(**SMALL, floor=1.5)


@pytest.mark.parametrize("name", ["hop", "time_stride"])
@pytest.mark.parametrize("value", [0, -128, 2.5, "x"])
def test_what_is_no_number_of_samples_or_frames_is_named(name, value):
    with pytest.raises(EnhanceError, match=f"{name} = {value!r}: give "):
        CompactUNet(**SMALL, **{name: value})


@pytest.mark.parametrize("hop", [100, 384, 512])
def test_a_hop_whose_windows_do_not_sum_to_one_is_refused(hop):
    with pytest.raises(EnhanceError, match=f"hop = {hop}: give a half of n_fft = 512, or a smaller part"):
        CompactUNet(**SMALL, hop=hop)


@pytest.mark.parametrize("options", [{}, {"hop": 128, "time_stride": 2}])
def test_an_unknown_recurrence_is_named_and_no_other_network(options):
    with pytest.raises(EnhanceError, match="recurrence = 'LSTM': choose from lstm, mingru"):
        CompactUNet(**SMALL, **options, recurrence="LSTM")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden = 0: give a whole number above zero"),
        ({"hidden": 0, "recurrence": "mingru"}, "hidden = 0: give a whole number above zero"),
        ({"n_fft": 300}, "n_fft = 300: give a multiple of 16: 3 convolutions"),
        ({"n_fft": 0}, "n_fft = 0: give a multiple of 16"),
        ({"bound": 0.5}, "bound = 0.5: give more than 1, which"),
        ({"bound": 0.25, "sources": ["a", "b", "c", "d"]}, "bound = 0.25: give more than 0.25, which"),
    ],
)
def test_sizes_that_no_network_has_are_named(options, message):
    with pytest.raises(EnhanceError, match=message):
        CompactUNet(**{**SMALL, **options})


def test_between_two_frames_of_the_blocks_lies_the_mean_of_what_they_left():
    net = CompactUNet(**SMALL, hop=64, time_stride=4).net
    held, bands = torch.full((1, 2, 3, 4), 8.0), torch.stack([torch.full((2, 3, 4), value) for value in (4.0, 12.0)])
    between = net._between(held, bands)
    assert between.shape == (8, 2, 3, 4)
    assert between[:, 1, 2, 3].tolist() == [7, 6, 5, 4, 6, 8, 10, 12]


def test_an_unknown_mask_is_named():
    with pytest.raises(EnhanceError, match="mask = 'tanh': choose from polar, bdt, bdss, ubd, magnitude"):
        CompactUNet(**SMALL, mask="tanh")


def test_channels_seen_together_have_masks_of_their_own():
    """Constant masks by source and channel, as in the test above: each turns its own channel."""
    model = CompactUNet(**SMALL, sources=["a", "b"], channels=2).eval()
    values = [1.44340 - 0.72170j, -1.44340 + 0.72170j, 1.44340 + 0.72170j, 0.0]  # (a, left), (a, right), (b, left), ...
    with torch.no_grad():
        model.net.head.weight.zero_()
        model.net.head.bias.copy_(torch.tensor([1.0, -0.5, -1.0, 0.5, 1.0, 0.5, 0.0, 0.0]))
        spectra = torch.randn(7, 3, 257, 2, 2, generator=torch.Generator().manual_seed(0))
        masked, *_ = model.net(spectra, [(torch.zeros(1, 96, 8),) * 2] * 2)
    wanted = torch.view_as_complex(spectra)[:, :, :, None] * torch.tensor(values).reshape(2, 2)
    torch.testing.assert_close(torch.view_as_complex(masked), wanted, atol=1e-4, rtol=0)


def test_channels_seen_together_tell_each_other(settle):
    """What one channel holds changes the estimate of the other, unless they are independent."""
    torch.manual_seed(1)
    waves = 0.1 * torch.randn(2, 1, 4000, generator=torch.Generator().manual_seed(2))
    for channels in (1, 2):
        model = settle(CompactUNet(**SMALL, channels=channels))
        with torch.no_grad():
            first, second = (model(torch.stack((waves[0, 0], other))[None]) for other in (waves[1, 0], 0 * waves[1, 0]))
        assert torch.equal(first[:, :, 0], second[:, :, 0]) == (channels == 1)


@torch.no_grad()
def test_channels_seen_together_sum_to_the_mixture(settle):
    torch.manual_seed(1)
    model = settle(CompactUNet(**SMALL, sources=["a", "b", "c"], channels=2, consistent=True))
    mixture = 0.1 * torch.randn(3, 2, 3001, generator=torch.Generator().manual_seed(2))
    estimates = model(mixture)
    assert estimates.shape == (3, 3, 2, 3001)
    assert (estimates[:, 0] - estimates[:, 1]).abs().max() > 1e-3
    torch.testing.assert_close(estimates.sum(1), mixture, rtol=0, atol=1e-5)


@pytest.mark.parametrize("up", [False, True])
def test_batch_norm_with_its_kept_statistics_is_part_of_the_convolution(up):
    torch.manual_seed(0)
    layer = BandConv(3, 5, up=up)
    with torch.no_grad():
        for _ in range(3):
            layer(torch.randn(4, 2, 8, 3))
        layer.norm.weight.uniform_(0.5, 2.0)
        layer.norm.bias.uniform_(-1.0, 1.0)
        x = torch.randn(4, 2, 8, 3)
        found = layer.eval()(x)
        image = x.reshape(8, 1, 8, 3).permute(0, 3, 1, 2)
        wanted = layer.act(layer.norm(layer.conv(image))).permute(0, 2, 3, 1).reshape(found.shape)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
