"""``enhance denoise`` is stopped at any moment: what is there is complete or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import soundfile
from kills import command
from toys import noise

from enhance import audio

pytestmark = pytest.mark.slow


@pytest.fixture
def long(tmp_path: Path) -> Path:
    audio.write(tmp_path / "long.wav", noise(900, 16000), 16000)
    return tmp_path / "long.wav"


def start(folder: Path, *arguments: object, **options: Any) -> BaseProcess:
    """``enhance denoise ARGUMENTS...``, stderr going to a file beside that folder."""
    return command("denoise", *arguments, errors=errors_of(folder), **options)


def errors_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".stderr")


def wait_for_work(process: BaseProcess, folder: Path, size: int = 1) -> None:
    """Wait until the temporary file has that many bytes."""
    for _ in range(3000):
        if any(path.stat().st_size >= size for path in folder.glob(".*.part.*")):
            return
        assert process.is_alive(), errors_of(folder).read_text(encoding="utf-8")
        time.sleep(0.02)
    raise AssertionError("it did not begin to write")


def end(process: BaseProcess, folder: Path) -> tuple[int | None, str]:
    """Its exit code and what it said."""
    process.join(60)
    process.kill()  # which does nothing to one that is done
    process.join()
    errors = errors_of(folder).read_text(encoding="utf-8")
    assert "Traceback" not in errors
    return process.exitcode, errors


@pytest.mark.parametrize("before", [None, "an older result"])
@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_cleans_up(long: Path, untrained: str, signal_: signal.Signals, code: int, before: str | None):
    target = long.with_name("clean.wav")
    if before:
        target.write_text(before)
    options = ("--force", "--keep-noise", "--plot", "--prevent-clipping")
    process = start(long.parent, long, "-o", target, "-m", untrained, *options)
    wait_for_work(process, long.parent)
    os.kill(process.pid or 0, signal_)
    assert end(process, long.parent)[0] == code
    assert sorted(path.name for path in long.parent.iterdir()) == (["clean.wav"] if before else []) + ["long.wav"]
    assert not before or target.read_text() == before


def test_killed_it_leaves_no_partial_target_and_the_next_run_cleans_up(long: Path, untrained: str):
    target = long.with_name("clean.wav")
    for size in (1, 1_000_000, 4_000_000):
        process = start(long.parent, long, "-o", target, "-m", untrained)
        wait_for_work(process, long.parent, size)
        process.kill()
        assert end(process, long.parent)[0] == -9
        assert not target.exists()
        assert len(list(long.parent.glob(".clean.wav.*.part.wav"))) == 1  # the one before it is gone
    audio.write(long, noise(1, 16000), 16000)
    assert end(start(long.parent, long, "-o", target, "-m", untrained), long.parent)[0] == 0
    assert soundfile.info(target).frames == 16000
    assert sorted(path.name for path in long.parent.iterdir()) == ["clean.wav", "long.wav"]


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_several_processes_clean_up_even_if_their_parent_is_killed(
    environment: dict[str, str], long: Path, untrained: str, signal_: signal.Signals, code: int
):
    (long.parent / "other.wav").write_bytes(long.read_bytes())
    inputs, out = (long, long.parent / "other.wav"), long.parent / "out"
    line = [sys.executable, "-m", "enhance.cli", "denoise", *inputs, "-o", out, "-m", untrained, "-j", "2"]
    process = subprocess.Popen(
        line,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # which nohup has ignored
    )
    for _ in range(3000):
        if out.exists() and len(list(out.iterdir())) == 2:
            break
        time.sleep(0.02)
    if signal_ != signal.SIGKILL:
        os.killpg(process.pid, signal_)  # Ctrl-C in a terminal, or closing it, reaches them all
    else:
        process.send_signal(signal_)
    _, errors = process.communicate(timeout=60)  # until the last of them has closed stderr
    assert process.returncode == code
    assert "Traceback" not in errors
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "m4a"])
def test_a_full_disk(tmp_path: Path, untrained: str, suffix: str, ffmpeg: str):
    """A limit on the size of files stands for the full disk: writing fails in the middle."""
    audio.write(tmp_path / "noisy.wav", noise(60, 16000), 16000)
    target = tmp_path / f"clean.{suffix}"
    process = start(
        tmp_path, tmp_path / "noisy.wav", "-o", target, "-m", untrained, largest=100_000, PATH=os.environ["PATH"]
    )
    code, errors = end(process, tmp_path)
    assert code == 2
    assert f"clean.{suffix}: cannot be written" in errors
    assert "is the disk full" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["noisy.wav"]
