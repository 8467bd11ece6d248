"""The hybrid whose spectrogram module is the compact model: its cascade, what it starts from, its reach."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from enhance.errors import EnhanceError
from enhance.models import create
from enhance.models.compact import CompactUNet
from enhance.models.cost import macs_per_second, parameters
from enhance.models.grow import grow
from enhance.models.listening import needed, remembered
from enhance.models.recurrent_hybrid import ORDERS, PRESETS, RecurrentHybrid

SIZES = {"hybrid": (1_062_829, 1586.8)}  # parameters, millions of multiply-accumulates per second of audio
TINY: dict[str, Any] = {
    "compact": {"widths": [4, 6, 8], "hidden": 8, "blocks": 2},
    "waveform": {"widths": [4, 6, 8], "dilations": [[1], [1, 2], [1, 2, 4]], "strides": (4, 2, 2)},
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=ORDERS)
def tiny(settle, request) -> RecurrentHybrid:
    torch.manual_seed(0)
    return settle(RecurrentHybrid(**TINY, order=request.param))


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_and_cost_of_the_presets(name):
    with torch.device("meta"):
        model = create(name)
    assert parameters(model) == SIZES[name][0]
    assert macs_per_second(model) / 1e6 == pytest.approx(SIZES[name][1], rel=1e-3)


@pytest.mark.parametrize("order", ORDERS)
def test_a_new_hybrid_leaves_the_mixture_alone(order):
    torch.manual_seed(0)
    mixture = noise(2, 1, 5001)
    for estimate in RecurrentHybrid(**TINY, order=order).eval().estimates(mixture):
        torch.testing.assert_close(estimate[:, 0], mixture, rtol=0, atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_a_new_hybrid_gives_what_a_compact_model_does_that_was_trained_alone(order, settle):
    torch.manual_seed(0)
    alone = settle(CompactUNet(**TINY["compact"]))
    model = RecurrentHybrid(**TINY, order=order).eval()
    grow(model.spectrogram, alone)
    mixture = noise(2, 3, 5001)
    with torch.no_grad():
        torch.testing.assert_close(model(mixture), alone(mixture), rtol=0, atol=1e-5)


def test_the_compact_model_behind_hears_the_estimate_of_the_first_to_the_end(settle):
    """The first one's estimate goes on where the mixture has ended: it is heard as long as the second looks ahead."""
    torch.manual_seed(0)
    model = settle(RecurrentHybrid(**TINY))
    mixture = noise(2, 3, 5001)
    with torch.no_grad():
        first, last = model.estimates(mixture)
        longer = model.waveform(F.pad(mixture, (0, 20000)))[..., :5632]  # 22 blocks
        wanted = model.spectrogram(F.pad(mixture, (0, 631)), longer)[..., :5001]
    torch.testing.assert_close(first, longer[..., :5001], rtol=0, atol=1e-6)
    torch.testing.assert_close(last, wanted, rtol=0, atol=1e-6)
    assert (last - model.spectrogram(mixture, torch.zeros_like(first))).abs().max() > 1e-3


def test_the_waveform_module_behind_corrects_the_estimate_of_the_first_to_the_end(settle):
    torch.manual_seed(0)
    model = settle(RecurrentHybrid(**TINY, order="spectrogram-waveform"))
    mixture = noise(2, 3, 5001)
    with torch.no_grad():
        first, last = model.estimates(mixture)
        padded = F.pad(mixture, (0, 20000))
        longer = model.spectrogram(padded)
        wanted = model.waveform(padded, longer)[..., :5001]
    torch.testing.assert_close(first, longer[..., :5001], rtol=0, atol=1e-6)
    torch.testing.assert_close(last, wanted, rtol=0, atol=1e-6)
    assert (last - first).abs().max() > 1e-3


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_heard_before_the_start_is_what_the_stream_remembers(order, settle):
    torch.manual_seed(0)
    model = settle(RecurrentHybrid(**TINY, order=order))
    mixture = noise(2, 1, 20 * model.block)
    with torch.no_grad():
        _, streamed = model.stream(mixture, None)
        heard = model.hear(mixture[..., : 8 * model.block], None)
        heard = model.hear(mixture[..., 8 * model.block :], heard)
        again, wanted = (model.stream(mixture, model.restarted(state))[0] for state in (heard, streamed))
    assert (again - model.stream(mixture, None)[0]).abs().max() > 1e-4
    torch.testing.assert_close(again, wanted, rtol=0, atol=1e-6)


def test_what_is_kept_of_the_beginning_is_what_the_waveform_module_makes_of_the_whole(settle):
    """What was heard may have ended within a block: how loudly it went on is not to be missing."""
    torch.manual_seed(0)
    model = settle(RecurrentHybrid(**TINY, listen=1.0))
    mixture = noise(1, 1, 60 * model.block)
    frames = 30 * model.block + 1
    mixture[..., frames:] *= 100
    with torch.no_grad():
        kept = remembered(model, mixture, frames / model.sample_rate).heard
        wanted = model.waveform(mixture)
    assert kept.shape[-1] > 20 * model.block
    torch.testing.assert_close(kept, wanted[..., : kept.shape[-1]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("blocks", [30, 90])
def test_it_hears_all_of_the_seconds_that_it_is_to_hear(settle, order, blocks):
    """Also where the recording ends before: what the waveform module waits for to come after it is silence then."""
    torch.manual_seed(0)
    model = settle(RecurrentHybrid(**TINY, order=order))
    mixture, seconds = noise(1, 1, blocks * model.block), 40 * model.block / model.sample_rate
    heard, needs = min(blocks, 40) * model.block, needed(model, seconds)
    assert needs == 40 * model.block + model.behind

    def memory(changed: slice) -> torch.Tensor:
        other = mixture.clone()
        other[..., changed] *= -2
        with torch.no_grad():
            return torch.stack([tensor for pair in remembered(model, other, seconds).compact.lstm for tensor in pair])

    same = memory(slice(0, 0))
    assert not torch.equal(memory(slice(heard - model.block, heard)), same)
    assert torch.equal(memory(slice(needs, None)), same)


def test_an_unknown_order_is_refused():
    with pytest.raises(EnhanceError, match="waveform-spectrogram or spectrogram-waveform"):
        RecurrentHybrid(**TINY, order="waveform")


@pytest.mark.parametrize("trained", ["spectrogram", "waveform"])
def test_a_module_that_is_trained_alone_is_the_only_one_with_a_gradient(tiny, trained):
    estimates = tiny.estimates(noise(1, 1, 3000), trained)
    assert len(estimates) == 1 + [*tiny.parts].index(trained)
    estimates[-1].square().sum().backward()
    for name, part in tiny.parts.items():
        assert all((parameter.grad is not None) == (name == trained) for parameter in part.parameters())


def test_the_declared_latency_is_the_waveform_modules_reach_before_the_compact_models(tiny):
    left, right = tiny.waveform.context
    assert tiny.block % tiny.waveform.align == 0
    assert 0 <= tiny.right - right < tiny.block
    assert 0 <= tiny.left - left < tiny.block
    assert tiny.latency == tiny.right + tiny.spectrogram.latency


@pytest.mark.parametrize("order", ORDERS)
def test_several_sources_sum_to_the_mixture(order, settle):
    model = settle(RecurrentHybrid(**TINY, order=order, sources=["speech", "noise"], consistent=True))
    mixture = noise(1, 2, 3000)
    with torch.no_grad():
        estimates = model(mixture)
    assert estimates.shape == (1, 2, 2, 3000)
    torch.testing.assert_close(estimates.sum(1), mixture, rtol=0, atol=1e-5)
