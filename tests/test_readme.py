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
def test_the_commands_work(work):
    assert len(COMMANDS) >= 7
    for command in COMMANDS:
        if command.startswith("enhance denoise noisy.wav"):
            (work / "clean.wav").unlink(missing_ok=True)
        pages.run(command, work)
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


def test_continuous_integration_runs_the_printed_command():
    assert len(SET_UP) == 2
    assert SET_UP[1] in README.read_text(encoding="utf-8").partition("<!-- test -->")[2]
    script = (ROOT / ".ci/run").read_text()
    extract = next(line for line in script.splitlines() if line.startswith("command="))
    found = subprocess.run(
        ["bash", "-c", f'{extract}; echo "$command"'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == SET_UP[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_first_line_sets_up_a_fresh_machine(tmp_path):
    """In a copy of what is in git, with a new virtual environment; the second line is what runs these tests."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(lambda name: (ROOT / name).is_file(), listed.stdout.splitlines()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    bare = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    bare["PIP_NO_COMPILE"] = "0"  # which turns compiling off: little of it is ever imported
    result = subprocess.run(
        ["bash", "-c", SET_UP[0]], cwd=tmp_path, env=bare, text=True, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert soundfile.info(tmp_path / "clean.wav").frames == 160000
