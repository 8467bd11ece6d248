"""Tables of the ablations: of the runs of a sweep, next to the paper's figures with their marks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from enhance.models import create, presets
from enhance.models.checkpoint import save
from enhance.training import loop
from enhance.training import state as states
from enhance.training.sweep import RESULTS

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "ablation" / "score.py"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from ablation import tables

    return tables


def scores(pesq: float) -> dict:
    values = {"pesq_wb": pesq, "si_sdr": 10.04, "csig": 4.0, "cbak": 3.0, "covl": 3.5, "seg_snr": 9.04}
    return {name: {"mean": value, "low": value - 0.1, "high": value + 0.1, "n": 393} for name, value in values.items()}


def run(name: str, pesq: float) -> dict:
    cost = {"parameters": 2_376_322, "steps": 1234, "hours": 1.234, "seed": 7, "score": 0.5}
    return {"name": name, "test": scores(pesq), **cost}


def write(folder: Path, name: str, names: list[str]) -> None:
    found = {
        "data": {"name": "test", "clips": 824, "fingerprint": "abc", "seconds": 1.0},
        "footer": {"torch": "2", "device": "cpu", "jobs": "1"},
        "untouched": scores(1.97),
        "rows": [run(one, 2.0 + 0.1 * number) for number, one in enumerate(names)],
    }
    (folder / f"{name}.json").write_text(json.dumps(found))


def test_our_runs_stand_below_the_papers_with_its_marks(tables, tmp_path):
    assert "No run of this recipe has been scored yet" in tables.voicebank_section(tmp_path)
    write(tmp_path, "voicebank", ["dcunet20", "bdt-wsdr", "ubd-spec"])
    lines = tables.voicebank_section(tmp_path).splitlines()
    place = lines.index("| DCUnet-20 | paper | 4.24 | 4.00 ¹ | 3.69 | 3.13 ² | 15.95 ¹ |")
    assert lines[place + 1] == "| DCUnet-20 | this recipe | 4.00 | 3.00 | 3.50 | 2.00 | 9.0 |"
    assert any(line.startswith("¹ Not comparable") for line in lines)
    assert not any("yet" in line for line in lines)
    assert "| BDT | – | – | 2.10 (2.00–2.20) |" in lines
    assert "| UBD | 2.20 (2.10–2.30) | – | – |" in lines


def test_the_small_ablation_has_n_hours_and_seeds(tables, tmp_path):
    assert tables.readme(tmp_path).endswith("Not run yet.\n")
    write(tmp_path, "open-speech", ["dcunet10"])
    text = tables.readme(tmp_path)
    assert "| dcunet10 | 2.38 M | 1,234 | 1.23 | 7 | 393 | 2.00 | – | 10.0 | 4.00 | 3.00 | 3.50 | 9.0 | 0.500 |" in text
    assert "mask, loss" not in text  # no run of the grid


@pytest.mark.slow
def test_runs_of_a_sweep_and_single_ones_are_scored(tmp_path, environment):
    """Two untrained nets, as a sweep and a run leave them, on two of the shipped clips."""
    options = {"widths": [4, 4, 8], "hidden": 8, "blocks": 1}
    clips = ROOT / "enhance" / "bench" / "clips"
    for kind in ("noisy", "clean"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for name in ("en-phone", "de-crowd"):
            shutil.copy(clips / kind / f"{name}.flac", tmp_path / "data" / kind)
    recipe = {"name": "a", "model": "dcunet-s", "loss": {"wsdr": 1.0}, "data": {"path": "x"}}
    for folder in ("grid/bdt-wsdr", "alone"):
        (tmp_path / folder).mkdir(parents=True)
        arguments = {**presets()["dcunet-s"][1], **options}
        save(tmp_path / folder / loop.BEST, create("dcunet-s", **options), arguments, {"recipe": recipe})
    history = [{"step": 2, "score": 0.25, "scores": {}}, {"step": 4, "score": 0.125, "scores": {}}]
    states.save(tmp_path / "alone" / loop.STATE, {"step": 4, "seconds": 36.0, "history": history})
    row = {"name": "bdt-wsdr", "steps": 5, "hours": 0.5, "seed": 1, "score": 0.2, "checkpoint": "elsewhere"}
    (tmp_path / "grid" / RESULTS).write_text(json.dumps([row]))
    command = [sys.executable, SCRIPT, "open-speech", "data", "grid", "alone", "--jobs", "1", "--output", "."]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "open-speech.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["bdt-wsdr", "alone"]
    alone = found["rows"][1]
    assert (alone["score"], alone["step"], alone["steps"], alone["hours"], alone["seed"]) == (0.25, 2, 4, 0.01, 1)
    for row in found["rows"]:
        assert row["test"]["pesq_wb"]["mean"] == pytest.approx(found["untouched"]["pesq_wb"]["mean"], abs=0.02)
        assert {"stoi", "csig", "cbak", "covl", "seg_snr"} < row["test"].keys()
        assert "checkpoint" not in row
    assert str(tmp_path) not in json.dumps(found)
