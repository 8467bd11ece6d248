"""``enhance denoise`` is stopped at any moment: what is there is complete or not there."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from toys import noise

from enhance import audio

pytestmark = pytest.mark.slow


@pytest.fixture
def long(tmp_path: Path) -> Path:
    audio.write(tmp_path / "long.wav", noise(900, 16000), 16000)
    return tmp_path / "long.wav"


def start(environment: dict[str, str], *arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "enhance.cli", "denoise", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options)  # type: ignore


def wait_for_work(process: subprocess.Popen[str], folder: Path, size: int = 1) -> Path:
    """Wait until the temporary file has that many bytes."""
    for _ in range(3000):
        for path in folder.glob(".*.part.*"):
            if path.stat().st_size >= size:
                return path
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.02)
    raise AssertionError("it did not begin to write")


@pytest.mark.parametrize("before", [None, "an older result"])
@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_cleans_up(
    environment: dict[str, str],
    long: Path,
    untrained: str,
    signal_: signal.Signals,
    code: int,
    before: str | None,
):
    target = long.with_name("clean.wav")
    if before:
        target.write_text(before)
    process = start(
        environment,
        long,
        "-o",
        target,
        "-m",
        untrained,
        "--force",
        "--keep-noise",
        "--plot",
        "--prevent-clipping",
    )
    wait_for_work(process, long.parent)
    process.send_signal(signal_)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert sorted(path.name for path in long.parent.iterdir()) == (["clean.wav"] if before else []) + ["long.wav"]
    assert not before or target.read_text() == before


def test_killed_it_leaves_no_partial_target_and_the_next_run_cleans_up(
    environment: dict[str, str], long: Path, untrained: str
):
    target = long.with_name("clean.wav")
    for size in (1, 2_000_000, 10_000_000):
        process = start(environment, long, "-o", target, "-m", untrained)
        wait_for_work(process, long.parent, size)
        process.kill()
        process.communicate(timeout=60)
        assert not target.exists()
        assert len(list(long.parent.glob(".clean.wav.*.part.wav"))) == 1  # the one before it is gone
    audio.write(long, noise(1, 16000), 16000)
    assert start(environment, long, "-o", target, "-m", untrained).wait(60) == 0
    assert soundfile.info(target).frames == 16000
    assert sorted(path.name for path in long.parent.iterdir()) == ["clean.wav", "long.wav"]


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_several_processes_clean_up_even_if_their_parent_is_killed(
    environment: dict[str, str], long: Path, untrained: str, signal_: signal.Signals, code: int
):
    (long.parent / "other.wav").write_bytes(long.read_bytes())
    inputs, out = (long, long.parent / "other.wav"), long.parent / "out"
    process = start(environment, *inputs, "-o", out, "-m", untrained, "-j", 2, start_new_session=True)
    for _ in range(3000):
        if out.exists() and len(list(out.iterdir())) == 2:
            break
        time.sleep(0.02)
    if signal_ == signal.SIGINT:
        os.killpg(process.pid, signal_)  # a terminal's Ctrl-C reaches them all
    else:
        process.send_signal(signal_)
    _, errors = process.communicate(timeout=60)  # until the last of them has closed stderr
    assert process.returncode == code
    assert "Traceback" not in errors
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "m4a"])
def test_a_full_disk(environment: dict[str, str], tmp_path: Path, untrained: str, suffix: str, ffmpeg: str):
    """A limit on the size of files stands for the full disk: writing fails in the middle."""
    audio.write(tmp_path / "noisy.wav", noise(60, 16000), 16000)
    limit = 100_000

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = start(
        environment,
        tmp_path / "noisy.wav",
        "-o",
        tmp_path / f"clean.{suffix}",
        "-m",
        untrained,
        preexec_fn=small_files,
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"clean.{suffix}: cannot be written" in errors
    assert "is the disk full" in errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["noisy.wav"]
