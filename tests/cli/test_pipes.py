"""``enhance denoise -``: standard input and output in the place of files."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from conftest import Run
from toys import noise

from enhance import audio
from enhance.inference import pipes

Cli = Callable[..., Run]


@pytest.fixture
def noisy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    audio.write("noisy.flac", noise(1, 22050, 2), 22050)
    return Path("noisy.flac")


def denoise(environment: dict[str, str], *arguments: str | Path, given: bytes = b"") -> tuple[int, bytes, str]:
    command = [sys.executable, "-m", "enhance.cli", "denoise", *map(str, arguments)]
    done = subprocess.run(command, env=environment, input=given, capture_output=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def give(monkeypatch: pytest.MonkeyPatch, data: bytes = b"", terminal: bool = False) -> None:
    """What standard input then holds, in this process."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: terminal))


def test_a_pipe_gives_what_a_file_gives(environment, cli: Cli, noisy: Path, untrained: str, monkeypatch):
    assert cli("denoise", noisy, "-o", "file.flac", "-m", untrained).code == 0
    code, out, err = denoise(environment, "-", "-m", untrained, given=noisy.read_bytes())
    assert code == 0, err
    assert out == Path("file.flac").read_bytes()
    assert err.startswith("- -> -: 1.0 s in ")
    give(monkeypatch, noisy.read_bytes())
    run = cli("denoise", "-", "-o", "piped.flac", "-m", untrained, "--keep-noise", "--json")
    assert run.code == 0
    assert '"source": "-", "target": "piped.flac", "noise": "piped.noise.flac"' in run.out
    assert Path("piped.flac").read_bytes() == out
    code, out, err = denoise(environment, noisy, "-o", "-", "-m", untrained, "--format", "wav")
    assert code == 0, err
    assert out.startswith(b"RIFF")
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(out))[0], soundfile.read("file.flac")[0])


def test_what_was_written_without_knowing_its_length(cli: Cli, noisy: Path, untrained: str, monkeypatch):
    """Into a pipe a WAV is written with the largest sizes that its header holds."""
    soundfile.write(wav := io.BytesIO(), noise(1, 16000)[0], 16000, format="WAV", subtype="PCM_16")
    data = bytearray(wav.getvalue())
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = b"\xff" * 4
    give(monkeypatch, bytes(data))
    run = cli("denoise", "-", "-o", "clean.wav", "-m", untrained)
    assert (run.code, run.err.startswith("- -> clean.wav: 1.0 s in ")) == (0, True), run.err
    assert soundfile.info("clean.wav").frames == 16000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-"], "error: -: reading it needs ffmpeg: install ffmpeg and put it on PATH"),
        (["-", "other.wav"], "error: -: standard input or output with several inputs: give one input alone"),
        (["folder", "-o", "-"], "error: folder: several files into standard output: give a folder with -o"),
        (["missing.wav", "-o", "-"], "error: missing.wav: no such file: check the name"),
        (["noisy.flac", "-o", "-", "--plot"], "error: --plot: the output is -, standard output: write to a file"),
        (["-", "--json"], "error: --json: the output is -, standard output: write to a file with -o"),
        (["-", "-o", "a.wav", "--records", "r.jsonl"], "error: --records: is for files, not for -"),
        (["noisy", "-o", "-"], "error: -: a format without an ending of its own: give --format wav"),
    ],
)
def test_wrong_use_is_one_line(cli: Cli, noisy: Path, untrained: str, monkeypatch, no_ffmpeg, arguments, message):
    Path("folder").mkdir()
    Path("noisy").write_bytes(noisy.read_bytes())
    there = sorted(Path().iterdir())
    give(monkeypatch, b"This is not a sound.")
    run = cli("denoise", *arguments, "-m", untrained)
    assert (run.code, run.out) == (2, "")
    assert message in run.err
    assert run.err.count("\n") == 1
    assert sorted(Path().iterdir()) == there


def test_terminals_are_no_pipes(cli: Cli, noisy: Path, untrained: str, monkeypatch):
    give(monkeypatch, terminal=True)
    assert "error: -: standard input is a terminal: send a recording" in cli("denoise", "-", "-m", untrained).err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run = cli("denoise", noisy, "-o", "-", "-m", untrained)
    assert "error: -: standard output is a terminal: give -o FILE" in run.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_full_disk_behind_the_pipe_is_one_line(environment, noisy: Path, untrained: str):
    command = [sys.executable, "-m", "enhance.cli", "denoise", str(noisy), "-o", "-", "-m", untrained]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, timeout=300, check=False)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1].startswith("error: -: cannot be written (No space left on device)")
    assert b"Traceback" not in done.stderr


def test_closed_streams_are_one_line(cli: Cli, noisy: Path, untrained: str, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert cli("denoise", "-", "-o", "a.wav", "-m", untrained).err.startswith("error: -: standard input is closed")


def test_a_file_that_fails_sends_nothing(cli: Cli, tmp_path: Path, untrained: str, monkeypatch):
    audio.write(path := tmp_path / "hole.wav", np.full((1, 9), np.nan, dtype=np.float32), 16000, "FLOAT")
    give(monkeypatch, path.read_bytes())
    run = cli("denoise", "-", "-m", untrained)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("error: -: sample 0 (at 0.000 s) is NaN or infinite")


def test_formats_have_the_endings_that_they_are_written_by():
    for container, ending in pipes.ENDINGS.items():
        assert audio.CONTAINERS[ending] in (container, "WAV")
