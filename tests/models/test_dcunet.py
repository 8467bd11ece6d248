"""DCUnet: sizes of the paper, masks by their formulas, reach in time by gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from enhance.errors import EnhanceError
from enhance.models import create, dcunet
from enhance.models.cost import parameters
from enhance.models.dcunet import ENCODERS, KINDS, MASKS, DCUNet, bdss, bdt, ubd

# Counted by hand from the paper's tables: kernels, normalisation, one bias at the end.
COMPLEX = [  # layers, with whitening (5 reals a channel), with split normalisation (4)
    ("dcunet-10", 1_422_402, 1_421_890),
    ("dcunet-16", 2_376_322, 2_375_490),
    ("dcunet-20", 3_528_964, 3_527_850),
    ("large-dcunet-20", 7_663_962, 7_662_304),
]
REAL = [  # layers, complex mask (2 channels in and out), magnitude mask (1 channel)
    ("dcunet-10", 1_408_142, 1_403_416),
    ("dcunet-16", 2_350_667, 2_345_941),
    ("dcunet-20", 3_631_907, 3_630_961),
]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=ENCODERS)
def narrow(request, monkeypatch) -> str:
    """The name of a layer table with the paper's kernels and strides, but two channels everywhere."""
    layers = ENCODERS[request.param]
    monkeypatch.setitem(ENCODERS, "narrow", tuple(x._replace(channels=2, real_channels=2) for x in layers))
    return "narrow"


# Sizes


@pytest.mark.parametrize(("layers", "whitening", "split"), COMPLEX)
def test_parameters_of_the_complex_networks(layers, whitening, split):
    assert parameters(DCUNet(layers)) == whitening
    assert parameters(DCUNet(layers, norm="split")) == split


@pytest.mark.parametrize(("layers", "complex_mask", "magnitude_mask"), REAL)
def test_parameters_of_the_real_networks(layers, complex_mask, magnitude_mask):
    assert parameters(DCUNet(layers, kind="cRMRn")) == complex_mask
    assert parameters(DCUNet(layers, kind="RMRn")) == magnitude_mask


def test_decoders_mirror_the_encoders_but_for_the_large_network():
    assert dcunet.channel_counts("dcunet-10", "cRMCn")[1] == (64, 64, 64, 32, 1)
    assert dcunet.channel_counts("dcunet-16", "cRMCn")[1] == (64, 64, 64, 64, 64, 32, 32, 1)
    assert dcunet.channel_counts("dcunet-20", "cRMCn")[1] == (64, 64, 64, 64, 64, 64, 64, 32, 32, 1)
    assert dcunet.channel_counts("large-dcunet-20", "cRMCn")[1] == (90, 90, 90, 90, 90, 90, 90, 90, 90, 1)


def test_convolutions_have_no_bias_before_a_normalisation():
    model = DCUNet("dcunet-10")
    biases = [name for name, _ in model.named_parameters() if name.endswith("bias")]
    assert biases == ["decoders.4.0.bias"]
    assert model.decoders[-1][0].bias.shape == (2,)


@pytest.mark.parametrize("argument", ["layers", "mask", "kind", "norm"])
def test_unknown_names_are_refused(argument):
    with pytest.raises(EnhanceError, match=f"{argument} = 'nonsense': choose from"):
        DCUNet(**{argument: "nonsense"})


@pytest.mark.parametrize("kind", ["cRMRn", "RMRn"])
def test_the_large_network_has_no_real_twin(kind):
    with pytest.raises(EnhanceError, match=f"no {kind} of large-dcunet-20"):
        create("large-dcunet-20", kind=kind)


# Masks


