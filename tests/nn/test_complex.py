"""Complex layers against references in torch's own complex arithmetic, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from enhance.nn.complex import ComplexBatchNorm2d, ComplexConv2d, ComplexConvTranspose2d, inverse_root

SHAPES = [  # kernel, stride, padding
    ((1, 1), (1, 1), (0, 0)),
    ((3, 5), (1, 1), (1, 2)),
    ((5, 3), (2, 1), (2, 1)),
    ((7, 5), (2, 2), (3, 2)),
    ((1, 7), (1, 3), (0, 3)),
]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def to_complex(x: Tensor) -> Tensor:
    """The stacked real map ``(B, 2C, ...)`` as a complex tensor ``(B, C, ...)``."""
    return torch.complex(*x.chunk(2, dim=1))


def to_stacked(x: Tensor) -> Tensor:
    return torch.cat([x.real, x.imag], dim=1)


Pair = tuple[int, int]


def conv_by_taps(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Complex convolution, one matrix product a tap; ``weight`` is complex ``(Cout, Cin, kF, kN)``."""
    x = nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    rows, columns = ((x.shape[2 + i] - weight.shape[2 + i]) // stride[i] + 1 for i in (0, 1))
    result = x.new_zeros(x.shape[0], weight.shape[0], rows, columns)
    for f in range(weight.shape[2]):
        for n in range(weight.shape[3]):
            taps = x[:, :, f : f + rows * stride[0] : stride[0], n : n + columns * stride[1] : stride[1]]
            result += torch.einsum("oi,bifn->bofn", weight[:, :, f, n], taps[:, :, :rows, :columns])
    return result


def transposed_by_taps(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Complex transposed convolution, one matrix product a tap; ``weight`` is ``(Cin, Cout, kF, kN)``."""
    rows, columns = ((x.shape[2 + i] - 1) * stride[i] + weight.shape[2 + i] for i in (0, 1))
    result = x.new_zeros(x.shape[0], weight.shape[1], rows, columns)
    for f in range(weight.shape[2]):
        for n in range(weight.shape[3]):
            target = result[
                :,
                :,
                f : f + (x.shape[2] - 1) * stride[0] + 1 : stride[0],
                n : n + (x.shape[3] - 1) * stride[1] + 1 : stride[1],
            ]
            target += torch.einsum("io,bifn->bofn", weight[:, :, f, n], x)
    return result[:, :, padding[0] : rows - padding[0], padding[1] : columns - padding[1]]


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("layer", "reference"), [(ComplexConv2d, conv_by_taps), (ComplexConvTranspose2d, transposed_by_taps)]
)
def test_convolution_equals_complex_arithmetic(layer, reference, bias, kernel, stride, padding):
    module = layer(3, 4, kernel, stride, padding, bias=bias).double()
    x = torch.randn(2, 6, 9, 13, dtype=torch.float64)
    expected = reference(to_complex(x), torch.complex(module.real, module.imag), stride, padding)
    if bias:
        nn.init.normal_(module.bias)
        expected = expected + torch.complex(module.bias[:4], module.bias[4:])[:, None, None]
    torch.testing.assert_close(module(x), to_stacked(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize("layer", [ComplexConv2d, ComplexConvTranspose2d])
def test_convolution_commutes_with_a_turn_of_the_phase(layer):
    module = layer(2, 3, (3, 3)).double()
    x = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    turn = torch.polar(torch.ones((), dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64))
    turned = to_complex(module(to_stacked(to_complex(x) * turn)))
    torch.testing.assert_close(turned, to_complex(module(x)) * turn, rtol=0, atol=1e-10)


def test_gradients_of_the_convolutions():
    x = torch.randn(1, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    for layer in (ComplexConv2d, ComplexConvTranspose2d):
        module = layer(2, 2, (3, 3), (2, 1), (1, 1), bias=True).double()
        names, values = zip(*module.named_parameters(), strict=True)

        def run(x, *values, module=module, names=names):
            return torch.func.functional_call(module, dict(zip(names, values, strict=True)), x)

        assert torch.autograd.gradcheck(run, (x, *values))


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_whitening(training):
    module = ComplexBatchNorm2d(2).double().train(training)
    with torch.no_grad():
        module.running_cov.copy_(torch.tensor([[2.0, 0.5], [1.0, 3.0], [0.4, -0.3]]))
        module.gamma += 0.3 * torch.randn_like(module.gamma)
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)

    def run(x, gamma, beta):
        return torch.func.functional_call(module, {"gamma": gamma, "beta": beta}, x)

    assert torch.autograd.gradcheck(run, (x, module.gamma, module.beta))


def correlated(rows: int = 4, channels: int = 3) -> Tensor:
    """A map whose real and imaginary parts have means, unequal variances and correlation."""
    re = 2 * torch.randn(rows, channels, 16, 20, dtype=torch.float64) + 5
    im = 0.7 * re + 0.5 * torch.randn_like(re) - 1
    return torch.cat([re, im], dim=1)


def covariance(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means (2C,), variances of both parts and their covariance (C,)."""
    mean = x.mean((0, 2, 3))
    re, im = (x - mean[:, None, None]).chunk(2, dim=1)
    return mean, re.square().mean((0, 2, 3)), im.square().mean((0, 2, 3)), (re * im).mean((0, 2, 3))


def test_whitening_gives_zero_mean_unit_variance_no_correlation():
    module = ComplexBatchNorm2d(3, eps=0).double()
    with torch.no_grad():
        module.gamma.copy_(torch.tensor([[1.0], [1.0], [0.0]]))  # the identity: what is left is the whitening
    mean, vrr, vii, vri = covariance(module(correlated()))
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-10)
    torch.testing.assert_close(vrr, torch.ones_like(vrr), rtol=0, atol=1e-10)
    torch.testing.assert_close(vii, torch.ones_like(vii), rtol=0, atol=1e-10)
    torch.testing.assert_close(vri, torch.zeros_like(vri), rtol=0, atol=1e-10)


def test_at_first_a_channel_has_unit_mean_squared_modulus():
    y = ComplexBatchNorm2d(3).double()(correlated())
    power = to_complex(y).abs().square().mean((0, 2, 3))
    torch.testing.assert_close(power, torch.ones_like(power), rtol=0, atol=1e-3)


def test_normalisation_equals_its_formula():
    module = ComplexBatchNorm2d(3).double()
    nn.init.normal_(module.gamma)
    nn.init.normal_(module.beta)
    x = correlated()
    mean, vrr, vii, vri = covariance(x)
    expected = torch.empty_like(x)
    for c in range(3):
        v = torch.stack([vrr[c] + 1e-5, vri[c], vri[c], vii[c] + 1e-5]).reshape(2, 2)
        values, vectors = torch.linalg.eigh(v)
        root = vectors @ torch.diag(values**-0.5) @ vectors.T  # V^(−1/2) by another road
        gamma = module.gamma[:, c][[0, 2, 2, 1]].reshape(2, 2)
        pair = x[:, [c, c + 3]] - mean[[c, c + 3]][:, None, None]
        whitened = torch.einsum("ij,bjfn->bifn", gamma @ root, pair)
        expected[:, [c, c + 3]] = whitened + module.beta[:, c][:, None, None]
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-10)


