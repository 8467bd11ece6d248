"""Pages of Markdown whose commands are run: the README, those of docs/, those of recipes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from signals import voice

ROOT = Path(__file__).parent.parent
INCLUDED = re.compile(r'^--8<-- "([^":]+)(?::\d+)?"$', re.MULTILINE)
FENCED = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
# Recipes as printed train for hours: here they take two steps.
SHORT = (
    "--set optim.steps=2 --set optim.batch=2 --set valid.clips=1 --set valid.seconds=2.5 --set data.seconds=0.5 "
    "--set run.compile=false"
)


class Block(NamedTuple):
    """A fenced block: its language, the file that it shows (if it says so), its text."""

    kind: str
    title: str
    text: str


def read(page: Path) -> str:
    """The text of a page, with what it includes of other files in its place."""
    return INCLUDED.sub(lambda found: read(ROOT / found[1]).rstrip(), page.read_text(encoding="utf-8"))


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in FENCED.findall(read(page))]


def commands(page: Path) -> list[str]:
    """Every line of the shell blocks, without comments; one that goes on after a backslash is one line."""
    texts = (re.sub(r"\s*\\\n\s*", " ", block.text) for block in blocks(page) if block.kind == "sh")
    lines = (line for text in texts for line in text.splitlines())
    return [command for line in lines if (command := re.sub(r"(^|\s+)#.*", "", line).strip())]


def shortened(command: str) -> str:
    """The same command, for less work."""
    if re.search(r"\benhance train\b", command):
        return f"{command} {SHORT}" + " --set search.trials=1" * ("--tune" in command)
    return f"{command} --rooms 4" if command.startswith("enhance prepare") else command


def run(command: str, folder: Path, **variables: str) -> None:
    """Run a line in a shell, ``enhance`` being the one of this Python; it must succeed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shortened(command)],
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"


def run_here(command: str, cli: Callable[..., Any]) -> None:
    """An ``enhance`` command in this process, which has PyTorch already; lines of a shell in one."""
    plain, _, target = command.partition(" > ")
    if not command.startswith("enhance ") or re.search(r"[|<]| -o - ", command):  # bytes are nothing to capture
        run(command, Path.cwd())
        return
    code, out, error = cli(*shlex.split(shortened(plain))[1:])
    assert code == 0, f"{command}\n{error}"
    if target:
        Path(target).write_text(out, encoding="utf-8")


def options_exist(command: str) -> None:
    """Parse a command that cannot be run here: its options must exist and its values be of their kinds."""
    import typer

    from enhance.cli import app

    ours = next(part for part in command.split(" | ") if "enhance" in part)
    words = shlex.split(re.sub(r"[\[\]]", " ", ours))  # brackets: what may be left out
    name, *arguments = words[max(place for place, word in enumerate(words) if word in ("enhance", "enhance.cli")) + 1 :]
    typer.main.get_command(app).commands[name].make_context(name, arguments).close()  # pyright: ignore


def fill(folder: Path, audio_folders: dict[str, Path], ffmpeg: str) -> Path:
    """Give a folder what a reader has: recordings, videos, speech and noise, pairs to score, the recipes."""
    for name in ("noisy.wav", "recordings/a.wav", "recordings/deep/b.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, voice(1.5, 1) + 0.01 * np.random.default_rng(0).standard_normal(24000), 16000)
    video = "-f lavfi -i testsrc=d=1:s=64x64 -i noisy.wav -shortest -c:a aac talk.mp4"
    several = "-i talk.mp4 -i noisy.wav -map 0 -map 1 -c:v copy interview.mkv"
    for options in (video, several):
        subprocess.run([ffmpeg, "-v", "error", "-y", *options.split()], cwd=folder, check=True)
    shutil.copytree(audio_folders["speech"], folder / "clean-speech")
    shutil.copytree(audio_folders["noise"], folder / "noises")
    for number in range(3):
        clean, noise = 0.3 * voice(2.0, number), np.random.default_rng(number).standard_normal(32000)
        waves = {"DATA/noisy": clean + 0.01 * noise, "DATA/clean": clean, "other-tool": 0.9 * clean}
        for name, wave in waves.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name / f"{number}.wav", wave + 0.001 * noise, 16000)
    (folder / "DATA" / "tags.csv").write_text("id,snr\n0,10\n1,10\n2,15\n", encoding="utf-8")
    for name in ("recipes", "examples"):
        (folder / name).symlink_to(ROOT / name)
    return folder
