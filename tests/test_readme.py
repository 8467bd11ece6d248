"""The README's commands, run as printed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pages
import pytest
import soundfile

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SET_UP = [command for command in pages.commands(README) if command.startswith("python3")]
COMMANDS = [command for command in pages.commands(README) if command.startswith("enhance ")]
COMMANDS.sort(key=lambda command: command.startswith("enhance bench"))  # which scores what the others trained


@pytest.fixture
def work(tmp_path: Path, audio_folders: dict[str, Path], ffmpeg: str) -> Path:
    """A folder with what the README's user has."""
    return pages.fill(tmp_path, audio_folders, ffmpeg)


@pytest.mark.slow
def test_the_commands_work(work, cli, monkeypatch):
    """The first one in a shell, the others in this process, which has PyTorch already."""
    monkeypatch.chdir(work)
    assert len(COMMANDS) >= 7
    for number, command in enumerate(COMMANDS):
        if command.startswith("enhance denoise noisy.wav"):
            (work / "clean.wav").unlink(missing_ok=True)
        if number == 0:
            pages.run(command, work)
        else:
            pages.run_here(command, cli)
    assert soundfile.info(work / "clean.wav").frames == 24000
    assert (work / "talk-clean.mp4").exists()
    assert (work / "clean/deep/b.wav").exists()
    assert (work / "listen.html").exists()
    assert {path.name for path in (work / "plots").iterdir()} == {"distributions.png", "gain.png"}  # no speed known


def test_the_python_example_works(work):
    text = next(block.text for block in pages.blocks(README) if block.kind == "python")
    result = subprocess.run(
        [sys.executable, "-c", text + "\nassert clean.shape == wave.shape"],
        cwd=work,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_options_of_what_runs_on_several_machines():
    several = [command for command in pages.commands(README) if command.startswith(("torchrun", "srun"))]
    assert len(several) == 2
    for command in several:
        pages.options_exist(command)


def test_continuous_integration_runs_the_printed_commands(tmp_path):
    """Both of them, in a fresh clone; the second is what runs these tests."""
    assert len(SET_UP) == 2
    _, start, commands = (ROOT / ".ci/run").read_text(encoding="utf-8").partition("printed() {")
    shutil.copy(README, tmp_path)
    found = subprocess.run(
        ["bash", "-c", start + commands.replace('eval "$command"', "true")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines() == [f"+ {command}" for command in SET_UP]


@pytest.mark.skipif(not os.environ.get("CI"), reason="continuous integration runs the README's first command before")
def test_the_first_command_has_denoised_the_example():
    assert soundfile.info(ROOT / "clean.wav").frames == soundfile.info(ROOT / "examples/noisy.wav").frames
