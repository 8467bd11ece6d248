"""The loss over subsets of sources against its formula, and orders of targets against all permutations."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from enhance.losses import create
from enhance.losses.sdr import neg_si_sdr
from enhance.losses.spectral import spectrogram_mse
from enhance.losses.subsets import best_order, source_subsets, subsets
from enhance.losses.wsdr import wsdr
from enhance.metrics.si_sdr import si_sdr


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_four_sources_have_fourteen_subsets():
    chosen = subsets(4)
    assert chosen.shape == (14, 4)
    assert chosen.sum(1).tolist() == [1] * 4 + [2] * 6 + [3] * 4
    assert len({tuple(row) for row in chosen.tolist()}) == 14
    assert subsets(2).tolist() == [[1, 0], [0, 1]]
    assert subsets(1).tolist() == [[1]]


@pytest.mark.parametrize("sources", [2, 3, 4])
def test_it_is_the_mean_over_sums(sources):
    target, estimate = noise(2, sources, 1, 6000), noise(2, sources, 1, 6000, seed=1)
    mixture = target.sum(1, keepdim=True)
    frequency, time = [], []
    for chosen in subsets(sources).bool():
        a, b = estimate[:, chosen].sum(1), target[:, chosen].sum(1)
        frequency.append(spectrogram_mse(a, b, mixture[:, 0], 512, 128))
        time.append(wsdr(a, b, mixture[:, 0]))
    expected = torch.stack(frequency).mean() + 3 * (1 + torch.stack(time).mean())
    value = source_subsets(estimate, target, mixture, n_fft=512, hop=128, time_weight=3.0)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)


def test_perfect_estimates_have_no_loss():
    target = noise(2, 3, 2, 8192)
    assert source_subsets(target, target, target.sum(1, keepdim=True)).item() == pytest.approx(0, abs=1e-5)


def test_the_papers_weights_are_the_default():
    """Wrong by half: 14 sums of 1, 2 or 3 of 4 equal parts of the error, and wSDR of a scaled target."""
    target = noise(1, 1, 1, 8192).expand(1, 4, 1, -1)
    mixture = target.sum(1, keepdim=True)
    own = spectrogram_mse(0.5 * target[:, 0], target[:, 0], mixture[:, 0], 4096, 1024)
    frequency = own * (4 * 1 + 6 * 4 + 4 * 9) / 14
    assert source_subsets(0.5 * target, target, mixture).item() == pytest.approx(frequency.item(), rel=1e-4)


# Sources without an order


def by_hand(estimate: Tensor, target: Tensor) -> list[int]:
    """The order with the highest mean SI-SDR, of one example, by trying all."""
    waves, wanted = (signals[:, 0].double().numpy() for signals in (estimate, target))
    return list(
        max(
            permutations(range(len(waves))),
            key=lambda order: np.mean([si_sdr(wanted[t], waves[e]) for e, t in enumerate(order)]),
        )
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), st.integers(0, 2**20), st.floats(0.2, 3))
def test_the_best_order_is_the_best_of_all_permutations(sources, seed, error):
    target = noise(3, sources, 1, 400, seed=seed)
    shuffled = target[:, torch.randperm(sources, generator=torch.Generator().manual_seed(seed))]
    estimate = shuffled + error * noise(3, sources, 1, 400, seed=seed + 1)
    assert best_order(estimate, target).tolist() == [by_hand(*pair) for pair in zip(estimate, target, strict=True)]


def test_si_sdr_in_the_best_order_is_the_least_loss_of_all_orders():
    target = noise(1, 3, 1, 2000)
    estimate = target[:, [2, 0, 1]] + 0.5 * noise(1, 3, 1, 2000, seed=1)
    loss = create("si_sdr")
    mixture = target.sum(1, keepdim=True)
    matched = target.take_along_dim(best_order(estimate, target)[:, :, None, None], dim=1)
    every = [loss(estimate, target[:, list(order)], mixture) for order in permutations(range(3))]
    torch.testing.assert_close(neg_si_sdr(estimate, matched, mixture), min(every))


def test_what_is_no_number_has_some_order():
    """The loss stays no number, so that the step is skipped and counted."""
    target = noise(1, 2, 1, 500)
    assert sorted(best_order(target * torch.nan, target)[0].tolist()) == [0, 1]


def test_a_silent_source_leaves_the_others_their_order():
    target = noise(1, 3, 1, 500)
    target[0, 1] = 0
    estimate = target[:, [2, 1, 0]] + 0.1 * noise(1, 3, 1, 500, seed=1)
    assert best_order(estimate, target).tolist() == [[2, 1, 0]]
