"""Complex-valued layers on real tensors.

A complex feature map with ``channels`` channels is one real tensor ``(B, 2 * channels, F, N)``: all real
parts first, then all imaginary parts. A complex convolution is then one real convolution with a stacked
kernel, which is what every backend does fastest. An activation that acts on real and imaginary parts
separately (CReLU) is the plain real activation, and a batch normalisation that treats them separately is
:class:`torch.nn.BatchNorm2d` over ``2 * channels``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Size2d = tuple[int, int]  # (frequency, time)


def init_complex_(real: Tensor, imag: Tensor, fan_in: int, fan_out: int, criterion: str = "he") -> None:
    """Fill the two parts of a complex kernel in place, after Trabelsi et al. (2018, section 3.6).

    The modulus is Rayleigh-distributed and the phase uniform, which is the same as independent normal
    parts. The mean squared modulus is ``2 / fan_in`` (``he``) or ``2 / (fan_in + fan_out)`` (``glorot``),
    the fans in complex units.
    """
    fan = {"he": fan_in, "glorot": fan_in + fan_out}[criterion]
    sigma = 1 / math.sqrt(fan)  # the Rayleigh parameter: E|W|² = 2 sigma²
    nn.init.normal_(real, std=sigma)
    nn.init.normal_(imag, std=sigma)


class ComplexConv2d(nn.Module):
    """Complex 2-D convolution, W ∗ h with W = A + iB and h = a + ib: (A∗a − B∗b) + i(B∗a + A∗b).

    ``(B, 2 * in_channels, F, N)`` to ``(B, 2 * out_channels, F', N')``; sizes as for
    :class:`torch.nn.Conv2d`. ``bias`` adds one complex number per output channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size2d,
        stride: Size2d = (1, 1),
        padding: Size2d = (0, 0),
        bias: bool = False,
        init: str = "he",
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.real = nn.Parameter(torch.empty(out_channels, in_channels, *kernel))
        self.imag = nn.Parameter(torch.empty(out_channels, in_channels, *kernel))
        self.bias = nn.Parameter(torch.zeros(2 * out_channels)) if bias else None
        area = math.prod(kernel)
        init_complex_(self.real, self.imag, in_channels * area, out_channels * area, init)

    def kernel(self) -> Tensor:
        """The stacked real kernel, ``(2 * out_channels, 2 * in_channels, kF, kN)``."""
        to_real = torch.cat([self.real, -self.imag], dim=1)  # (Cout, 2Cin, kF, kN)
        to_imag = torch.cat([self.imag, self.real], dim=1)  # (Cout, 2Cin, kF, kN)
        return torch.cat([to_real, to_imag], dim=0)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.bias, self.stride, self.padding)


