"""``enhance live`` through real pipes, and through PortAudio with virtual devices."""

from __future__ import annotations

import contextlib
import ctypes.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from toys import noise

from enhance import audio
from enhance.cli.live import DEFAULT_MODEL
from enhance.inference.denoise import denoise

Cli = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[bytes]]
DEADLINE = 120  # seconds
EXAMPLE = Path(__file__).parents[2] / "examples" / "noisy.wav"


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """``enhance live ARGUMENTS...`` as a process with pipes; after DEADLINE, or the test, it is killed."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: object, **variables: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "enhance.cli", "live", *map(str, arguments)]
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, env={**environment, **variables}, stdin=pipe, stdout=pipe, stderr=pipe)
            stack.enter_context(process)
            stack.callback(process.kill)
            timer = threading.Timer(DEADLINE, process.kill)  # what reads from it then finds the end
            stack.callback(timer.cancel)
            timer.start()
            return process

        yield start


def example(rate: int, channels: int, seconds: float) -> np.ndarray:
    """The example, later in each channel, rounded to 16 bits."""
    wave, example_rate = audio.read(EXAMPLE)
    wave = audio.resample(wave[0], example_rate, rate)
    start, frames = rate // 3, round(seconds * rate)
    wave = np.stack([wave[start * (1 + row) :][:frames] for row in range(channels)])
    return (np.rint(wave * 2**15).clip(-(2**15), 2**15 - 1) / 2**15).astype(np.float32)


@pytest.mark.slow
def test_a_pipe_gives_what_denoise_gives(start: Start):
    rate, channels = 48000, 2
    wave = example(rate, channels, 1.5)
    data = (wave.T * 2**15).astype("<i2").tobytes()
    process = start("--stdin", "--rate", rate, "--channels", channels, "--format", "s16le")
    output, errors = process.communicate(data + b"\0")
    assert process.returncode == 0
    said, warning, report = errors.decode().splitlines()
    delay = int(re.findall(r"delay [\d.]+ ms \((\d+) samples", said)[0])
    assert f"{rate} Hz, {channels} channel" in said
    assert warning == f"warning: stdin: ends within a frame: 1 of its {2 * channels} bytes were left out"
    assert re.fullmatch(r"\d+ blocks of 16\.0 ms: median [\d.]+ ms, 99 % within [\d.]+ ms, \d+ late, 0 dropped", report)
    got = np.frombuffer(output, "<i2").reshape(-1, channels).T / 2**15
    assert got.shape == (channels, wave.shape[1] + delay)
    assert not got[:, :delay].any()
    np.testing.assert_allclose(got[:, delay:], denoise(wave, rate, DEFAULT_MODEL), atol=0.51 / 2**15 + 1e-5)


@pytest.mark.slow
def test_blocks_come_out_while_the_pipe_is_open_and_ctrl_c_ends_it(start: Start, untrained: str):
    process = start("--stdin", "--rate", 16000, "--model", untrained, "--json")
    assert process.stdin is not None
    assert process.stdout is not None
    wave = np.arange(1, 513, dtype="<i2")
    process.stdin.write(wave[:400].tobytes())
    process.stdin.flush()
    silence = process.stdout.read(512)  # the delay, and as much as one block
    process.stdin.write(wave[400:].tobytes())
    process.stdin.flush()
    block = np.frombuffer(process.stdout.read(512), "<i2")
    assert silence == bytes(512)
    np.testing.assert_allclose(block, wave[:256], atol=1)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate()
    assert (process.returncode, rest) == (130, b"")
    assert b"Traceback" not in errors
    report = json.loads(errors.splitlines()[1])
    assert (report["blocks"], report["delay_ms"], report["block_ms"], report["sample_rate"]) == (2, 16.0, 16.0, 16000)


@pytest.mark.slow
def test_what_is_no_sound_in_the_middle_is_no_wrong_usage(start: Start, untrained: str):
    """What was written before stays: exit code 1."""
    process = start("--stdin", "--rate", 16000, "--model", untrained, "--format", "f32le")
    wave = np.full(1024, 0.5, "<f4")
    wave[600] = np.inf
    output, errors = process.communicate(wave.tobytes())
    assert (process.returncode, len(output)) == (1, 2 * 256 * 4)
    assert b"error: the input: sample 600 (at 0.037 s) is NaN or far over full scale: is --format right?" in errors


@pytest.mark.slow
def test_a_reader_that_goes_away(start: Start, untrained: str):
    process = start("--stdin", "--rate", 16000, "--model", untrained)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(bytes(64000))
        process.stdin.close()
    assert process.stderr is not None
    errors = process.stderr.read().decode().splitlines()
    assert process.wait() == 1
    assert errors[1] == "error: stdout: nobody reads it any more"
    assert len(errors) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--stdin: raw samples do not say their rate: give it with --rate"),
        (["--rate", "16000", "--format", "mp3"], "--format mp3: unknown: take one of s16le, s32le, f32le"),
        (["--rate", "16000", "--input", "x"], "--stdin with --input or --output: take the pipe or devices"),
        (["--rate", "16000", "--strength", "2"], "strength 2: give a number from 0"),
        (["--rate", "16000", "--model", "dcunet-10"], "model 'dcunet-10' has no shipped weights"),
        (["--rate", "16000"], "stdin: holds no samples: is the program before it running?"),
    ],
)
def test_bad_input(cli: Cli, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with (tmp_path / "in").open("w+") as source, (tmp_path / "out").open("w") as sink:
        monkeypatch.setattr(sys, "stdin", source)
        monkeypatch.setattr(sys, "stdout", sink)
        code, _, errors = cli("live", "--stdin", *arguments)
    assert code == 2
    assert f"error: {message}" in errors


def test_a_closed_stdin_and_a_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert cli("live", "--stdin", "--rate", "8000")[2] == "error: stdin: is closed: connect a pipe or a file\n"
    master, terminal = os.openpty()
    with os.fdopen(terminal) as source:
        monkeypatch.setattr(sys, "stdin", source)
        code, _, errors = cli("live", "--stdin", "--rate", "8000")
    os.close(master)
    assert (code, errors) == (2, "error: stdin: is a terminal: connect a pipe or a file of raw samples\n")


def test_a_model_that_does_not_stream(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from enhance.models import create, presets
    from enhance.models.checkpoint import save

    save(tmp_path / "late.safetensors", create("dcunet-10"), presets()["dcunet-10"][1], {})
    with (tmp_path / "in").open("w+") as source, (tmp_path / "out").open("w") as sink:
        monkeypatch.setattr(sys, "stdin", source)
        monkeypatch.setattr(sys, "stdout", sink)
        code, _, errors = cli("live", "--stdin", "--rate", "16000", "-m", tmp_path / "late.safetensors")
    assert code == 2
    assert errors.startswith(f"error: {tmp_path}/late.safetensors: does not stream")


# PortAudio and ALSA with files in place of a microphone and of speakers

ALSA = """
pcm.microphone {{ type file slave.pcm {{ type null }} file "/dev/null" infile "{heard}" format "raw" }}
pcm.speakers {{ type file slave.pcm {{ type null }} file "{played}" format "raw" }}
pcm.!default {{ type asym playback.pcm "speakers" capture.pcm "microphone" }}
"""


@pytest.fixture
def sound_card(tmp_path: Path) -> dict[str, str]:
    """The variable with which PortAudio finds devices ``microphone`` and ``speakers``: the files of these names."""
    if ctypes.util.find_library("portaudio") is None or sys.platform != "linux":
        missing = "needs PortAudio and ALSA: apt install libportaudio2"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(missing)
        pytest.skip(missing)
    config = tmp_path / "asound.conf"
    config.write_text(ALSA.format(heard=tmp_path / "microphone", played=tmp_path / "speakers"))
    return {"ALSA_CONFIG_PATH": str(config)}


@pytest.mark.slow
def test_from_a_microphone_to_speakers(start: Start, sound_card: dict[str, str], tmp_path: Path):
    wave = noise(1, 48000)
    (tmp_path / "microphone").write_bytes(np.tile(wave, 2).tobytes())  # float32, and something after what is looked at
    played = tmp_path / "speakers"
    arguments = ("--rate", 48000, "--input", "microphone", "--output", "speakers", "--json")
    process = start(*arguments, **sound_card)
    while process.poll() is None and not (played.exists() and played.stat().st_size > 1.5 * wave.nbytes):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate()
    assert process.returncode == 130, errors
    devices, said = errors.decode().splitlines()
    assert devices == "microphone -> speakers; Ctrl-C ends it"
    assert said.endswith("ms in the devices")
    report = json.loads(out)
    begin = round(report["delay_ms"] * 48) + 768  # a block of silence to start with
    got = np.fromfile(played, dtype=np.float32)
    assert len(got) >= report["blocks"] * 768 > 48000
    assert not got[:begin].any()
    expected = denoise(wave, 48000, DEFAULT_MODEL)[0, :40000]
    np.testing.assert_allclose(got[begin:][:40000], expected, atol=1e-5)
    assert np.abs(expected).max() > 1e-3


def test_the_list_of_devices(start: Start, sound_card: dict[str, str]):
    process = start("--list-devices", **sound_card)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert [line.split()[1:3] for line in out.decode().splitlines()[1:3]] == [
        ["microphone", "ALSA"],
        ["speakers", "ALSA"],
    ]