def parts(*shape: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    return scale * torch.randn(shape, dtype=torch.float64), scale * torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("scale", [1e-3, 1, 100])
def test_bdt_equals_its_formula(scale):
    o = torch.complex(*parts(1000, scale=scale))
    expected = o.abs().tanh() * o / o.abs()
    torch.testing.assert_close(torch.complex(*bdt(o.real, o.imag)), expected, rtol=1e-5, atol=0)


def test_bdt_keeps_the_phase_and_stays_in_the_unit_disc():
    o = torch.complex(*parts(1000, scale=10))
    m = torch.complex(*bdt(o.real, o.imag))
    torch.testing.assert_close(m.angle(), o.angle())
    assert m.abs().max() <= 1


@given(st.floats(-1e4, 1e4, width=32), st.floats(-1e4, 1e4, width=32))
def test_bdt_in_float32_anywhere(re, im):
    m_re, m_im = bdt(torch.tensor([re]), torch.tensor([im]))
    assert math.hypot(m_re.item(), m_im.item()) <= 1 + 1e-6
    assert m_re.item() * re >= 0
    assert m_im.item() * im >= 0


def test_bdt_at_zero_is_zero_with_the_gradient_of_the_limit():
    re, im = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    m_re, m_im = bdt(re, im)
    assert not m_re.any()
    assert not m_im.any()
    (m_re + 2 * m_im).sum().backward()  # tanh(|O|)/|O| → 1, so M ≈ O
    torch.testing.assert_close(re.grad, torch.ones(3))
    torch.testing.assert_close(im.grad, torch.full((3,), 2.0))


def test_bdt_passes_gradcheck():
    re, im = parts(20)
    assert torch.autograd.gradcheck(bdt, (re.requires_grad_(), im.requires_grad_()))


def test_bdss_is_a_sigmoid_of_each_part():
    re, im = bdss(torch.tensor([0.0, math.log(3), -100.0]), torch.tensor([-math.log(3), 0.0, 100.0]))
    torch.testing.assert_close(re, torch.tensor([0.5, 0.75, 0.0]))
    torch.testing.assert_close(im, torch.tensor([0.25, 0.5, 1.0]))


def test_ubd_is_the_output_itself():
    re, im = parts(10)
    assert all(a is b for a, b in zip(ubd(re, im), (re, im), strict=True))


def set_output(model: DCUNet, *values: float) -> DCUNet:
    """Make the output O of a network a constant: its last kernel zero, its last bias ``values``."""
    last = model.decoders[-1][0]
    with torch.no_grad():
        for name, parameter in last.named_parameters():
            parameter.copy_(torch.tensor(values)) if name == "bias" else parameter.zero_()
    return model


@pytest.mark.parametrize(
    ("kind", "mask", "output", "gain"),
    [
        ("cRMCn", "bdt", (0.5, 0.0), math.tanh(0.5)),
        ("cRMCn", "bdt", (-3.0, 0.0), -math.tanh(3)),
        ("cRMCn", "ubd", (2.0, 0.0), 2),
        ("cRMRn", "ubd", (2.0, 0.0), 2),
        ("cRMRn", "bdss", (1.0, -100.0), 1 / (1 + math.exp(-1))),
        ("RMRn", "bdt", (1.0,), 1 / (1 + math.exp(-1))),
    ],
)
def test_a_constant_mask_scales_the_signal(kind, mask, output, gain):
    model = set_output(DCUNet("dcunet-10", mask=mask, kind=kind), *output).eval()
    x = torch.randn(2, 2, 5000)
    torch.testing.assert_close(model(x)[:, 0], gain * x, rtol=0, atol=1e-5)


def test_an_imaginary_mask_turns_the_phase_by_a_quarter():
    """Times i, a cosine becomes minus a sine."""
    model = set_output(DCUNet("dcunet-10", mask="ubd"), 0.0, 1.0).eval()
    phase = 2 * math.pi * 64 / 1024 * torch.arange(8192)
    turned = model(phase.cos()[None, None])[0, 0, 0]
    torch.testing.assert_close(turned[1024:-1024], -phase.sin()[1024:-1024], rtol=0, atol=1e-3)


# The network


def test_a_complex_network_without_activations_is_complex_linear(narrow):
    """Without CReLU, i·X gives i·O: real and imaginary parts are nowhere mixed up, nor in the skips."""
    model = DCUNet(narrow, norm="split").double().eval()
    for module in model.modules():
        if isinstance(module, nn.LeakyReLU):
            module.negative_slope = 1.0
    x = torch.randn(1, 2, 257, 33, dtype=torch.float64)
    o = model.unet(x)
    turned = model.unet(torch.stack([-x[:, 1], x[:, 0]], dim=1))
    torch.testing.assert_close(turned, torch.stack([-o[:, 1], o[:, 0]], dim=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", MASKS)
def test_every_kind_and_mask_keeps_shape_and_is_finite(kind, mask):
    model = DCUNet("dcunet-10", mask=mask, kind=kind)
    y = model(torch.randn(2, 3, 1000))
    assert y.shape == (2, 1, 3, 1000)
    y.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_magnitude_masks_do_not_see_the_phase(settle):
    """RMRn: the sign of the input goes straight to the output."""
    model = settle(DCUNet("dcunet-10", kind="RMRn"))
    x = torch.randn(1, 1, 4096)
    torch.testing.assert_close(model(-x), -model(x))


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 128), (400, 160), (1024, 256)])
def test_other_transforms_are_padded_to_fit(n_fft, hop):
    assert DCUNet("dcunet-16", n_fft=n_fft, hop=hop)(torch.randn(1, 1, 3001)).shape == (1, 1, 1, 3001)


