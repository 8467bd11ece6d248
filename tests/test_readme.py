"""The README's commands, run as printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import voice

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)
SET_UP = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if line.startswith("python3")]
COMMANDS = [
    line.partition("#")[0].strip()
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.splitlines()
    if line.startswith("enhance ")
]
COMMANDS.sort(key=lambda command: command.startswith("enhance bench"))  # which scores what the others trained
# The recipe as printed trains for hours: here it takes two steps.
SHORT = (
    "--set optim.steps=2 --set optim.batch=2 --set valid.clips=1 --set valid.seconds=2.5 --set data.seconds=0.5 "
    "--set run.compile=false"
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, audio_folders: dict[str, Path]) -> Path:
    """A folder with what the README's user has: recordings, a video, speech and noise, pairs to score, the recipes."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("noisy.wav", "recordings/a.wav", "recordings/deep/b.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, voice(1.5, 1) + 0.01 * np.random.default_rng(0).standard_normal(24000), 16000)
    shutil.copytree(audio_folders["speech"], folder / "clean-speech")
    shutil.copytree(audio_folders["noise"], folder / "noises")
    for number in range(3):
        clean, noise = 0.3 * voice(2.0, number), np.random.default_rng(number).standard_normal(32000)
        for name, wave in (("DATA/noisy", clean + 0.01 * noise), ("DATA/clean", clean), ("other-tool", 0.9 * clean)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name / f"{number}.wav", wave + 0.001 * noise, 16000)
    (folder / "DATA" / "tags.csv").write_text("id,snr\n0,10\n1,10\n2,15\n", encoding="utf-8")
    for name in ("recipes", "examples"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.slow
def test_the_commands_work(work, ffmpeg):
    subprocess.run(
        [
            ffmpeg,
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc=d=1:s=64x64",
            "-i",
            work / "noisy.wav",
            "-shortest",
            "-c:a",
            "aac",
            work / "talk.mp4",
        ],
        check=True,
    )
    assert len(COMMANDS) >= 7
    for command in COMMANDS:
        if command.startswith("enhance denoise noisy.wav"):
            (work / "clean.wav").unlink(missing_ok=True)
        if command.startswith("enhance train"):
            command += " " + SHORT
        if command.startswith("enhance prepare"):
            command += " --rooms 4"
        result = subprocess.run(
            shlex.split(command), cwd=work, env=environment(), capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{command}\n{result.stderr}"
    assert soundfile.info(work / "clean.wav").frames == 24000
    assert (work / "talk-clean.mp4").exists()
    assert (work / "clean/deep/b.wav").exists()
    assert (work / "listen.html").exists()
    assert {path.name for path in (work / "plots").iterdir()} == {"distributions.png", "gain.png"}  # no speed known


def test_the_python_example_works(work):
    text = next(text for kind, text in BLOCKS if kind == "python")
    result = subprocess.run(
        [sys.executable, "-c", text + "\nassert clean.shape == wave.shape"],
        cwd=work,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_continuous_integration_runs_the_printed_command():
    assert len(SET_UP) == 2
    assert SET_UP[1] in README.partition("<!-- test -->")[2]
    script = (ROOT / ".ci/run").read_text()
    extract = next(line for line in script.splitlines() if line.startswith("command="))
    found = subprocess.run(
        ["bash", "-c", f'{extract}; echo "$command"'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == SET_UP[1]


@pytest.mark.slow
def test_both_lines_set_up_a_fresh_machine(tmp_path):
    """In a copy of what is in git, with new virtual environments; the second only collects the tests."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(lambda name: (ROOT / name).is_file(), listed.stdout.splitlines()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    bare = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    for command, variables in zip(SET_UP, ({}, {"PYTEST_ADDOPTS": "--collect-only"}), strict=True):
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={**bare, **variables},
            text=True,
            capture_output=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert soundfile.info(tmp_path / "clean.wav").frames == 160000
