"""The compact model: a causal U-Net over frequency with recurrence over time, for a CPU. Our own design.

In the spirit of the Deep Complex U-Net (a complex spectrum goes in, a polar-bounded complex mask comes
out, encoder and decoder are joined by skips), in real arithmetic and with a memory in place of context:

1. STFT with a square-root Hann window, two frames a window unless ``hop`` says otherwise; |X| is
   compressed to |X|^0.3, the phase kept.
2. Three convolutions over frequency halve 256 bins to 32 bands (the Nyquist bin takes its neighbour's mask).
3. Blocks of an LSTM (or a MinGRU) along time, shared by the bands, and an MLP across bands.
4. Three transposed convolutions back to 256 bins, each with a skip from its encoder.
5. With a ``lookahead``, bands also hear so many of the frames that follow theirs before the blocks see them
   (:class:`~enhance.nn.recurrent.RowConv`), and the output is as much later.
   With a ``time_stride`` s the blocks, where most of the time goes, hear every s-th frame alone; the decoders get what
   lies between their outputs, and the encoders' skips of every frame.
6. A complex mask for each source (and channel, where several are seen together), ``bound * tanh(|O|) * O / |O|``
   (equation of the paper's BDT, times a bound) unless ``mask`` says otherwise: at the start of training it is one over
   the number of sources everywhere, so that an untrained network leaves its input alone. With several ``inputs`` each
   has masks of its own, and what they leave is summed: the first one is the mixture, and the others' begin with zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enhance.errors import EnhanceError
from enhance.models.compact_sizes import check_sizes
from enhance.models.listening import checked, heard
from enhance.nn import masks
from enhance.nn.consistency import check_consistent, mixture_consistent
from enhance.nn.recurrent import BandConv, Recurrence, RowConv, State, TimeFrequencyBlock, zero_state
from enhance.stft import frames_to_spectra, spectra_to_frames, sqrt_hann

PRESETS: dict[str, dict[str, Any]] = {
    "dcunet-s": {"widths": [16, 32, 48], "hidden": 64, "blocks": 3},
    "dcunet-m": {"widths": [16, 32, 48], "hidden": 128, "blocks": 5, "lookahead": 4, "listen": 4.0},
    "separator-s": {
        "widths": [16, 32, 48],
        "hidden": 96,
        "blocks": 4,
        "sources": ["speech", "music", "noise"],
        "consistent": True,
    },
    "separator-m": {
        "widths": [16, 32, 48],
        "hidden": 128,
        "blocks": 5,
        "lookahead": 12,
        "sources": ["speech", "music", "noise"],
        "consistent": True,
        "listen": 8.0,
    },
    "stems-s": {
        "widths": [16, 32, 48, 64],
        "hidden": 96,
        "blocks": 4,
        "n_fft": 2048,
        "sample_rate": 44100,
        "sources": ["vocals", "drums", "bass", "other"],
        "channels": 2,
        "consistent": True,
    },
}

# Other masks than ``polar``, to compare with it, and the O at which training begins: near a mask of one, but not so
# near that the bounded ones, which never reach it, have no gradient left.
MASKS = {
    "bdt": (masks.bdt, (1.5, 0.0)),
    "bdss": (masks.bdss, (2.0, -2.0)),
    "ubd": (masks.ubd, (1.0, 0.0)),
    "magnitude": (masks.magnitude, (2.0, 0.0)),
}
FROM_HALF = ("bdss", "magnitude")  # one half or more where O is 0


class MaskNet(nn.Module):
    """Spectra in, masked spectra out; real arithmetic and no STFT, so that all of it can be compiled."""

    def __init__(
        self,
        bins: int,
        widths: list[int],
        hidden: int,
        blocks: int,
        compression: float,
        bound: float,
        recurrence: Recurrence,
        mask: str = "polar",
        sources: int = 1,
        channels: int = 1,
        floor: float = 0.0,
        lookahead: int = 0,
        inputs: int = 1,
        time_stride: int = 1,
    ) -> None:
        super().__init__()
        signals = channels * inputs  # that are seen together
        layers = [3 * signals, *widths[:-1]]
        outputs = [widths[0], *widths[:-1]]
        self.compression = compression
        self.bound = bound
        self.hidden = hidden
        self.bands, self.width = bins // 2 ** len(widths), widths[-1]
        self.encoders = nn.ModuleList(BandConv(a, b) for a, b in zip(layers, widths, strict=True))
        self.band_embedding = nn.Parameter(torch.zeros(self.bands, widths[-1]))
        self.blocks = nn.ModuleList(
            TimeFrequencyBlock(widths[-1], self.bands, hidden, recurrence) for _ in range(blocks)
        )
        self.lookahead, self.time_stride = lookahead, time_stride
        if lookahead:
            self.ahead = RowConv(widths[-1], lookahead)
        self.decoders = nn.ModuleList(
            BandConv(a, b, up=True) for a, b in zip(reversed(widths), reversed(outputs), strict=True)
        )
        self.channels, self.inputs = channels, inputs
        self.head = nn.Linear(widths[0] + 3 * signals, 2 * sources * signals)
        nn.init.normal_(self.band_embedding, std=0.02)
        nn.init.zeros_(self.head.weight)
        if mask not in ("polar", *MASKS):
            raise EnhanceError(f"CompactUNet: mask = {mask!r}", f"choose from polar, {', '.join(MASKS)}")
        if mask == "polar" and bound * sources <= 1:
            hint = f"give more than {1 / sources:g}, which is the mask that training begins with"
            raise EnhanceError(f"CompactUNet: bound = {bound!r}", hint)
        if inputs > 1 and mask in FROM_HALF:
            raise EnhanceError(f"CompactUNet: mask = {mask!r} with {inputs} inputs", "it does not begin with zero")
        self.mask = mask
        self.floor = floor
        # The mask that leaves the input alone, shared out among the sources: bound * tanh(|O|) = 1 / sources.
        start = (math.atanh(1 / (bound * sources)), 0.0) if mask == "polar" else MASKS[mask][1]
        with torch.no_grad():
            self.head.bias.unflatten(0, (-1, inputs, 2))[:, 1:] = 0.0
            self.head.bias.unflatten(0, (-1, inputs, 2))[:, 0] = torch.tensor(start)

    def forward(
        self, spectra: Tensor, state: list[State], masked: bool = True, held: Tensor | None = None
    ) -> tuple[Tensor, list[State], Tensor | None]:
        """Spectra ``(N, R, F, C * I, 2)``, real and imaginary part last, to masked ``(N, R, F, S, C, 2)``, and memory.

        Of each channel the I inputs are next to each other. With a lookahead the last frames are only listened to: so
        many fewer are masked. The memory is the states of the blocks and, with stride, the bands ``(1, R, K, C)`` that
        they ended with, which are ``held`` for the next frames; where none are, the first ones take their place. Where
        states are all that is wanted, nothing is masked or held, and bands are given in place of masked spectra.
        """
        stride = self.time_stride
        if not masked:
            spectra, stride = spectra[stride - 1 :: stride], 1
        x, features, skips = self._encode(spectra, stride)
        frames = stride * len(x)
        new_state = []
        for block, previous in zip(self.blocks, state, strict=True):
            x, last = block(x, previous)
            new_state.append(last)
        if not masked:
            return x, new_state, None
        between = x if stride == 1 else self._between(x[:1] if held is None else held, x)
        decoded = self._decode(between, features[:frames], [skip[:frames] for skip in skips], spectra[:frames])
        return decoded, new_state, x[-1:] if stride > 1 else None

    # What is before and after the recurrence, which a compiler leaves out, are functions: each is then compiled whole.

    def _encode(self, spectra: Tensor, stride: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The bands ``(N / stride, R, K, C)`` that the blocks begin with, the input's features, the encoders' outputs.

        Of each ``stride`` frames the blocks hear the last.
        """
        features = self._compress(spectra[:, :, :-1]).flatten(-2)  # (N, R, bins, 3 C)
        x = features
        skips = []
        for encoder in self.encoders:
            x = encoder(x)  # (N, R, K, C), K halved
            skips.append(x)
        x = x[stride - 1 :: stride]
        if self.lookahead:
            x = x[: -self.lookahead] + self.ahead(x[1:])
        return x + self.band_embedding, features, skips

    def _between(self, held: Tensor, x: Tensor) -> Tensor:
        """``(N, R, K, C)`` and what was before it, to ``(N * time_stride, R, K, C)``: linear in between."""
        before = torch.cat((held, x[:-1]))
        shares = [(n + 1) / self.time_stride for n in range(self.time_stride - 1)]
        return torch.stack([before + share * (x - before) for share in shares] + [x], dim=1).flatten(0, 1)

    def _decode(self, x: Tensor, features: Tensor, skips: list[Tensor], spectra: Tensor) -> Tensor:
        """The masked spectra of what the blocks make of the bands."""
        for decoder, skip in zip(self.decoders, reversed(skips), strict=True):
            x = decoder(x + skip)  # (N, R, K, C), K doubled
        output = self.head(torch.cat((x, features), dim=-1)).float()
        mask = self._mask(output.unflatten(-1, (-1, self.channels * self.inputs, 2)))  # (N, R, bins, S, C * I, 2)
        mask = torch.cat((mask, mask[:, :, -1:]), dim=2)  # (N, R, F, S, C * I, 2): the Nyquist bin as its neighbour
        re, im = spectra[..., None, :, 0], spectra[..., None, :, 1]
        m_re, m_im = mask[..., 0], mask[..., 1]
        products = re * m_re - im * m_im, re * m_im + im * m_re  # of a channel the inputs are next to each other
        sums = [reduce(torch.add, (part[..., n :: self.inputs] for n in range(self.inputs))) for part in products]
        return torch.stack(sums, dim=-1)

    def _compress(self, spectra: Tensor) -> Tensor:
        """Real and imaginary part with the modulus raised to ``compression``, and that modulus itself."""
        re, im = spectra.split(1, dim=-1)
        modulus = (re * re + im * im + 1e-12).sqrt()
        compressed = modulus.pow(self.compression)
        return torch.cat((spectra * (compressed / modulus), compressed), dim=-1)

    def _mask(self, output: Tensor) -> Tensor:
        """The mask of the network's output O, both ``(..., 2)``."""
        re, im = output.unbind(-1)
        re, im = masks.polar(re, im, self.bound) if self.mask == "polar" else MASKS[self.mask][0](re, im)
        if self.floor:
            kept: float | Tensor = self.floor
            if self.inputs > 1:  # of the mixture, and of no other input
                kept = self.floor * (torch.arange(re.shape[-1], device=re.device) % self.inputs == 0)
            re, im = kept + (1 - self.floor) * re, (1 - self.floor) * im
        return torch.stack((re, im), dim=-1)


