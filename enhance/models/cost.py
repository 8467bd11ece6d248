"""What a model costs: its parameters, and multiply-accumulates per second of audio."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Number of learned reals; a complex weight counts as two."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs_per_second(model: nn.Module) -> float:
    """Multiply-accumulates per second of audio and channel, of a model in the sense of the registry.

    Convolutions and matrix products count, also those inside recurrent layers; Fourier transforms,
    normalisations and activations do not. It is the difference between a quarter of a second of audio,
    about, and an eighth, so that edges and padding cancel. The model is run once for each, on the device it is on.
    """
    rate: int = model.sample_rate  # pyright: ignore[reportAssignmentType]
    step: int = getattr(model, "align", getattr(model, "block", 1))
    span = -(-rate // (8 * step)) * step  # an eighth of a second, rounded up to whole steps
    return (macs(model, 2 * span) - macs(model, span)) * rate / span


def macs(model: nn.Module, length: int) -> int:
    """Multiply-accumulates of one pass over ``length`` samples per channel, the channels counted as one.

    Those of the beginning that some models hear once before (:mod:`enhance.models.listening`) are left out.
    """
    channels: int = model.channels  # pyright: ignore[reportAssignmentType]
    device = next(model.parameters()).device
    mixture = torch.zeros(1, channels, length, device=device)
    training, listen = model.training, getattr(model, "listen", None)
    model.eval()
    if listen:
        model.listen = 0.0  # pyright: ignore[reportArgumentType]
    # Without oneDNN an LSTM is carried out, and counted, as the matrix products it consists of. (The
    # context manager torch.backends.mkldnn.flags would also set TF32, which warns on most machines.)
    onednn = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(mixture)
    finally:
        torch.backends.mkldnn.enabled = onednn
        model.train(training)
        if listen:
            model.listen = listen
    return counter.get_total_flops() // (2 * channels)