class ComplexConvTranspose2d(nn.Module):
    """Complex transposed 2-D convolution: a complex product under each tap of the real one.

    ``(B, 2 * in_channels, F, N)`` to ``(B, 2 * out_channels, F', N')``; sizes as for
    :class:`torch.nn.ConvTranspose2d` without output padding. It is transposed and not conjugated.
    ``bias`` adds one complex number per output channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size2d,
        stride: Size2d = (1, 1),
        padding: Size2d = (0, 0),
        bias: bool = False,
        init: str = "he",
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.real = nn.Parameter(torch.empty(in_channels, out_channels, *kernel))
        self.imag = nn.Parameter(torch.empty(in_channels, out_channels, *kernel))
        self.bias = nn.Parameter(torch.zeros(2 * out_channels)) if bias else None
        area = math.prod(kernel)
        init_complex_(self.real, self.imag, in_channels * area, out_channels * area, init)

    def kernel(self) -> Tensor:
        """The stacked real kernel, ``(2 * in_channels, 2 * out_channels, kF, kN)``."""
        from_real = torch.cat([self.real, self.imag], dim=1)  # (Cin, 2Cout, kF, kN)
        from_imag = torch.cat([-self.imag, self.real], dim=1)  # (Cin, 2Cout, kF, kN)
        return torch.cat([from_real, from_imag], dim=0)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.kernel(), self.bias, self.stride, self.padding)


class ComplexBatchNorm2d(nn.Module):
    """Complex batch normalisation by whitening, after Trabelsi et al. (2018, section 3.5).

    ``Γ V^(−1/2) (x − μ) + β`` per channel, with the mean μ and the 2×2 covariance V of real and imaginary
    part taken over batch, frequency and time, a symmetric scale Γ and a complex shift β: five real
    parameters a channel. In evaluation mode μ and V are running averages. Shape ``(B, 2C, F, N)``, kept.
    bfloat16 and float16 inputs are whitened in float32 and returned in their own type.
    """

    running_mean: Tensor
    running_cov: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        half = 1 / math.sqrt(2)
        # The three rows are rr, ii, ri; with them a whitened channel has unit mean squared modulus.
        self.gamma = nn.Parameter(torch.tensor([half, half, 0.0])[:, None].repeat(1, channels))
        self.beta = nn.Parameter(torch.zeros(2, channels))
        self.register_buffer("running_mean", torch.zeros(2, channels))
        self.register_buffer("running_cov", torch.tensor([half, half, 0.0])[:, None].repeat(1, channels))

    def statistics(self, re: Tensor, im: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``(2, C)`` and covariance ``(3, C)`` of a batch, which also enter the running averages."""
        axes = (0, 2, 3)
        vrr, mean_re = torch.var_mean(re, axes, correction=0)  # (C,)
        vii, mean_im = torch.var_mean(im, axes, correction=0)
        vri = ((re - mean_re[:, None, None]) * (im - mean_im[:, None, None])).mean(axes)
        mean, cov = torch.stack([mean_re, mean_im]), torch.stack([vrr, vii, vri])
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_cov.lerp_(cov.to(self.running_cov), self.momentum)
        return mean, cov

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        re, im = wide.chunk(2, dim=1)  # (B, C, F, N) each
        mean, cov = self.statistics(re, im) if self.training else (self.running_mean, self.running_cov)
        (wrr, wri), (wir, wii) = compose(self.gamma, inverse_root(cov, self.eps))  # (C,) each
        shift_re = self.beta[0] - wrr * mean[0] - wri * mean[1]
        shift_im = self.beta[1] - wir * mean[0] - wii * mean[1]
        # One affine map a channel: half the memory traffic of centring, whitening and scaling in turn.
        out_re = per_channel(wrr) * re + per_channel(wri) * im + per_channel(shift_re)
        out_im = per_channel(wir) * re + per_channel(wii) * im + per_channel(shift_im)
        return torch.cat([out_re, out_im], dim=1).to(x.dtype)  # (B, 2C, F, N)


def per_channel(values: Tensor) -> Tensor:
    """``(C,)`` as ``(C, 1, 1)``, to be broadcast over ``(B, C, F, N)``."""
    return values[:, None, None]


def inverse_root(cov: Tensor, eps: float) -> Tensor:
    """V^(−1/2) of 2×2 covariances given as rows rr, ii, ri, ``(3, C)``; the result is given likewise.

    ``eps`` is added to both variances; the closed form is that of Trabelsi et al. (2018, appendix).
    """
    vrr, vii, vri = cov[0] + eps, cov[1] + eps, cov[2]
    # With eps the determinant is at least eps²; rounding can lose that where the parts are proportional.
    s = (vrr * vii - vri * vri).clamp(min=eps * eps).sqrt()
    t = (vrr + vii + 2 * s).sqrt()
    return torch.stack([vii + s, vrr + s, -vri]) / (s * t)


def compose(gamma: Tensor, root: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The rows of the product of two symmetric 2×2 matrices, each given as rr, ii, ri, ``(3, C)``."""
    grr, gii, gri = gamma
    rrr, rii, rri = root
    return (grr * rrr + gri * rri, grr * rri + gri * rii), (gri * rrr + gii * rri, gri * rri + gii * rii)