@dataclass
class StreamState:
    """What a stream carries from chunk to chunk; rows are batch x channels."""

    history: Tensor  # the last samples of the inputs, (rows * I, latency)
    overlap: Tensor  # what the last frames add to the next samples of the output, (rows, S, n_fft - hop)
    lstm: list[State]
    held: Tensor | None = None  # with a time_stride the bands that the blocks ended with


@dataclass
class RestartedState(StreamState):
    """That of a stream which begins with a memory: so many frames, of silence before it, are not to enter that.

    A class of its own, since the state of a stream that begins without is tensors alone, as an exported model's is.
    """

    silent: int = 0


def _silent(state: StreamState) -> int:
    return state.silent if isinstance(state, RestartedState) else 0


class CompactUNet(nn.Module):
    """A streaming denoiser or separator: mixture ``(B, C, T)`` to ``(B, S, C, T)``, by default at 16 kHz.

    Channels are independent; with ``channels`` above one, so many are seen together, as in music, and each has masks of
    its own. With ``consistent`` the estimates of several sources sum to the mixture. Of the mixture the share ``floor``
    always stays, 0.01 for -40 dB: a mask M becomes ``floor + (1 - floor) M``. With ``inputs`` above one it also takes
    estimates ``(B, S, C, T)`` of a model before it, S = ``inputs - 1``. ``hop`` divides ``n_fft``, of which it is half
    unless given; the blocks hear a frame in ``time_stride``, so that a chunk is a multiple of
    ``block = hop * time_stride``. The model looks ahead no further than one window and ``lookahead`` of the frames that
    the blocks hear: ``latency`` is ``n_fft - hop + lookahead * block`` samples. In a whole signal it hears the first
    ``listen`` seconds once before it begins (:mod:`enhance.models.listening`). Raises EnhanceError for a floor that is
    no share, an ``n_fft`` that cannot be halved so often, a ``hop`` that is no such part, a ``time_stride``
    or ``hidden`` that is no whole number above zero, and a ``bound`` that the mask of the beginning would be above.
    """

    def __init__(
        self,
        widths: list[int],
        hidden: int,
        blocks: int,
        n_fft: int = 512,
        hop: int | None = None,
        compression: float = 0.3,
        bound: float = 2.0,
        recurrence: Recurrence = "lstm",
        mask: str = "polar",
        sample_rate: int = 16000,
        sources: Sequence[str] = ("speech",),
        consistent: bool = False,
        channels: int = 1,
        floor: float = 0.0,
        lookahead: int = 0,
        inputs: int = 1,
        listen: float = 0.0,
        time_stride: int = 1,
    ) -> None:
        super().__init__()
        check_consistent(consistent, sources)
        hop = n_fft // 2 if hop is None else hop
        check_sizes(len(widths), hidden, n_fft, hop, time_stride, floor)
        self.sample_rate = sample_rate
        self.sources = tuple(sources)
        self.consistent = consistent
        self.channels = channels
        self.n_fft, self.hop = n_fft, hop
        self.block = self.hop * time_stride
        self.overlap = n_fft - self.hop
        self.latency = self.overlap + lookahead * self.block
        self.listen = checked(listen)
        self.net = MaskNet(
            n_fft // 2,
            widths,
            hidden,
            blocks,
            compression,
            bound,
            recurrence,
            mask,
            len(sources),
            channels,
            floor,
            lookahead,
            inputs,
            time_stride,
        )
        self.window: Tensor
        self.register_buffer("window", sqrt_hann(n_fft), persistent=False)

    def forward(self, mixture: Tensor, *earlier: Tensor) -> Tensor:
        """Estimates ``(B, S, C, T)`` of a whole signal ``(B, C, T)``: the stream, without its delay."""
        length = mixture.shape[-1]
        padding = (0, self.following(length))
        state = heard(self, mixture)
        estimates, _ = self.stream(F.pad(mixture, padding), state, *(F.pad(waves, padding) for waves in earlier))
        return estimates[..., self.latency : self.latency + length]

    def following(self, length: int) -> int:
        """How many samples of silence the stream takes after a signal of that length to give all of it."""
        return -(length + self.latency) % self.block + self.latency

    def restarted(self, state: StreamState) -> StreamState:
        """That state at the beginning of a signal: what was heard is remembered, but none of it is still to come.

        With a lookahead the first frames are of the silence before the signal. They do not reach the memory.
        """
        none = torch.zeros_like(state.history), torch.zeros_like(state.overlap)
        return RestartedState(*none, state.lstm, silent=self.net.lookahead)

    def stream(self, chunk: Tensor, state: StreamState | None, *earlier: Tensor) -> tuple[Tensor, StreamState]:
        """The next ``(B, C, k * block)`` samples to as many of the estimate, ``latency`` samples earlier ones.

        ``state`` is what the previous call returned, ``None`` at the beginning; ``earlier`` are further inputs, such as
        a first model's estimates, ``(B, ·, C, k * block)``.
        """
        batch, channels, length = chunk.shape
        x, state = self._joined(chunk, state, *earlier)
        masked, lstm, held = self._masked(self._spectra(x), state)
        synthesis = self.window * (2 * self.hop / self.n_fft)  # the squared windows sum to n_fft / (2 hop)
        masked = torch.view_as_complex(masked).permute(1, 4, 3, 2, 0).flatten(0, 1)  # (RC, S, F, N)
        y = spectra_to_frames(masked, synthesis, self.hop)  # (RC, S, n_fft - hop + T)
        y = torch.cat((y[..., : self.overlap] + state.overlap, y[..., self.overlap :]), dim=-1)
        kept = x[:, length:], y[..., length:], lstm, held
        silent = _silent(state) - length // self.block
        following = RestartedState(*kept, silent=silent) if silent > 0 else StreamState(*kept)
        estimates = y[..., :length]
        if self.consistent:
            mixture = x[:: self.net.inputs, :length]  # as late as they are
            estimates = mixture_consistent(estimates, mixture)
        return estimates.reshape(batch, channels, -1, length).transpose(1, 2), following

    def hear(self, chunk: Tensor, state: StreamState | None, *earlier: Tensor) -> StreamState:
        """What :meth:`stream` remembers, for less, since no estimate is made; to be :meth:`restarted`."""
        x, state = self._joined(chunk, state, *earlier)
        _, lstm, _ = self.net(self._spectra(x), state.lstm, masked=False)
        return StreamState(x[:, chunk.shape[-1] :], state.overlap, lstm)

    def _masked(self, spectra: Tensor, state: StreamState) -> tuple[Tensor, list[State], Tensor | None]:
        """The masked spectra ``(N, R, F, S, C, 2)``, and the memory, which frames that are not to enter it do not."""
        stride = self.net.time_stride
        frames = len(spectra) // stride - self.net.lookahead  # of the blocks
        silent = min(_silent(state), frames)
        silence = spectra.new_zeros(silent * stride, *spectra.shape[1:3], len(self.sources), self.channels, 2)
        if silent == frames:
            return silence, state.lstm, state.held
        masked, lstm, held = self.net(spectra[silent * stride :], state.lstm, True, state.held)
        return torch.cat((silence, masked)) if silent else masked, lstm, held

    def _joined(self, chunk: Tensor, state: StreamState | None, *earlier: Tensor) -> tuple[Tensor, StreamState]:
        """The inputs with the history before them, ``(RCI, latency + T)``, and the state, of the beginning if none."""
        batch, channels, _ = chunk.shape
        x = torch.cat((chunk[:, None], *earlier), dim=1).transpose(1, 2).flatten(0, 2)  # (BCI, k * block)
        if state is None:
            history = x.new_zeros(x.shape[0], self.latency)
            overlap = x.new_zeros(batch * channels, len(self.sources), self.overlap)
            rows = batch * channels // self.channels  # of the network: channels that are seen together are one
            lstm = zero_state(len(self.net.blocks), rows * self.net.bands, self.net.hidden, x)
            bands = x.new_zeros(1, rows, self.net.bands, self.net.width) if self.net.time_stride > 1 else None
            state = StreamState(history, overlap, lstm, bands)
        return torch.cat((state.history, x), dim=-1), state

    def _spectra(self, x: Tensor) -> Tensor:
        """What the network takes, ``(N, R, F, CI, 2)``, of ``(RCI, T)``."""
        signals = self.channels * self.net.inputs
        spectra = frames_to_spectra(x, self.window, self.hop).unflatten(0, (-1, signals))  # (R, CI, F, N)
        return torch.view_as_real(spectra.permute(3, 0, 2, 1))
