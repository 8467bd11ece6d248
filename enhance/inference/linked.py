"""One mask a source for all channels, made of what a network makes of each alone: the stereo picture of a source stays.

A network that hears one channel at a time takes more of a source from the channel in which it is louder: what is
quieter on the right becomes quieter still, and the source moves to the left. Of the estimates ``y_c`` of a source in
the channels ``x_c`` of the mixture, in each frequency and frame, the mask

    m = Σ_c y_c x_c* / Σ_c |x_c|²,    y_c := m x_c

is the one with the least squared error ``Σ_c |y_c - m x_c|²``, in which the louder channel, where the source is heard
best, counts most. Estimates that sum to the mixture still do: their masks sum to one. Level and time between channels
are those of the mixture, of the source and of what is left of the others.
"""

from __future__ import annotations

from torch import Tensor

from enhance.inference.spectral import SpectralStage

FRAME_SECONDS = 0.032
CHUNK_SECONDS = 4.0
TINY = 1e-20  # power of silence, where a mask is zero


def linked_masks(sources: int, channels: int, sample_rate: int) -> SpectralStage:
    """The masks as a stage."""
    return SpectralStage(masked, sources, channels, sample_rate, FRAME_SECONDS, CHUNK_SECONDS)


def masked(spectra: Tensor) -> Tensor:
    """Spectra of mixture and estimates, complex ``(1 + sources, C, F, frames)``, to those of new estimates.

    Those are ``(sources, C, F, frames)``.
    """
    mixture, estimates = spectra[0], spectra[1:]
    power = (mixture.real.square() + mixture.imag.square()).sum(0) + TINY  # (F, frames)
    masks = (estimates * mixture.conj()).sum(1) / power  # (sources, F, frames)
    return masks[:, None] * mixture
