"""The search's page: gains on the base of the same seed, and only runs that may be compared in one table."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from enhance.training.recipe import read

FOLDER = Path(__file__).parents[2] / "benchmarks" / "search"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    from search import tables

    return tables


def run(name: str, seed: int, pesq: float, **changes) -> dict:
    noisy = {"pesq": pesq, "stoi": 0.8, "si_sdr": 10.0}
    return {
        "name": name,
        "seed": seed,
        "budget": 400,
        "steps": 1234,
        "audio_hours": 3.0,
        "parameters": 105_000,
        "rtf": 0.01,
        "score": pesq - 1,
        "scores": {
            "noise": noisy,
            "music": {**noisy, "pesq": pesq + 0.2},
            "clean": {**noisy, "pesq": 4.0, "si_sdr": 28.0},
        },
        "data": "abc",
        "torch": "2",
        "precision": "bf16-mixed",
        "processor": "AVX512",
        **changes,
    }


def test_gains_are_on_the_base_of_the_same_seed(tables, tmp_path):
    assert tables.readme(tmp_path).endswith("Not run yet.\n")
    rows = [run("base", 1, 1.5), run("base", 2, 1.4), run("muon", 2, 1.6), run("muon", 3, 1.3)]
    (tmp_path / tables.RESULTS).write_text(json.dumps(rows))
    lines = [line for line in tables.readme(tmp_path).splitlines() if line.startswith("| ") and "---" not in line]
    cells = [line.strip("| ").split(" | ")[:5] for line in lines[1:]]
    assert cells == [
        ["muon", "2", "0.600", "1.70", "+0.20"],
        ["base", "1", "0.500", "1.60", ""],
        ["base", "2", "0.400", "1.50", ""],
        ["muon", "3", "0.300", "1.40", ""],  # whose base has not run
    ]
    assert "| 4.00 | 28.0 | 1,234 | 3.0 | 105 k | 0.010 |" in lines[1]


def test_runs_of_another_length_are_in_a_table_of_their_own(tables, tmp_path):
    rows = [run("base", 1, 1.5), run("base", 1, 1.7, budget=800), run("muon", 1, 1.6)]
    (tmp_path / tables.RESULTS).write_text(json.dumps(rows))
    text = tables.readme(tmp_path)
    assert text.index("of 800 steps") < text.index("| base | 1 | 0.700") < text.index("of 400 steps")
    assert "| muon | 1 | 0.600 | 1.70 | +0.10 |" in text


def test_every_variant_is_a_recipe():
    for name, changes in tomllib.loads((FOLDER / "variants.toml").read_text(encoding="utf-8")).items():
        assert (read(FOLDER / "base.toml", changes).model, bool(changes)) == ("dcunet-s", name != "base")
