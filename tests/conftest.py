"""Fixtures for all tests."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from signals import voice

from enhance.data.store import Store

ROOT = Path(__file__).parent.parent

# One thread a process: threads of several processes would wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"

# A shell starts background jobs with Ctrl-C ignored, and children would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Run(NamedTuple):
    """What a command gave back."""

    code: int
    out: str
    err: str


@pytest.fixture
def ffmpeg(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """Path of ffmpeg, which is on PATH: the machine's, else the one that imageio-ffmpeg brings along."""
    if (found := shutil.which("ffmpeg")) is not None:
        return found
    import imageio_ffmpeg

    folder = tmp_path_factory.mktemp("bin")
    (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", str(folder) + os.pathsep + os.environ["PATH"])
    return str(folder / "ffmpeg")


@pytest.fixture
def no_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH without ffmpeg."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of an untrained ``dcunet-s``: its mask is one everywhere, it gives back its input."""
    from enhance.models import create, presets
    from enhance.models.checkpoint import save

    path = tmp_path_factory.mktemp("model") / "untrained.safetensors"
    save(path, create("dcunet-s"), presets()["dcunet-s"][1], {})
    return str(path)


@pytest.fixture(scope="session")
def separator(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of a small ``separator-s`` whose random masks take any signal apart; mixture-consistent."""
    import torch

    from enhance.models import create, presets
    from enhance.models.checkpoint import save

    torch.manual_seed(0)
    size = {"widths": [4, 6, 8], "hidden": 8, "blocks": 1}
    model = create("separator-s", **size)
    torch.nn.init.normal_(model.net.head.weight, std=0.5)  # pyright: ignore[reportAttributeAccessIssue]
    path = tmp_path_factory.mktemp("model") / "separator.safetensors"
    save(path, model, {**presets()["separator-s"][1], **size}, {})
    return str(path)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Run ``enhance ARGUMENTS...`` in this process: exit code, stdout, stderr."""

    def run(*arguments: str | Path) -> Run:
        from enhance.cli import main

        monkeypatch.setattr(sys, "argv", ["enhance", *map(str, arguments)])
        previous = signal.getsignal(signal.SIGTERM)
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        finally:
            signal.signal(signal.SIGTERM, previous)
        return Run(code, *capsys.readouterr())

    return run


@pytest.fixture
def environment() -> dict[str, str]:
    """Variables for a subprocess that runs ``python -m enhance.cli``: this package, one thread."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def audio_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders ``speech`` (six speakers), ``noise`` and ``music`` of short made-up recordings."""
    import soundfile

    root = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for speaker in range(6):
        for take in range(2):
            path = root / "speech" / f"speaker{speaker}" / f"take{take}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, voice(3.0, 10 * speaker + take), 16000)
    for kind in ("noise", "music"):
        (root / kind).mkdir()
        for item in range(4):
            wave = rng.standard_normal(32000) if kind == "noise" else np.sin(np.arange(32000) * (0.05 + 0.03 * item))
            soundfile.write(root / kind / f"{kind}{item}.wav", 0.1 * wave, 16000)
    return {kind: root / kind for kind in ("speech", "noise", "music")}


@pytest.fixture(scope="session")
def store(audio_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A small prepared data set of :func:`audio_folders` with ten simulated rooms."""
    from enhance.data import rooms
    from enhance.data.manifest import scan_folder
    from enhance.data.store import build

    clips = [clip for kind, folder in audio_folders.items() for clip in scan_folder(folder, kind)]
    responses = ((str(seed), rooms.simulate(seed, 16000)) for seed in range(10))
    return build(tmp_path_factory.mktemp("store") / "data", clips, responses, 16000, jobs=1)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A listening page of toy scores and sounds."""
    import listening_page

    path = tmp_path_factory.mktemp("a page") / "listen.html"
    listening_page.write(path)
    return path
