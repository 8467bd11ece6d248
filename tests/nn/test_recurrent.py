"""The recurrence with gates that look at the input alone, and the convolution over frames that follow."""

from __future__ import annotations

import torch

from enhance.nn.recurrent import MinGRU, RowConv, linear_recurrence


def test_linear_recurrence_is_the_loop_that_defines_it():
    generator = torch.Generator().manual_seed(0)
    decay, increment = torch.rand(2, 5, 3, 2, dtype=torch.float64, generator=generator).requires_grad_()
    first = torch.rand(3, 2, dtype=torch.float64, generator=generator).requires_grad_()
    expected, h = [], first
    for n in range(5):
        h = decay[n] * h + increment[n]
        expected.append(h)
    torch.testing.assert_close(linear_recurrence(decay, increment, first), torch.stack(expected))
    assert torch.autograd.gradcheck(linear_recurrence, (decay, increment, first))


def test_mingru_in_two_parts_is_mingru_in_one():
    torch.manual_seed(0)
    layer = MinGRU(3, 4)
    x, zeros = torch.randn(7, 2, 3), torch.zeros(1, 2, 4)
    whole, end = layer(x, (zeros, zeros))
    first, between = layer(x[:3], (zeros, zeros))
    second, last = layer(x[3:], between)
    torch.testing.assert_close(torch.cat((first, second)), whole)
    torch.testing.assert_close(last[0], end[0])
    gate, candidate, output = layer.project(x[0]).chunk(3, dim=-1)
    torch.testing.assert_close(whole[0], gate.sigmoid() * candidate * torch.nn.functional.silu(output))  # from h = 0


def test_row_convolution_sums_what_a_matrix_makes_of_each_frame():
    torch.manual_seed(0)
    layer = RowConv(3, frames=4)
    assert not layer.weight.any()
    torch.nn.init.normal_(layer.weight)
    x = torch.randn(9, 2, 5, 3)
    side_by_side = torch.cat([x[n : n + 6] for n in range(4)], dim=-1)
    torch.testing.assert_close(layer(x), side_by_side @ layer.weight.T)
