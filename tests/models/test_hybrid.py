"""The hybrid: sizes that may be compared, what its modules see, reach in time by gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from enhance.errors import EnhanceError
from enhance.models import create
from enhance.models.cost import macs_per_second, parameters
from enhance.models.dcunet import DCUNet
from enhance.models.hybrid import MODULES, PRESETS, SPECTROGRAM, Hybrid, WaveformUNet

ORDERS = ("waveform-spectrogram", "spectrogram-waveform")
SIZES = {  # parameters, millions of multiply-accumulates per second of audio
    "hybrid-dcunet": (608_181, 284.4),
    "hybrid-l": (12_803_813, 3781.1),
    "waveform": (585_993, 285.9),
    "spectrogram": (605_154, 282.1),
}
TINY: dict[str, Any] = {
    "waveform": {"widths": [4, 6, 8], "dilations": [[1], [1, 2], [1, 2, 4]], "strides": (4, 2, 2)},
    "spectrogram": {**SPECTROGRAM, "n_fft": 64, "hop": 16, "widths": [2, 2, 2, 2, 2]},
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=ORDERS)
def tiny(request, settle) -> Hybrid:
    torch.manual_seed(0)
    return settle(Hybrid(request.param, **TINY))


# Sizes


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_cost_of_the_presets(name):
    with torch.device("meta"):
        model = create(name)
    assert parameters(model) == SIZES[name][0]
    assert macs_per_second(model) / 1e6 == pytest.approx(SIZES[name][1], rel=1e-3)


def test_every_preset_has_its_size_asserted():
    assert SIZES.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", ["hybrid-dcunet", "hybrid-l"])
def test_the_two_modules_of_a_hybrid_cost_the_same(name):
    with torch.device("meta"):
        one, other = (MODULES[part](**PRESETS[name][part]) for part in MODULES)
    assert parameters(one) == pytest.approx(parameters(other), rel=0.03)
    assert macs_per_second(one) == pytest.approx(macs_per_second(other), rel=0.03)


def test_modules_alone_cost_what_the_hybrid_costs_in_any_order():
    models = [create("hybrid-dcunet", order=order) for order in ORDERS] + [create("waveform"), create("spectrogram")]
    sizes, costs = [parameters(model) for model in models], [macs_per_second(model) for model in models]
    assert max(sizes) < 1.05 * min(sizes)
    assert max(costs) < 1.05 * min(costs)


def test_cost_of_a_waveform_module_by_hand():
    """16000 samples a second: 2000 frames of level 0, 500 of level 1, 250 of the bottleneck; a block of width w
    has 3 · w · 2w + w · w products a frame."""
    resampling = 2 * (1 * 8 * 16 * 2000 + 8 * 16 * 8 * 500 + 16 * 24 * 4 * 250)  # down and up
    blocks = 2 * 7 * 8**2 * 2000 + 2 * 2 * 7 * 16**2 * 500 + 3 * 7 * 24**2 * 250
    model = WaveformUNet([8, 16, 24], [[1], [1, 2], [1, 2, 4]])
    assert macs_per_second(model) == resampling + blocks


@pytest.mark.parametrize("order", ["", "waveform-", "spectogram", "waveform-waveform", "waveform spectrogram"])
def test_other_orders_are_refused(order):
    with pytest.raises(EnhanceError, match=f"order = '{order}': names of waveform, spectrogram"):
        Hybrid(order, **TINY)


# The cascade


def test_the_second_module_sees_the_mixture_and_the_first_estimate(tiny):
    first, second = tiny.parts.values()
    mixture, other = noise(2, 3, 1000), noise(2, 3, 1000, seed=1)
    with torch.no_grad():
        estimates = tiny.estimates(mixture)
        assert torch.equal(estimates[0], first(mixture))
        assert torch.equal(estimates[1], second(mixture, estimates[0]))
        assert torch.equal(tiny(mixture), estimates[1])
        assert (second(other, estimates[0]) - estimates[1]).abs().max() > 1e-3
        assert (second(mixture, other[:, None]) - estimates[1]).abs().max() > 1e-3


def test_the_last_estimate_has_a_gradient_through_the_first(tiny):
    tiny(noise(1, 1, 1000)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in tiny.parameters())


@pytest.mark.parametrize("number", [0, 1])
def test_a_module_that_is_trained_alone_is_the_only_one_with_a_gradient(tiny, number):
    trained = list(tiny.parts)[number]
    estimates = tiny.estimates(noise(1, 1, 1000), trained)
    assert len(estimates) == number + 1
    assert torch.equal(estimates[-1], tiny.estimates(noise(1, 1, 1000))[number])
    estimates[-1].square().sum().backward()
    for name, part in tiny.parts.items():
        assert all((parameter.grad is not None) == (name == trained) for parameter in part.parameters())


def test_a_new_waveform_module_leaves_its_last_input_alone():
    torch.manual_seed(0)
    model = WaveformUNet(**TINY["waveform"], inputs=2)
    mixture, estimate = noise(2, 1, 1001), noise(2, 1, 1, 1001, seed=1)
    assert torch.equal(model(mixture, estimate), estimate)


def test_the_waveform_module_does_what_it_does_at_any_level(settle):
    model = settle(WaveformUNet(**TINY["waveform"]))
    wave = noise(1, 1, 2000)
    with torch.no_grad():
        for gain in (0.01, 10.0):
            torch.testing.assert_close(model(gain * wave), gain * model(wave), rtol=1e-3, atol=1e-3 * gain)


def test_the_level_is_the_rms_around_a_frame():
    model = WaveformUNet(**TINY["waveform"])
    assert model.align == 16
    wave = torch.zeros(1, 1, 400 * 16)
    wave[..., 200 * 16 : 201 * 16] = 0.5  # one frame
    level = model.level(wave)[0, 0, ::16]
    inside = torch.full((129,), 0.5 / 129**0.5)  # one of 64 + 1 + 64 frames
    torch.testing.assert_close(level[200 - 64 : 200 + 65], inside)
    torch.testing.assert_close(level[[0, 135, 265, 399]], torch.full((4,), 1e-5))


def test_the_waveform_module_leaves_digital_silence_as_it_is(settle):
    model = settle(WaveformUNet(**TINY["waveform"]))
    wave = noise(1, 1, 12000)
    wave[..., 1000:11000] = 0.0
    with torch.no_grad():
        estimate = model(wave)[0, 0, 0]
        assert (model(0 * wave) == 0).all()
    seen = (model.LEVEL + 1) * model.align  # around a frame, for its level
    assert (estimate[1000 + seen : 11000 - seen] == 0).all()
    assert (estimate[: 1000 + seen - model.align] != wave[0, 0, : 1000 + seen - model.align]).float().mean() > 0.9


def test_masks_of_several_inputs_are_summed():
    """With constant masks 2 and −0.5i: the second signal is turned by a quarter, so a cosine becomes a sine."""
    model = DCUNet("dcunet-10", mask="ubd", inputs=2).eval()
    last: Any = model.decoders[-1]
    with torch.no_grad():
        last[0].real.zero_()
        last[0].imag.zero_()
        last[0].bias.copy_(torch.tensor([2.0, 0.0, 0.0, -0.5]))  # real parts, then imaginary ones
        phase = 2 * torch.pi * 64 / 1024 * torch.arange(8192)
        mixture = noise(1, 1, 8192)
        found = model(mixture, phase.cos()[None, None, None])[0, 0, 0]
    expected = 2 * mixture[0, 0] + 0.5 * phase.sin()
    torch.testing.assert_close(found[1024:-1024], expected[1024:-1024], rtol=0, atol=1e-3)


@pytest.mark.parametrize("power", [0.3, 0.5])
def test_compression_raises_the_modulus_to_a_power_and_keeps_the_phase(power):
    spectra = torch.polar(torch.tensor([0.01, 1.0, 16.0]), torch.tensor([0.0, 2.0, -3.0]))
    expected = torch.polar(torch.tensor([0.01, 1.0, 16.0]) ** power, torch.tensor([0.0, 2.0, -3.0]))
    model = DCUNet(**{**TINY["spectrogram"], "compression": power})
    torch.testing.assert_close(model.compress(spectra), expected, rtol=1e-3, atol=0)
    silence = torch.zeros(3, dtype=torch.complex64, requires_grad=True)
    model.compress(silence).abs().square().sum().backward()
    assert torch.isfinite(torch.view_as_real(silence.grad)).all()


# Reach in time


def test_reach_of_the_waveform_module_is_exact(settle):
    """By gradients in float64: zero further away than declared, not zero at the border of it."""
    torch.manual_seed(0)
    model = settle(WaveformUNet(**TINY["waveform"]).double())
    left, right = model.context
    middle = (left // model.align + 1) * model.align
    x = 0.1 * torch.randn(1, 1, middle + 2 * model.align + right, dtype=torch.float64)
    x.requires_grad_()
    y = model(x)[0, 0, 0]
    reached_left, reached_right = [], []
    for sample in range(middle, middle + model.align):
        (gradient,) = torch.autograd.grad(y[sample], x, retain_graph=True)
        touched = gradient.flatten().nonzero().flatten()
        reached_left.append(sample - touched.min().item())
        reached_right.append(touched.max().item() - sample)
    assert (max(reached_left), max(reached_right)) == (left, right)


def test_reach_of_a_cascade_is_that_of_its_modules(tiny):
    first, second = tiny.parts.values()
    assert tiny.context == tuple(a + b for a, b in zip(first.context, second.context, strict=True))
    assert (first.align, second.align) in ((16, 128), (128, 16))
    assert tiny.align == 128


@pytest.mark.parametrize("length", [1, 127, 4096, 5000, 6001])
@pytest.mark.parametrize("size", [997, 2048])
def test_chunks_equal_the_whole(tiny, size, length):
    """In either order, wherever the file ends, whatever is kept of a chunk."""
    left, right = tiny.context
    wave = noise(1, 2, length)
    kept = []
    with torch.no_grad():
        for start in range(0, length, size):
            begin = max(0, start - left) // tiny.align * tiny.align
            estimate = tiny(wave[..., begin : start + size + right])
            kept.append(estimate[..., start - begin : start - begin + size])
        torch.testing.assert_close(torch.cat(kept, dim=-1), tiny(wave), rtol=0, atol=1e-5)
