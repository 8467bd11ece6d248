"""Devices, by a module in place of `sounddevice` that does what PortAudio may do; see also tests/cli/test_live.py."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toys import Late, noise

from enhance.errors import EnhanceError
from enhance.inference import sound_card
from enhance.inference.denoise import denoise
from enhance.inference.live import Live, Meter

DEVICES = [
    {"name": "Microphone", "max_input_channels": 1, "max_output_channels": 0, "default_samplerate": 48000.0},
    {"name": "Headphones", "max_input_channels": 0, "max_output_channels": 2, "default_samplerate": 44100.0},
]


class PortAudioError(Exception):
    pass


class Stream:
    """A microphone that hears ``heard``, then Ctrl-C or an ``end``; what is played is kept."""

    latency = (0.01, 0.02)

    def __init__(self, card: FakeCard, **settings: Any) -> None:
        self.card, self.settings, self.position = card, settings, 0

    def __enter__(self) -> Stream:
        self.card.open += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.card.open -= 1

    def read(self, frames: int) -> tuple[np.ndarray, bool]:
        block = self.card.heard[:, self.position : self.position + frames].T
        if len(block) < frames:
            raise self.card.end
        self.position += frames
        return block, self.position == 2 * frames  # the second one comes too late

    def write(self, data: np.ndarray) -> bool:
        assert data.dtype == np.float32
        assert data.flags.c_contiguous
        self.card.played.append(data.copy())
        return len(self.card.played) == 4


class FakeCard:
    """In place of the module ``sounddevice``."""

    PortAudioError = PortAudioError

    def __init__(self, devices: list[dict[str, Any]]) -> None:
        self.devices = [{**device, "index": number, "hostapi": 0} for number, device in enumerate(devices)]
        self.default = SimpleNamespace(device=[0, 1])
        self.heard = noise(0.5, 48000)
        self.end: BaseException = KeyboardInterrupt()
        self.played: list[np.ndarray] = []
        self.streams: list[Stream] = []
        self.open = 0

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "Core"}]

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        if kind is None:
            return self.devices
        if not self.devices:
            raise PortAudioError("Error querying device -1")
        if isinstance(device, str):
            found = [each for each in self.devices if device.lower() in each["name"].lower()]
            if not found:
                raise ValueError(f"No {kind} device matching {device!r}")
            return found[0]
        return self.devices[self.default.device[kind == "output"] if device is None else device]

    def _check(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate not in (44100, 48000):
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        if channels > max(self.devices[device][f"max_{kind}_channels"] for kind in ("input", "output")):
            raise PortAudioError("Invalid number of channels [PaErrorCode -9998]")

    check_input_settings = check_output_settings = _check

    def Stream(self, **settings: Any) -> Stream:
        self.streams.append(Stream(self, **settings))
        return self.streams[-1]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> FakeCard:
    fake = FakeCard(DEVICES)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


def test_the_list_of_devices(card: FakeCard):
    assert sound_card.devices() == [
        (0, "Microphone", "Core", 1, 0, 48000, "input"),
        (1, "Headphones", "Core", 0, 2, 44100, "output"),
    ]


def test_no_devices(card: FakeCard):
    card.devices = []
    with pytest.raises(EnhanceError, match="there is no audio device: plug one in"):
        sound_card.devices()
    with pytest.raises(EnhanceError, match="there is no input device: plug one in"):
        sound_card.find_device("input", None)


def test_devices_are_found_by_number_and_name(card: FakeCard):
    assert sound_card.find_device("input", None)["name"] == "Microphone"
    assert sound_card.find_device("output", "1")["name"] == "Headphones"
    assert sound_card.find_device("output", "phones")["name"] == "Headphones"
    with pytest.raises(
        EnhanceError, match=r"--output speakers: No output device matching 'speakers': .*--list-devices"
    ):
        sound_card.find_device("output", "speakers")


def listen(card: FakeCard, live: Live, meter: Meter) -> None:
    with sound_card.opened(live, None, "phones") as stream:
        sound_card.run(live, stream, meter)


def test_what_is_heard_is_played_without_noise_until_interrupted(card: FakeCard):
    model = Late().eval()
    live = Live(model, 48000, 1)
    meter = Meter(live)
    with pytest.raises(KeyboardInterrupt):
        listen(card, live, meter)
    assert card.open == 0
    settings = card.streams[0].settings
    assert (settings["samplerate"], settings["blocksize"], settings["device"]) == (48000, 768, (None, "phones"))
    played = np.concatenate(card.played)[:, 0]
    begin = live.block + live.delay  # a block of silence to start with
    assert len(played) == 24000 // 768 * 768 + live.block
    assert not played[:begin].any()
    np.testing.assert_allclose(played[begin:], denoise(card.heard[0], 48000, model)[: len(played) - begin], atol=1e-6)
    assert (meter.report().blocks, meter.report().dropped) == (31, 2)


def test_a_device_that_vanishes(card: FakeCard):
    card.end = PortAudioError("Device unavailable [PaErrorCode -9985]")
    live = Live(Late(), 48000, 1)
    meter = Meter(live)
    with pytest.raises(EnhanceError, match=r"^the audio device: Device unavailable: is it plugged in, and free\?$"):
        listen(card, live, meter)
    assert card.open == 0
    assert meter.report().blocks == 31


@pytest.mark.parametrize(
    ("rate", "channels", "message"),
    [
        (8000, 1, r"input device Microphone: 1 channel\(s\) at 8000 Hz: Invalid sample rate: .* runs at 48000 Hz"),
        (48000, 2, r"Microphone: 2 channel\(s\) at 48000 Hz: Invalid number of channels: it has 1 and"),
    ],
)
def test_what_a_device_cannot_do(card: FakeCard, rate: int, channels: int, message: str):
    live = Live(Late(), rate, channels)
    with pytest.raises(EnhanceError, match=message):
        listen(card, live, Meter(live))
    assert not card.streams


def test_without_the_package_or_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(EnhanceError, match=r"the package sounddevice: pip install sounddevice"):
        sound_card.devices()
    monkeypatch.delitem(sys.modules, "sounddevice")
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnhanceError, match=r"the library PortAudio is missing: install it .*libportaudio2"):
        sound_card.devices()
