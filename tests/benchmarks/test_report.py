"""The generated model table: a line for each preset, scores of those whose weights are shipped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from enhance.models import presets
from enhance.models.checkpoint import read_header, shipped, shipped_denoisers

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import report

    return report


def test_every_preset_has_a_line_that_says_when_to_choose_it(report, monkeypatch):
    monkeypatch.setattr(report, "macs_per_second", lambda model: 1.5e9)  # counting takes seconds
    text, *lines = report.models_table().splitlines()
    assert "RTF: real-time factor" in text
    cells = {line.split("`")[1]: line.strip("| ").split(" | ") for line in lines if line.startswith("| `")}
    assert list(cells) == list(presets()) == list(report.CHOICE)
    for name, row in cells.items():
        assert row[2] == "1.50 G"
        assert row[-1] == report.CHOICE[name] + " (to be trained)" * (name not in shipped())
        assert bool(row[5]) == (name in shipped_denoisers()), name
    assert cells["dcunet-s"][4] == "0.032 s"
    assert (cells["hybrid-dcunet"][1], cells["hybrid-dcunet"][4]) == ("0.61 M", "0.8 s")


def test_a_model_is_to_be_trained_until_its_weights_are_shipped(report, monkeypatch):
    monkeypatch.setattr(report, "shipped", dict)
    assert report.choice("hybrid") == f"{report.CHOICE['hybrid']} (to be trained)"
    monkeypatch.setattr(report, "shipped", lambda: {"hybrid": Path("hybrid.safetensors")})
    assert report.choice("hybrid") == report.CHOICE["hybrid"]
    assert not [name for name, text in report.CHOICE.items() if "to be trained" in text]


def test_runtimes_say_what_onnx_runtime_gains_and_what_other_tools_take(report):
    times = [
        {"name": name, "chunk_ms": chunk, "median_ms": rtf * chunk, "p99_ms": chunk, "rtf": rtf}
        for name, chunk, rtf in (
            ("PyTorch", 16.0, 0.2),
            ("ONNX Runtime", 16.0, 0.05),
            ("PyTorch", 1e4, 0.04),
            ("ONNX Runtime", 1e4, 0.03),
        )
    ]
    times.append({**times[0], "name": "enhance live, 48000 Hz", "delay_ms": 61.7})
    peers = [
        {"name": "untouched", "rtf": None, "latency_ms": None},
        {"name": "slow", "rtf": 0.268, "latency_ms": None},
        {"name": "quick", "rtf": 0.0021, "latency_ms": 20.0},
    ]
    found = {"model": "m", "bytes": 2e6, "difference": 4e-7, "minutes": 10, "times": times}
    text = report.runtimes_table.page(found, peers)
    assert "ONNX Runtime takes 0.75 of PyTorch's time" in text
    assert "62 ms at 48000 Hz." in text
    assert "| ONNX Runtime | 16.0 | 0.80 | 16.00 | 0.050 |" in text
    assert text.endswith("| quick | 20 | 0.0021 |\n| slow |  | 0.27 |\n")


def test_what_is_committed_names_no_place_of_the_machine_that_made_it():
    texts = {path.name: path.read_text(encoding="utf-8") for path in (FOLDER / "results").glob("*.json")}
    texts |= {name: json.dumps(read_header(path)) for name, path in shipped().items()}
    own = re.compile(r"(?<![\w.:/-])/(?:home|root|tmp|work|mnt|Users)/")
    assert [name for name, text in texts.items() if own.search(text)] == []
