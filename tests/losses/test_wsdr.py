"""wSDR (Choi et al. 2019, section 3.3) against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from enhance.losses.wsdr import wsdr


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rows(*values: list[float]) -> tuple[Tensor, ...]:
    """Signals of a batch of one, in float64."""
    return tuple(torch.tensor([value], dtype=torch.float64) for value in values)


def test_a_perfect_estimate_has_minus_one():
    target, mixture = noise(3, 1000), noise(3, 1000, seed=1)
    assert wsdr(target, target, mixture).item() == pytest.approx(-1, abs=1e-6)


def test_closed_form_of_the_mixture_as_estimate():
    """ŷ = x: the noise estimate is zero, so only α · D(y, x) is left.

    y = (3, 0), z = (0, 4): α = 9/25, D(y, x) = −9 / (3 · 5) = −3/5; together −27/125.
    """
    target, mixture = rows([3.0, 0.0], [3.0, 4.0])
    assert wsdr(mixture, target, mixture).item() == pytest.approx(-27 / 125, abs=1e-6)


def test_closed_form_of_silence_as_estimate():
    """ŷ = 0, ẑ = x: (1 − α) · D(z, x) = 16/25 · −16 / (4 · 5) = −64/125."""
    target, mixture = rows([3.0, 0.0], [3.0, 4.0])
    assert wsdr(0 * target, target, mixture).item() == pytest.approx(-64 / 125, abs=1e-6)


def test_closed_form_of_both_terms():
    """y = (1, 0), z = (0, 1), ŷ = (1, 1/2), ẑ = (0, 1/2): ½ · −1/√(5/4) + ½ · −1 = −(1 + 2/√5)/2."""
    target, mixture, estimate = rows([1.0, 0.0], [1.0, 1.0], [1.0, 0.5])
    assert wsdr(estimate, target, mixture).item() == pytest.approx(-(1 + 2 / math.sqrt(5)) / 2, abs=1e-6)


def test_the_worst_estimate_has_plus_one():
    """ŷ = −y of a clean signal: α = 1, D = 1."""
    (target,) = rows([1.0, -2.0, 3.0])
    assert wsdr(-target, target, target).item() == pytest.approx(1, abs=1e-6)


def test_exchanging_speech_and_noise():
    """The loss does not know which of the two is speech: L(ŷ; y, x) = L(x − ŷ; x − y, x)."""
    target, mixture, estimate = (noise(4, 100, seed=seed).double() for seed in range(3))
    exchanged = wsdr(mixture - estimate, mixture - target, mixture)
    torch.testing.assert_close(wsdr(estimate, target, mixture), exchanged)


def test_the_noise_term_fixes_the_scale():
    """Unlike a cosine alone, it is worse for a right shape at a wrong level."""
    target, mixture = noise(1, 1000), noise(1, 1000) + noise(1, 1000, seed=1)
    perfect = wsdr(target, target, mixture)
    assert wsdr(0.5 * target, target, mixture) > perfect + 0.01
    assert wsdr(2 * target, target, mixture) > perfect + 0.01


def test_a_batch_is_the_mean_of_its_utterances():
    target, mixture, estimate = (noise(5, 2, 100, seed=seed) for seed in range(3))
    values = [wsdr(estimate[i, j], target[i, j], mixture[i, j]) for i in range(5) for j in range(2)]
    torch.testing.assert_close(wsdr(estimate, target, mixture), torch.stack(values).mean())


amplitudes = st.floats(-1, 1, width=32)
signals = st.integers(1, 8).flatmap(
    lambda length: st.tuples(*[st.lists(amplitudes, min_size=length, max_size=length)] * 3)
)


@given(signals)
def test_range(values):
    estimate, target, mixture = (torch.tensor([value], dtype=torch.float64) for value in values)
    assert -1 <= wsdr(estimate, target, mixture).item() <= 1


@given(st.floats(-40, 40), st.integers(0, 10))
def test_a_common_gain_changes_nothing(gain_db, seed):
    target, mixture, estimate = (noise(2, 1000, seed=3 * seed + i) for i in range(3))
    gain = 10 ** (gain_db / 20)
    scaled = wsdr(gain * estimate, gain * target, gain * mixture)
    torch.testing.assert_close(scaled, wsdr(estimate, target, mixture), rtol=0, atol=1e-5)


# Silence


def test_silent_target_leaves_the_noise_term():
    """y = 0: α = 0, the best estimate is silence, and twice the noise points the wrong way."""
    silence, mixture = torch.zeros(1, 100), noise(1, 100)
    assert wsdr(silence, silence, mixture).item() == pytest.approx(-1, abs=1e-6)
    assert wsdr(2 * mixture, silence, mixture).item() == pytest.approx(1, abs=1e-6)


def test_silent_noise_leaves_the_target_term():
    """z = 0: α = 1, and the loss does not see the scale."""
    target = noise(1, 100)
    assert wsdr(target, target, target).item() == pytest.approx(-1, abs=1e-6)
    assert wsdr(3 * target, target, target).item() == pytest.approx(-1, abs=1e-6)


def test_both_silent():
    silence = torch.zeros(1, 100)
    assert wsdr(silence, silence, silence).item() == 0
    assert wsdr(noise(1, 100), silence, silence).item() == 0


@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("mixture", [0.0, 1.0])
@pytest.mark.parametrize("estimate", [0.0, 1.0])
def test_gradients_are_finite(estimate, target, mixture):
    """Silent or equal to one another, in every combination."""
    wave = noise(2, 100)
    guess = (estimate * wave).requires_grad_()
    wsdr(guess, target * wave, mixture * wave).backward()
    assert guess.grad is not None
    assert torch.isfinite(guess.grad).all()


def test_gradcheck():
    target, mixture, estimate = (noise(2, 5, seed=seed).double() for seed in range(3))
    assert torch.autograd.gradcheck(lambda guess: wsdr(guess, target, mixture), estimate.requires_grad_())
