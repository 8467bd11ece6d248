"""How far a denoiser moves a voice: an untrained model not at all, one that mutes the quieter channel does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from enhance.data.store import Store

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def stereo_denoise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import stereo_denoise

    return stereo_denoise


class Louder(nn.Module):
    """Halves a channel in which there is little."""

    sample_rate, channels, align, context, sources = 16000, 1, 1, (0, 0), ("speech",)

    def forward(self, mixture: Tensor) -> Tensor:
        power = mixture.square().mean(-1, keepdim=True)
        return torch.where(power < power.amax(0, keepdim=True), 0.5, 1.0)[:, None] * mixture[:, None]


def test_a_voice_moves_with_a_mask_each_and_not_with_one(stereo_denoise, store):
    rows = stereo_denoise.summary(stereo_denoise.rows_of(Store(store.folder), Louder(), 3), stereo_denoise.KEYS)
    assert len(rows) == 9
    left = {row["way"]: row["moved"][0] for row in rows if "middle" in row["place"]}
    assert left["a mask each"] == pytest.approx(6.02, abs=0.5)
    assert left["`--linked`"] == pytest.approx(left["untouched"], abs=0.3)


def test_the_script_writes_what_the_page_is_made_of(stereo_denoise, store, untrained, tmp_path, monkeypatch, capsys):
    target = tmp_path / "found.json"
    command = ["stereo_denoise.py", store.folder, "--model", untrained, "--clips", 3, "--output", target]
    monkeypatch.setattr(sys, "argv", [*map(str, command)])
    stereo_denoise.main()
    found = json.loads(target.read_text())
    assert found["clips"] == 3
    moved = [row["moved"][0] for row in found["rows"]]
    for place in range(0, len(moved), 3):
        assert moved[place + 1 : place + 3] == pytest.approx([moved[place]] * 2, abs=1e-3)
    assert str(target) in capsys.readouterr().out
