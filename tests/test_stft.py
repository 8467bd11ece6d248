"""Both transforms undo themselves for any length."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from enhance.stft import frames_to_spectra, istft, spectra_to_frames, sqrt_hann, stft


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def worst_error(length: int, n_fft: int, hop: int) -> float:
    wave = noise(2, length, seed=length)
    spectrum = stft(wave, n_fft, hop)
    assert spectrum.shape == (2, n_fft // 2 + 1, length // hop + 1)
    back = istft(spectrum, n_fft, hop, length)
    assert back.shape == wave.shape
    return (back - wave).abs().max().item()


def test_inverse_at_every_length_to_three_windows():
    assert max(worst_error(length, 64, 16) for length in range(1, 3 * 64 + 1)) < 1e-6


@pytest.mark.parametrize("length", [1, 2, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 2048, 3072])
def test_inverse_at_the_size_of_the_paper(length):
    assert worst_error(length, 1024, 256) < 1e-6


@given(length=st.integers(0, 1535).map(lambda n: 2 * n + 1))
@settings(max_examples=40, deadline=None)
def test_inverse_at_odd_lengths(length):
    assert worst_error(length, 1024, 256) < 1e-6


def test_frames_are_centred_and_not_normalised():
    wave = torch.zeros(1024)
    wave[512] = 1.0  # the centre of frame 2: a flat spectrum of the window's peak, 1
    spectrum = stft(wave, 1024, 256)
    assert spectrum.abs()[:, 2] == pytest.approx(torch.ones(513), abs=1e-6)
    assert spectrum.abs()[:, 1] == pytest.approx(torch.full((513,), 0.5), abs=1e-6)  # Hann, a quarter away


def test_a_sine_has_half_the_sum_of_the_window_in_its_bin():
    wave = torch.sin(2 * math.pi * 10 / 64 * torch.arange(640, dtype=torch.float64))
    spectrum = stft(wave, 64, 16)[:, 5:-5].abs()
    assert spectrum.dtype == torch.float64
    torch.testing.assert_close(spectrum[10], torch.full_like(spectrum[10], 64 / 2 / 2))


def test_leading_axes_are_kept():
    wave = noise(2, 3, 4, 1000)
    spectrum = stft(wave, 64, 16)
    assert spectrum.shape == (2, 3, 4, 33, 63)
    torch.testing.assert_close(spectrum[1, 2, 3], stft(wave[1, 2, 3], 64, 16))
    torch.testing.assert_close(istft(spectrum, 64, 16, 1000), wave, rtol=0, atol=1e-6)


def test_gradient_is_finite_at_silence_and_at_one_sample():
    for length in (1, 64, 300):
        wave = torch.zeros(1, length, requires_grad=True)
        istft(stft(wave, 64, 16), 64, 16, length).sum().backward()
        assert wave.grad is not None
        torch.testing.assert_close(wave.grad, torch.ones(1, length), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_fft", [32, 512])
@pytest.mark.parametrize("frames", [1, 2, 3, 10])
def test_causal_pair_reconstructs_all_but_the_edges(n_fft, frames):
    hop = n_fft // 2
    wave = noise(2, 3, n_fft + (frames - 1) * hop)
    window = sqrt_hann(n_fft)
    spectra = frames_to_spectra(wave, window, hop)
    assert spectra.shape == (2, 3, n_fft // 2 + 1, frames)
    back = spectra_to_frames(spectra, window, hop)
    assert back.shape == wave.shape
    torch.testing.assert_close(back[..., hop:-hop], wave[..., hop:-hop], rtol=0, atol=1e-6)


def test_causal_frames_begin_at_multiples_of_the_hop():
    wave = noise(160)
    window = sqrt_hann(64)
    spectra = frames_to_spectra(wave, window, 32)
    for n in range(4):
        torch.testing.assert_close(spectra[:, n], torch.fft.rfft(wave[32 * n : 32 * n + 64] * window))


def test_squares_of_the_window_sum_to_one():
    square = sqrt_hann(512).square()
    torch.testing.assert_close(square[:256] + square[256:], torch.ones(256))