def test_inverse_root_worked_by_hand():
    # V = [[5, 4], [4, 5]] has eigenvalues 9 along (1, 1) and 1 along (1, −1), so V^(−1/2) has 1/3 and 1.
    root = inverse_root(torch.tensor([[5.0], [5.0], [4.0]], dtype=torch.float64), eps=0)
    torch.testing.assert_close(root[:, 0], torch.tensor([2 / 3, 2 / 3, -1 / 3], dtype=torch.float64))


def test_evaluation_uses_running_statistics():
    module = ComplexBatchNorm2d(3).double()
    x = correlated()
    for _ in range(200):  # 0.9^200: the initial values are forgotten
        trained = module(x)
    module.eval()
    torch.testing.assert_close(module(x), trained, rtol=0, atol=1e-6)
    torch.testing.assert_close(module(x[:1]), trained[:1], rtol=0, atol=1e-6)  # whatever else is in the batch


def test_running_statistics_after_one_step():
    module = ComplexBatchNorm2d(3).double()
    x = correlated()
    module(x)
    mean, vrr, vii, vri = covariance(x)
    start = torch.tensor([[0.9], [0.9], [0.0]], dtype=torch.float64) / math.sqrt(2)
    torch.testing.assert_close(module.running_mean.flatten(), 0.1 * mean)
    torch.testing.assert_close(module.running_cov, start + 0.1 * torch.stack([vrr, vii, vri]))


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e6])
def test_proportional_parts_stay_finite(scale):
    """Real and imaginary part the same: the covariance is singular but for eps."""
    half = scale * torch.randn(2, 3, 8, 8)
    x = torch.cat([half, half], dim=1).requires_grad_()
    module = ComplexBatchNorm2d(3)
    y = module(x)
    y.square().sum().backward()
    assert torch.isfinite(y).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert module.gamma.grad is not None
    assert torch.isfinite(module.gamma.grad).all()


def test_whitening_is_in_float32_under_autocast():
    x = correlated().float() + 20  # far from zero, where bfloat16 is coarse
    module = ComplexBatchNorm2d(3)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert module.running_cov.dtype == torch.float32
    expected = ComplexBatchNorm2d(3)(x.bfloat16().float())
    torch.testing.assert_close(y.float(), expected, rtol=2**-8, atol=1e-6)  # one rounding, at the end


def test_five_reals_a_channel():
    assert sum(p.numel() for p in ComplexBatchNorm2d(7).parameters()) == 35
    assert sum(b.numel() for b in ComplexBatchNorm2d(7).buffers()) == 35


@pytest.mark.parametrize(("criterion", "fan"), [("he", 64 * 15), ("glorot", (64 + 128) * 15)])
@pytest.mark.parametrize("layer", [ComplexConv2d, ComplexConvTranspose2d])
def test_initialisation_has_rayleigh_modulus_and_uniform_phase(layer, criterion, fan):
    module = layer(64, 128, (5, 3), init=criterion)
    weight = torch.complex(module.real, module.imag).detach()
    power = weight.abs().square() * fan / 2  # exponential with mean 1, if the modulus is Rayleigh
    assert power.mean().item() == pytest.approx(1, abs=0.02)
    assert (power < math.log(2)).float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert (power < math.log(4)).float().mean().item() == pytest.approx(0.75, abs=0.01)
    quarters = torch.histc(weight.angle(), 8, -math.pi, math.pi) / weight.numel()
    torch.testing.assert_close(quarters, torch.full((8,), 1 / 8), rtol=0, atol=0.005)
