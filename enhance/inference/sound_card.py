"""Microphones and speakers, through PortAudio (the package ``sounddevice``). Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from enhance.errors import EnhanceError

if TYPE_CHECKING:
    from enhance.inference.live import Live, Meter

UNPLUGGED = "plug one in, or pipe raw samples through --stdin"
LISTED = "`enhance live --list-devices` shows what there is"


class Device(NamedTuple):
    """A device as PortAudio sees it."""

    number: int
    name: str
    driver: str
    inputs: int  # channels
    outputs: int
    sample_rate: int  # Hz, its own
    default: str  # "input", "output", both with a comma, or neither


def portaudio() -> Any:
    """The module ``sounddevice``; EnhanceError if it or the library is missing."""
    try:
        import sounddevice
    except ImportError:
        raise EnhanceError("live audio needs the package sounddevice", "pip install sounddevice") from None
    except OSError:
        hint = "install it (Debian: apt install libportaudio2), or pipe raw samples through --stdin"
        raise EnhanceError("the library PortAudio is missing", hint) from None
    return sounddevice


def devices() -> list[Device]:
    """All devices; EnhanceError if there are none."""
    module = portaudio()
    drivers = [driver["name"] for driver in module.query_hostapis()]
    chosen = dict(zip(("input", "output"), module.default.device, strict=True))
    found = [
        Device(
            number,
            entry["name"],
            drivers[entry["hostapi"]],
            entry["max_input_channels"],
            entry["max_output_channels"],
            round(entry["default_samplerate"]),
            ", ".join(kind for kind, default in chosen.items() if default == number),
        )
        for number, entry in enumerate(module.query_devices())
    ]
    if not found:
        raise EnhanceError("there is no audio device", UNPLUGGED)
    return found


def find_device(kind: str, name: str | None) -> dict[str, Any]:
    """What PortAudio says of a device by number or part of its name, by default the system's.

    ``kind`` is ``"input"`` or ``"output"``. EnhanceError if there is none.
    """
    module = portaudio()
    try:
        return dict(module.query_devices(_identifier(name), kind))
    except (ValueError, module.PortAudioError) as error:
        if name is None:
            raise EnhanceError(f"there is no {kind} device", UNPLUGGED) from None
        raise EnhanceError(f"--{kind} {name}: {_reason(error)}", LISTED) from None


@contextmanager
def opened(live: Live, source: str | None, sink: str | None) -> Iterator[Any]:
    """A running PortAudio stream from ``source`` to ``sink`` in blocks of ``live``.

    EnhanceError if a device cannot do its rate or channels, or is taken.
    """
    module = portaudio()
    for kind, name, check in (
        ("input", source, module.check_input_settings),
        ("output", sink, module.check_output_settings),
    ):
        device = find_device(kind, name)
        try:
            check(device["index"], live.channels, "float32", samplerate=live.sample_rate)
        except (ValueError, module.PortAudioError) as error:
            wanted = f"{live.channels} channel(s) at {live.sample_rate} Hz"
            own = f"it has {device[f'max_{kind}_channels']} and runs at {device['default_samplerate']:.0f} Hz"
            what = f"the {kind} device {device['name']}: {wanted}: {_reason(error)}"
            raise EnhanceError(what, f"{own}; see --rate and --channels") from None
    try:
        with module.Stream(
            samplerate=live.sample_rate,
            blocksize=live.block,
            device=(_identifier(source), _identifier(sink)),
            channels=live.channels,
            dtype="float32",
            latency="low",
        ) as stream:
            yield stream
    except module.PortAudioError as error:
        raise EnhanceError(f"the audio device: {_reason(error)}", "is it plugged in, and free?") from None


def run(live: Live, stream: Any, meter: Meter) -> None:
    """From microphone to speakers until interrupted; EnhanceError (of :func:`opened`) if a device vanishes."""
    stream.write(np.zeros((live.block, live.channels), dtype=np.float32))  # to play while the next is computed
    while True:
        wave, lost = stream.read(live.block)  # (block, channels)
        with meter.block():
            output = live.push(np.ascontiguousarray(wave.T))
        late = stream.write(np.ascontiguousarray(output.T))
        meter.dropped += bool(lost) + bool(late)


def _identifier(name: str | None) -> int | str | None:
    """PortAudio's number of a device, or part of its name."""
    return int(name) if name and name.isdigit() else name


def _reason(error: Exception) -> str:
    """PortAudio's words without its code."""
    return str(error.args[0] if error.args else error).split(" [PaErrorCode")[0].rstrip(".")
