"""The commands of recipes/musan-separation, as printed there, on MUSAN in miniature."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pages
import pytest
import soundfile
from signals import voice

from enhance.data.store import Store
from enhance.models.checkpoint import read_header

ROOT = Path(__file__).parent.parent
RECIPE = Path("recipes/musan-separation")
FOLDERS = ("speech/librivox", "speech/us-gov", "music/fma", "noise/free-sound")
CLASSES = ("speech", "music", "noise")


def write_archive(path: Path) -> None:
    """Ten recordings in each folder, as MUSAN names them."""
    root = path.parent / "musan"
    for place, folder in enumerate(FOLDERS):
        (root / folder).mkdir(parents=True)
        for number in range(10):
            rng = np.random.default_rng((place, number))
            wave = 0.3 * voice(1.5, number) if folder.startswith("speech") else 0.1 * rng.standard_normal(24000)
            soundfile.write(root / folder / f"{folder.replace('/', '-')}-{number:04d}.wav", wave, 16000)
    with tarfile.open(path, "w:gz") as tar:
        tar.add(root, "musan")
    shutil.rmtree(root)


@pytest.mark.slow
def test_prepare_train_separate_and_score_as_the_readme_says(
    cli: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "recipes", "recipes")
    archive = Path("runs/data/musan-separation/archives/musan.tar.gz")
    archive.parent.mkdir(parents=True)
    write_archive(archive)
    about = (RECIPE / "data.toml").read_text(encoding="utf-8")
    about = re.sub(r"(?m)^md5 = .*$", f'md5 = "{hashlib.md5(archive.read_bytes()).hexdigest()}"', about)
    about = re.sub(r"(?m)^size = .*$", f"size = {archive.stat().st_size}", about)
    (RECIPE / "data.toml").write_text(about, encoding="utf-8")
    soundfile.write("talk.wav", voice(1.0, 1), 16000)
    commands = pages.commands(RECIPE / "README.md")
    assert [command.split()[1] for command in commands if command.startswith("enhance ")] == [
        "prepare", "train", "train", "separate", "prepare", "train",
    ]  # fmt: skip
    longer = {"prepare": "--rooms 0 --jobs 1", "train": f"{pages.SHORT} --set data.workers=0"}
    for command in commands[:-1]:
        if command.startswith("enhance "):
            line = f"{command.replace('talk.mp4', 'talk.wav')} {longer.get(command.split()[1], '')}"
            code, _, error = cli(*shlex.split(line)[1:])
            assert code == 0, f"{command}\n{error}"
        else:
            pages.run(command, tmp_path)
    assert {path.stem for path in Path("stems/talk").iterdir()} == set(CLASSES)
    for name, hidden in (("musan-separation", 96), ("musan-separator-m", 128), ("musan-tested", 96)):
        header = read_header(Path("runs") / name / "best.safetensors")
        assert (header["sources"], header["arguments"]["hidden"]) == (list(CLASSES), hidden)
    tested = Store(Path("runs/data/musan-tested"))
    for kind in CLASSES:
        numbers = {split: {entry.item[-5] for entry in tested.select(kind, split)} for split in ("valid", "test")}
        assert numbers == {"valid": {"0"}, "test": {"9"}}
        assert len(tested.select(kind, "train")) == 8
    assert not any("us-gov" in entry.item for entry in tested.entries)
    score(commands[-1], monkeypatch)
    summary = json.loads(Path("runs/musan-scores/results.json").read_text())["kinds"]["speech+music"]
    assert [system["scored"] for system in summary["systems"]] == [2, 2, 2]
    assert "## speech+music" in Path("runs/musan-scores/README.md").read_text(encoding="utf-8")


def score(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last command, on two mixtures of one kind, without BSSEval: that is tested with the script."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from separation import run  # pyright: ignore[reportMissingImports]

    words = shlex.split(f"{command} --clips 2 --seconds 1 --jobs 1")
    assert words[:2] == ["python", "benchmarks/separation/run.py"]
    monkeypatch.setattr(sys, "argv", words[1:])
    monkeypatch.setattr(run, "kinds", lambda sources: ["speech+music"])
    monkeypatch.setattr(run, "METRICS", "si_sdr,si_sdr_improvement")
    run.main()
