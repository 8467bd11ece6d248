"""``enhance live``: from a microphone to speakers, or from a pipe to a pipe, while it is being said."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import typer

from enhance.console import note, stderr, stdout, warn
from enhance.errors import EnhanceError

if TYPE_CHECKING:
    from enhance.inference.live import Live, Meter

DEFAULT_MODEL = "dcunet-s"  # the default for files hears too far ahead
LONGEST_DELAY = 0.1  # s of a model: a conversation bears 0.15 from mouth to ear (ITU-T G.114)


def live(
    stdin: bool = typer.Option(False, "--stdin", help="Raw samples from stdin to stdout, in place of devices."),
    rate: int | None = typer.Option(
        None, "--rate", min=1000, max=768000, help="Hz. Default: the input device's own.", show_default=False
    ),
    channels: int = typer.Option(1, "--channels", min=1, help="Of input and output."),
    form: str = typer.Option("s16le", "--format", help="Of raw samples: s16le, s32le or f32le."),
    source: str | None = typer.Option(None, "--input", help="Device to listen to: its number or a part of its name."),
    sink: str | None = typer.Option(None, "--output", help="Device to play on. Default: the system's, as for --input."),
    model: str = typer.Option(DEFAULT_MODEL, "--model", "-m", help="Name from `enhance models`, or a file."),
    strength: float = typer.Option(1.0, "--strength", "-s", help="0 leaves the input as it is, 1 is all."),
    list_devices: bool = typer.Option(False, "--list-devices", help="List the audio devices, and do nothing else."),
    as_json: bool = typer.Option(False, "--json", help="Report in JSON: on stdout, with --stdin on stderr."),
) -> None:
    """Remove noise from speech while it is being said, until Ctrl-C or the end of stdin.

    Says its delay at the beginning, and at the end how long the blocks took. After the delay the output is
    that of `enhance denoise --listen 0` with the same model, sample by sample, at the usual levels of speech.
    """
    if list_devices:
        _list_devices()
    elif stdin:
        if source or sink:
            raise EnhanceError("--stdin with --input or --output", "take the pipe or devices")
        _through_pipe(rate, channels, form, model, strength, as_json)
    else:
        _through_devices(rate, channels, source, sink, model, strength, as_json)


def _list_devices() -> None:
    from rich.table import Table

    from enhance.inference.sound_card import Device, devices

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in Device._fields:
        table.add_column(title.replace("_", " "))
    for device in devices():
        table.add_row(*map(str, device))
    stdout().print(table)


def _through_pipe(rate: int | None, channels: int, form: str, model: str, strength: float, as_json: bool) -> None:
    if rate is None:
        raise EnhanceError("--stdin: raw samples do not say their rate", "give it with --rate")
    source, sink = _binary(sys.stdin, "stdin"), _binary(sys.stdout, "stdout")
    from enhance.inference.live import Meter, Pcm, pipe

    pcm = Pcm(form, channels)
    denoiser = _prepared(model, rate, channels, strength)
    note(_delay(denoiser))
    meter = Meter(denoiser)
    try:
        if excess := pipe(denoiser, pcm, source, sink, meter):
            warn(f"stdin: ends within a frame: {excess} of its {pcm.frame} bytes were left out")
    except EnhanceError as error:
        if not meter.times:
            raise
        stderr().print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None  # what was written before is good
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sink.fileno())  # what is buffered goes nowhere, without a complaint
        what = "nobody reads it any more" if isinstance(error, BrokenPipeError) else error.strerror or str(error)
        stderr().print(f"error: stdout: {what}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    finally:
        _report(meter, as_json, sys.stderr)


def _through_devices(
    rate: int | None,
    channels: int,
    source: str | None,
    sink: str | None,
    model: str,
    strength: float,
    as_json: bool,
) -> None:
    from enhance.inference import sound_card

    listener, player = sound_card.find_device("input", source), sound_card.find_device("output", sink)
    rate = rate or round(listener["default_samplerate"])
    from enhance.inference.live import Meter

    denoiser = _prepared(model, rate, channels, strength)
    meter = Meter(denoiser)
    with sound_card.opened(denoiser, source, sink) as stream:
        note(f"{listener['name']} -> {player['name']}; Ctrl-C ends it")
        note(f"{_delay(denoiser)}; {1000 * sum(stream.latency):.1f} ms in the devices")
        try:
            sound_card.run(denoiser, stream, meter)
        finally:
            _report(meter, as_json, sys.stdout)


def _binary(stream: TextIO | None, name: str) -> BinaryIO:
    """The bytes of stdin or stdout; EnhanceError if it is closed or a terminal."""
    if stream is None:
        raise EnhanceError(f"{name}: is closed", "connect a pipe or a file")
    if stream.isatty():
        raise EnhanceError(f"{name}: is a terminal", "connect a pipe or a file of raw samples")
    return stream.buffer


def _prepared(model: str, rate: int, channels: int, strength: float) -> Live:
    from enhance.inference.denoise import check_strength
    from enhance.inference.live import Live, check_streaming
    from enhance.models.checkpoint import load_model

    check_strength(strength)
    network = load_model(model)
    check_streaming(network, model)
    _check_delay(network, model)
    return Live(network, rate, channels, strength)


def _check_delay(network: Any, model: str) -> None:
    """Warn of a model that is for files, although it streams."""
    delay = (network.latency + network.block) / network.sample_rate
    if delay > LONGEST_DELAY:
        warn(f"{model}: its delay of {1000 * delay:.0f} ms is too long for live sound; {DEFAULT_MODEL} is made for it")


def _delay(denoiser: Live) -> str:
    """What a listener has to expect."""
    rate = denoiser.sample_rate
    delay, block = 1000 * denoiser.delay / rate, 1000 * denoiser.block / rate
    return (
        f"{rate} Hz, {denoiser.channels} channel{'s' * (denoiser.channels > 1)}: delay {delay + block:.1f} ms "
        f"({denoiser.delay} samples, and a block of {denoiser.block})"
    )


def _report(meter: Meter, as_json: bool, stream: TextIO) -> None:
    if not meter.times:
        return
    report = meter.report()
    if as_json:
        print(json.dumps(dataclasses.asdict(report)), file=stream, flush=True)
    else:
        note(str(report))
