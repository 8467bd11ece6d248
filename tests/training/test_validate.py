"""Validation of a denoiser: what its scores are at rates that PESQ-WB does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from enhance.data.manifest import scan_folder
from enhance.data.store import build
from enhance.training import validate


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8000, 48000])
def test_mixtures_at_another_rate_are_scored(audio_folders: dict[str, Path], tmp_path: Path, rate: int):
    clips = [clip for kind, folder in audio_folders.items() for clip in scan_folder(folder, kind)]
    store = build(tmp_path / "data", clips, [], rate, 1)
    listed = validate.examples(store, 1, 2.0)
    assert "clean" in listed
    assert all(listed.values())
    scores = validate.untouched(listed, rate)
    assert scores["clean"]["pesq"] == pytest.approx(4.64, abs=0.01)  # of a signal against itself
    assert 1 < scores["noise"]["pesq"] < 4
