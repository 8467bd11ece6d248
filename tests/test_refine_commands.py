"""Planted wrong labels: how many a separator finds that was trained on them, and what training makes of it."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pages
import pytest
import song_toys as toys

from enhance.data import stem_labels, stem_store
from enhance.data.stem_labels import contradicted
from enhance.models.checkpoint import read_header

ROOT = Path(__file__).parent.parent
RATE = 8000
SONGS, WRONG = 16, 5  # for training; in so many of them two stems have exchanged their labels
SMALL = (
    f"--set model_options.sample_rate={RATE} --set model_options.n_fft=256 --set model_options.widths=[8,12,16] "
    "--set model_options.hidden=16 --set model_options.blocks=1 --set run.precision=32-true --set run.compile=false "
    "--set data.seconds=1.0 --set data.workers=0 --set optim.batch=4 --set optim.lr=2e-2 --set optim.warmup=5 "
    "--set optim.ema=0.9 --set valid.clips=2 --set valid.seconds=2.0 --set loss_options.source_subsets.n_fft=512 "
    "--set loss_options.source_subsets.hop=256 --set loss_options.compressed_spectrum.n_fft=256 "
    "--set loss_options.compressed_spectrum.hop=128"
)


def write_songs(folder: Path) -> set[tuple[str, str]]:
    """A prepared data set at 8 kHz, two songs of it for validation; gives the stems whose label is wrong."""
    rng = np.random.default_rng(0)
    wrong: set[tuple[str, str]] = set()
    tracks = []
    for number in range(SONGS + 2):
        stems = np.stack([toys.integers(toys.stem(name, 4.0, number, RATE)) for name in toys.STEMS])
        if number < WRONG:
            first, second = rng.permutation(4)[:2]
            stems[[first, second]] = stems[[second, first]]
            wrong |= {(f"song{number}", toys.STEMS[place]) for place in (first, second)}
        tracks.append(((f"song{number}", "train" if number < SONGS else "valid"), stems))
    folder.mkdir(parents=True)
    stem_store.write(folder, tracks, toys.STEMS, RATE, 2, {})
    return wrong


@pytest.mark.slow
def test_four_of_five_are_found_at_one_false_alarm_in_ten(
    cli: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The commands of the README: the separator has learned from the wrong labels as well."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "recipes", "recipes")
    wrong = write_songs(Path("runs/data/musdb/stems"))
    train, refine, again = [
        command
        for command in pages.commands(Path("recipes/musdb/README.md"))
        if "refine" in command or command == "enhance train recipes/musdb"
    ]
    listed = ""
    for command, steps in ((train, 60), (refine, None), (again, 2)):
        options = f"{SMALL} --set optim.steps={steps}" if steps else "--device cpu"
        code, out, error = cli(*shlex.split(f"{command} {options}")[1:])
        assert code == 0, f"{command}\n{error}"
        listed = out if command == refine else listed
    heard = stem_labels.read(Path("runs/data/musdb/labels.csv"))
    assert len(heard) == 4 * (SONGS + 2)
    found = contradicted(heard, 0.5)
    hits, alarms = len(found.keys() & wrong), len(found.keys() - wrong)
    assert hits >= 0.8 * len(wrong)
    assert alarms <= 0.1 * (len(heard) - len(wrong))
    assert len(listed.splitlines()) == len(found)
    assert read_header(Path("runs/musdb-refined/best.safetensors"))["sources"] == list(toys.STEMS)
