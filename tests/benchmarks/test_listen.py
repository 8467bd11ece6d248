"""The benchmark of listening: nothing gained without memory, and its page says what the numbers say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from enhance.models import checkpoint, create

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import listen

    return listen


def test_the_script_and_its_page(listen, store, untrained: str, tmp_path: Path, monkeypatch, capsys):
    import listen_table

    separator: Any = create("separator-s")
    arguments = {"widths": [16, 32, 48], "hidden": 96, "blocks": 4, "sources": separator.sources, "consistent": True}
    checkpoint.save(tmp_path / "s.safetensors", separator, arguments, {})
    models = f"{untrained},{tmp_path / 's.safetensors'}"
    target = tmp_path / "found.json"
    command = ["listen.py", store.folder, "--models", models, "--clips", 3, "--output", target]
    monkeypatch.setattr(sys, "argv", [*map(str, command)])
    listen.main()
    assert str(target) in capsys.readouterr().out
    found = json.loads(target.read_text())
    times = len(listen.SECONDS)
    assert sorted(row["source"] for row in found["rows"]) == ["music"] * times + ["speech"] * 2 * times
    for row in found["rows"]:  # what an untrained network remembers changes nothing
        assert row["whole_more"][0] == pytest.approx(0, abs=1e-3)
    found["rows"][1] |= {"whole_more": [0.26, 0.1, 0.4], "beginning_more": [1.21, -0.2, 3.4]}
    text = listen_table.page(found)
    assert "| +0.3 (+0.1 to +0.4) | +1.2 (−0.2 to +3.4) |" in text
    assert text.count("by default it listens to nothing") == 3


def test_a_part_is_scored_by_itself(listen):
    import numpy as np

    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.1, 8 * 16000).astype(np.float32)
    estimate = truth.copy()
    estimate[: 2 * 16000] += rng.normal(0, 0.1, 2 * 16000).astype(np.float32)
    found = listen.scores(truth, estimate, 16000, "music")
    assert found["beginning"] == pytest.approx(0, abs=0.2)
    assert found["rest"] == 30
    assert found["whole"] == pytest.approx(6, abs=0.2)
    assert "pesq" not in found
