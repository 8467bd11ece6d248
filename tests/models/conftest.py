"""What tests of models share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from enhance.nn.complex import ComplexBatchNorm2d


def settle(model: nn.Module) -> nn.Module:
    """Make a fresh model act like a trained one, in evaluation mode.

    No parameter is all zero (an untrained mask may be constant, and any claim about it true), and running
    statistics are those of noise.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | ComplexBatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        dtype = next(model.parameters()).dtype
        model.train()(0.1 * torch.randn(2, model.channels, 8192, generator=generator, dtype=dtype))
        for norm in norms:
            norm.momentum = 0.1
    return model.eval()


@pytest.fixture(name="settle", scope="session")
def settle_fixture() -> Callable[[nn.Module], nn.Module]:
    return settle