def test_runs_under_bfloat16_autocast(settle):
    model = settle(DCUNet("dcunet-10"))
    x = 0.1 * torch.randn(1, 1, 8192)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.float32
    error = (y - model(x)).square().mean() / model(x).square().mean()
    assert error < 1e-2


# Reach in time


def test_frames_behind_worked_by_hand():
    """One layer of kernel 3 and stride 2: encoder i sees frames 2i − 1 to 2i + 1; decoded frame o comes from
    the i with |o − 2i| ≤ 1, which is one for even o and two for odd o."""
    layer = ENCODERS["dcunet-10"][2]
    assert (layer.kernel[1], layer.stride[1]) == (3, 2)
    assert dcunet.frames_behind((layer,), 0) == (-1, 1)
    assert dcunet.frames_behind((layer,), 1) == (-1, 3)
    assert dcunet.frames_behind((layer, layer), 0) == (-3, 3)


def test_reach_in_frames_is_exact_at_every_position_of_the_strides(narrow, settle):
    model = settle(DCUNet(narrow, kind="cRMRn").double())
    middle, period = 8 * 16, model.strides[1]
    x = torch.randn(1, 2, 257, 2 * middle + 1, dtype=torch.float64, requires_grad=True)
    o = model.unet(x)
    for frame in range(middle, middle + period):
        (gradient,) = torch.autograd.grad(o[..., frame].square().sum(), x, retain_graph=True)
        touched = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
        expected = dcunet.frames_behind(model.encoder_layers, frame)
        assert (touched.min().item(), touched.max().item()) == expected


def test_reach_in_samples_is_exact(narrow, settle):
    """By gradients in float64: zero further away than declared, not zero at the border of it."""
    model = settle(DCUNet(narrow, n_fft=64, hop=16).double())
    left, right = model.context
    middle = (left // model.align + 1) * model.align
    x = torch.randn(1, 1, 2 * middle + model.align, dtype=torch.float64, requires_grad=True)
    y = model(x)[0, 0, 0]
    reached_left, reached_right = [], []
    for sample in range(middle, middle + model.align):
        if sample % 16 not in (0, 1, 15):  # the ends of a hop, where the most and the fewest frames reach
            continue
        (gradient,) = torch.autograd.grad(y[sample], x, retain_graph=True)
        touched = gradient.flatten().nonzero().flatten()
        reached_left.append(sample - touched.min().item())
        reached_right.append(touched.max().item() - sample)
    assert (max(reached_left), max(reached_right)) == (left, right)


def in_chunks(model: DCUNet, wave: Tensor, size: int) -> Tensor:
    """The whole signal in chunks of ``size`` kept samples, by the rules of the class's docstring."""
    left, right = model.context
    kept = []
    for start in range(0, wave.shape[-1], size):
        begin = max(0, (start - left) // model.align * model.align)
        end = start + size + right
        estimate = model(wave[..., begin:end])
        kept.append(estimate[..., start - begin : start - begin + size])
    return torch.cat(kept, dim=-1)


@pytest.mark.parametrize("length", [24 * 256, 24 * 256 + 1, 24 * 256 + 15, 24 * 256 + 16, 25 * 256 - 1, 97])
@pytest.mark.parametrize("size", [997, 4096])
def test_chunks_equal_the_whole(narrow, settle, size, length):
    """Wherever the file ends, whatever is kept of a chunk."""
    model = settle(DCUNet(narrow, n_fft=64, hop=16))
    assert model.align == 16 * model.strides[1]
    wave = torch.randn(1, 2, length)
    with torch.no_grad():
        whole, chunked = model(wave), in_chunks(model, wave, size)
    assert whole.abs().max() > 0.1
    torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-5)


def test_alignment_matters(settle):
    """The other side of the rule: a chunk that begins elsewhere gives something else."""
    model = settle(DCUNet("dcunet-10"))
    left, right = model.context
    wave = torch.randn(1, 1, left + right + 2 * model.align)
    with torch.no_grad():
        whole, part = model(wave), model(wave[..., 256:])  # one frame later
    inside = slice(left + 256, wave.shape[-1] - right)
    difference = part[..., inside.start - 256 : inside.stop - 256] - whole[..., inside]
    assert difference.shape[-1] > model.align
    assert difference.abs().max() > 1e-3
