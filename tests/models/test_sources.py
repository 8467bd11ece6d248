"""Models of several sources: shapes, mixture consistency whole and streamed, and a start from a denoiser."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from enhance.errors import EnhanceError
from enhance.models.checkpoint import load_model, save
from enhance.models.compact import CompactUNet
from enhance.models.dcunet import DCUNet
from enhance.models.grow import grow
from enhance.models.hybrid import SPECTROGRAM, Hybrid
from enhance.nn.consistency import mixture_consistent

SOURCES = ["speech", "music", "noise"]
SMALL = {"widths": [4, 6, 8], "hidden": 8, "blocks": 2}
WAVEFORM = {"widths": [4, 6, 8], "dilations": [[1], [1, 2], [1, 2, 4]], "strides": (4, 2, 2)}
TINY_SPECTROGRAM = {**SPECTROGRAM, "n_fft": 64, "hop": 16, "widths": [2, 2, 2, 2, 2]}
MODULES = {"waveform": WAVEFORM, "spectrogram": TINY_SPECTROGRAM}
MODELS: dict[str, tuple[type[nn.Module], dict]] = {
    "compact": (CompactUNet, SMALL),
    "compact, short hop": (CompactUNet, {**SMALL, "hop": 128}),
    "cRMCn": (DCUNet, TINY_SPECTROGRAM),
    "cRMRn": (DCUNet, {**TINY_SPECTROGRAM, "kind": "cRMRn"}),
    "RMRn": (DCUNet, {**TINY_SPECTROGRAM, "kind": "RMRn"}),
    "waveform": (Hybrid, {"order": "waveform", **MODULES}),
    "waveform-spectrogram": (Hybrid, {"order": "waveform-spectrogram", **MODULES}),
    "spectrogram-waveform": (Hybrid, {"order": "spectrogram-waveform", **MODULES}),
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=MODELS)
def name(request) -> str:
    return request.param


def build(name: str, settle, **options) -> nn.Module:
    torch.manual_seed(0)
    model, arguments = MODELS[name]
    return settle(model(**arguments, sources=SOURCES, **options))


def test_consistency_by_hand():
    """Estimates 1 and 2 of a mixture of 9 lack 6, and each gets half of it."""
    estimates = torch.tensor([[[1.0], [2.0]]])
    assert mixture_consistent(estimates, torch.tensor([[9.0]])).tolist() == [[[4.0], [5.0]]]


@torch.no_grad()
def test_consistent_estimates_sum_to_the_mixture(name, settle):
    model = build(name, settle, consistent=True)
    for length in (1, 257, 5000):
        mixture = noise(2, 3, length)
        estimates = model(mixture)
        assert estimates.shape == (2, 3, 3, length)
        torch.testing.assert_close(estimates.sum(1), mixture, rtol=0, atol=1e-6)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (estimates[:, one] - estimates[:, other]).abs().max() > 1e-4


@torch.no_grad()
def test_without_consistency_they_are_free(name, settle):
    mixture = noise(2, 1, 5000)
    estimates = build(name, settle)(mixture)
    assert estimates.shape == (2, 3, 1, 5000)
    assert (estimates.sum(1) - mixture).abs().max() > 1e-3


@torch.no_grad()
def test_channels_and_batch_are_independent(name, settle):
    model, mixture = build(name, settle), noise(2, 2, 3000)
    estimates = model(mixture)
    for row, channel in ((0, 0), (0, 1), (1, 0)):
        alone = model(mixture[row : row + 1, channel : channel + 1])[0, :, 0]
        torch.testing.assert_close(estimates[row, :, channel], alone, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_stream_sums_to_the_mixture_as_late_as_it_is(settle):
    model = build("compact, short hop", settle, consistent=True)
    mixture = noise(2, 2, 40 * model.block)
    state, parts = None, []
    for chunk in mixture.split(8 * model.block, dim=-1):
        estimates, state = model.stream(chunk, state)
        parts.append(estimates)
    late = pad(mixture, (model.latency, 0))[..., : mixture.shape[-1]]
    torch.testing.assert_close(torch.cat(parts, dim=-1).sum(1), late, rtol=0, atol=1e-6)


@torch.no_grad()
def test_untrained_it_shares_the_mixture_out():
    mixture = noise(1, 1, 3001)
    estimates = CompactUNet(**SMALL, sources=SOURCES).eval()(mixture)
    torch.testing.assert_close(estimates, (mixture / 3)[:, None].expand(1, 3, 1, -1), rtol=0, atol=1e-5)


def test_consistency_of_one_source_is_refused(name):
    model, arguments = MODELS[name]
    with pytest.raises(EnhanceError, match="consistent = true with one source"):
        model(**arguments, consistent=True)


def test_a_checkpoint_keeps_names_and_consistency(name, settle, tmp_path):
    model = build(name, settle, consistent=True)
    path = tmp_path / "separator.safetensors"
    save(path, model, {**MODELS[name][1], "sources": SOURCES, "consistent": True}, {})
    loaded = load_model(path)
    assert loaded.sources == tuple(SOURCES)
    with torch.no_grad():
        assert torch.equal(loaded(noise(1, 1, 3000)), model(noise(1, 1, 3000)))


# From a denoiser


def test_a_separator_begins_with_what_the_denoiser_knows(settle):
    """Its speech is the denoiser's, new sources have their share of the mixture, and all of them learn."""
    torch.manual_seed(1)
    denoiser = settle(CompactUNet(**SMALL))
    separator = CompactUNet(**SMALL, sources=["music", "speech", "noise"]).eval()
    grow(separator, denoiser)
    mixture = noise(2, 1, 4000)
    estimates = separator(mixture)
    with torch.no_grad():
        torch.testing.assert_close(estimates[:, 1], denoiser(mixture)[:, 0], rtol=0, atol=1e-6)
        torch.testing.assert_close(estimates[:, 2], mixture / 3, rtol=0, atol=1e-5)
    (estimates - noise(2, 3, 4000, seed=3)[:, :, None]).square().sum().backward()
    assert separator.net.head.weight.grad.abs().amax(1).min() > 0


def test_a_separator_may_also_grow_and_become_consistent(settle):
    torch.manual_seed(1)
    small = settle(CompactUNet(**SMALL, sources=["speech", "noise"]))
    large = CompactUNet(**{**SMALL, "hidden": 12, "blocks": 3}, sources=["speech", "noise"], consistent=True).eval()
    grow(large, small)
    mixture = noise(2, 1, 4000)
    with torch.no_grad():
        torch.testing.assert_close(large(mixture), mixture_consistent(small(mixture), mixture), rtol=0, atol=1e-5)


def test_a_source_cannot_be_lost():
    with pytest.raises(ValueError, match="a source of the smaller model is missing"):
        grow(CompactUNet(**SMALL, sources=["music", "noise"]), CompactUNet(**SMALL))
