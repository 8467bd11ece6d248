"""The other losses: closed-form values, behaviour at silence, and what they do not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from enhance.errors import EnhanceError
from enhance.losses import LOSSES, create
from enhance.losses.sdr import neg_si_sdr, neg_snr
from enhance.losses.spectral import (
    compressed_spectrum,
    multi_resolution_stft,
    spectrogram_mse,
    waveform_mse,
)
from enhance.stft import stft

LENGTH = 8192  # half a second: STOI wants 0.4


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def triple() -> tuple[Tensor, Tensor, Tensor]:
    """A half-good estimate, its target, and the mixture: three of one source and one channel."""
    target, disturbance = noise(3, 1, 1, LENGTH), noise(3, 1, 1, LENGTH, seed=1)
    return target + 0.3 * disturbance, target, target + disturbance


# Every loss


@pytest.mark.parametrize("name", LOSSES)
def test_is_a_scalar_with_finite_gradient_and_least_at_the_target(name, triple):
    estimate, target, mixture = triple
    loss = create(name)
    value = loss(estimate.requires_grad_(), target, mixture)
    assert value.shape == ()
    value.backward()
    assert torch.isfinite(estimate.grad).all()
    assert estimate.grad.any()
    assert loss(target, target, mixture) < value < loss(mixture, target, mixture)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("target", [0.0, 0.1])
@pytest.mark.parametrize("mixture", [0.0, 0.1])
@pytest.mark.parametrize("estimate", [0.0, 0.1])
def test_silence_is_finite(name, estimate, target, mixture):
    """Each of the three silent or not, in every combination: value and gradient are finite."""
    guess = (estimate * noise(2, 1, 1, LENGTH)).requires_grad_()
    value = create(name)(guess, target * noise(2, 1, 1, LENGTH), mixture * noise(2, 1, 1, LENGTH, seed=1))
    value.backward()
    assert torch.isfinite(value)
    assert guess.grad is not None
    assert torch.isfinite(guess.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_one_sample_is_enough(name):
    ones = torch.ones(1, 1, 1, 1)
    assert torch.isfinite(create(name)(ones, 0.5 * ones, ones))


@pytest.mark.parametrize("name", ["wsdr", "si_sdr", "snr", "compressed_spectrum", "multi_resolution_stft"])
@pytest.mark.parametrize("gain", [0.1, 10])
def test_a_common_gain_changes_nothing(name, gain, triple):
    estimate, target, mixture = triple
    loss = create(name)
    scaled = loss(gain * estimate, gain * target, gain * mixture)
    torch.testing.assert_close(scaled, loss(estimate, target, mixture), rtol=1e-4, atol=1e-6)


def test_names_and_options():
    assert create("snr", floor_db=-20.0).keywords == {"floor_db": -20.0}
    with pytest.raises(EnhanceError, match="unknown loss 'wsd': known are wsdr"):
        create("wsd")
    with pytest.raises(EnhanceError, match="loss 'snr' has no option 'floor': it takes floor_db"):
        create("snr", floor=3)
    with pytest.raises(EnhanceError, match="loss 'wsdr' has no option 'x': it takes none"):
        create("wsdr", x=3)


# SI-SDR and SNR


def test_si_sdr_by_hand():
    """ŝ = (2, 1), s = (1, 0): projection (2, 0), rest (0, 1), ratio 4."""
    estimate, target = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    assert neg_si_sdr(estimate, target, target).item() == pytest.approx(-10 * math.log10(4), abs=1e-4)


@pytest.mark.parametrize("scale", [0.1, 3.0, -1.0])
def test_si_sdr_does_not_see_the_scale(scale, triple):
    estimate, target, mixture = triple
    expected = neg_si_sdr(estimate, target, mixture)
    torch.testing.assert_close(neg_si_sdr(scale * estimate, target, mixture), expected, rtol=0, atol=1e-3)


def test_si_sdr_leaves_silent_targets_out(triple):
    estimate, target, mixture = triple
    target[1] = 0
    rest = [0, 2]
    torch.testing.assert_close(
        neg_si_sdr(estimate, target, mixture), neg_si_sdr(estimate[rest], target[rest], mixture[rest])
    )
    assert neg_si_sdr(estimate, 0 * target, mixture) == 0


def test_snr_by_hand():
    """Error energy 1 against a mixture of 100: ratio 0.01 plus the floor of 0.001."""
    estimate, target, mixture = (torch.tensor([[x, 0.0]]) for x in (3.0, 4.0, 10.0))
    assert neg_snr(estimate, target, mixture).item() == pytest.approx(10 * math.log10(0.011), abs=1e-5)
    assert neg_snr(target, target, mixture).item() == pytest.approx(-30, abs=1e-5)
    assert neg_snr(target, target, mixture, floor_db=-20).item() == pytest.approx(-20, abs=1e-5)


def test_snr_of_a_silent_target_asks_for_silence():
    mixture = noise(1, LENGTH)
    silence = torch.zeros(1, LENGTH)
    assert neg_snr(silence, silence, mixture).item() == pytest.approx(-30, abs=1e-4)
    assert neg_snr(mixture, silence, mixture).item() == pytest.approx(10 * math.log10(1.001), abs=1e-4)


# Spectra


def level(wave: Tensor) -> Tensor:
    return wave / wave.square().mean(-1, keepdim=True).sqrt()


def test_compressed_spectrum_of_a_scaled_target():
    """ŝ = g·s: both terms are (1 − g^p)² |S|^2p, whatever their weights."""
    target = noise(1, LENGTH)
    expected = (1 - 0.5**0.3) ** 2 * stft(level(target), 512, 256).abs().pow(0.6).mean()
    for weight in (0.0, 0.3, 1.0):
        value = compressed_spectrum(0.5 * target, target, target, complex_weight=weight)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("gain", "times"), [(0.5, 3.0), (2.0, 1.0)])
def test_in_a_compressed_spectrum_what_is_missing_may_count_more(gain, times):
    target = noise(1, LENGTH)
    plain, weighted = (
        compressed_spectrum(gain * target, target, target, complex_weight=0.0, missing=missing)
        for missing in (1.0, 3.0)
    )
    torch.testing.assert_close(weighted, times * plain, rtol=1e-4, atol=0)


def test_compressed_spectrum_of_an_inverted_target():
    """ŝ = −s: moduli agree, values are 2 |S|^p apart."""
    target = noise(1, LENGTH)
    expected = 4 * stft(level(target), 512, 256).abs().pow(0.6).mean()
    assert compressed_spectrum(-target, target, target, complex_weight=0.0) < 1e-8
    value = compressed_spectrum(-target, target, target, complex_weight=1.0)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=0)


def test_compressed_spectrum_without_compression_is_a_mean_squared_error():
    target, estimate = level(noise(1, LENGTH)), noise(1, LENGTH, seed=1)
    value = compressed_spectrum(estimate, target, target, power=1.0, complex_weight=1.0)
    torch.testing.assert_close(value, spectrogram_mse(estimate, target, target, 512, 256), rtol=1e-4, atol=0)


def test_multi_resolution_stft_of_a_scaled_target():
    """ŝ = g·s: the convergence is 1 − g, the logarithms are −log g apart, but for the floor of 0.01."""
    target = noise(1, LENGTH)
    value = multi_resolution_stft(0.5 * target, target, target)
    assert value.item() == pytest.approx(0.5 + math.log(2), abs=2e-3)


def test_multi_resolution_stft_is_the_mean_over_windows(triple):
    values = [multi_resolution_stft(*triple, windows=(n_fft,)) for n_fft in (512, 1024, 2048)]
    torch.testing.assert_close(multi_resolution_stft(*triple), torch.stack(values).mean())


def test_multi_resolution_stft_at_the_target_is_zero():
    target = noise(1, LENGTH)
    assert multi_resolution_stft(target, target, target).item() == pytest.approx(0, abs=2e-4)


def test_spectrogram_mse_of_one_sample():
    """A one at the centre of a frame is w in every bin of the frames that hold it: w² is 1, and twice 1/4."""
    target = torch.zeros(1, LENGTH)
    estimate = target.clone()
    estimate[0, 2048] = 1
    value = spectrogram_mse(estimate, target, target)
    assert value.item() == pytest.approx((1 + 2 * 0.25) / (LENGTH // 256 + 1), abs=1e-6)


def test_waveform_mse_by_hand():
    estimate, target = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])
    assert waveform_mse(estimate, target, target).item() == 2.5
