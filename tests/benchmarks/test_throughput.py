"""The benchmark of throughput: every part is measured, and the page has its numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from enhance.models.checkpoint import DEFAULT

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_everything_is_measured_once(untrained, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from throughput import run

    for name, value in {"SHORT": 3, "MANY": 2, "MANY_MINUTES": 0.4, "STAGE_MINUTES": 0.4}.items():
        monkeypatch.setattr(run, name, value)
    command, asked = run.command, []

    def once(inputs, output, jobs, model):
        asked.append((inputs.name, jobs))
        return command(inputs, output, jobs, model) if len(asked) == 1 else 2.0

    monkeypatch.setattr(run, "command", once)
    found = run.measure(2, untrained)
    assert asked == [("many", 1), ("many", 2), ("long.wav", 1), ("short", 1)]
    assert [row["rate"] for row in found["stages"]] == [16000, 44100]
    for row in found["stages"]:
        times = row["seconds_a_minute"]
        assert list(times) == ["decode", "resample", "model", "encode"]
        assert times["model"] > times["resample"] > 0
        assert min(times.values()) > 0
    assert [row["jobs"] for row in found["processes"]["rows"]] == [1, 2]


def test_the_page_has_the_numbers(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from throughput import tables

    times = {"decode": 0.1, "resample": 0.2, "model": 1.5, "encode": 0.2}
    row = {"rate": 44100, "channels": 2, "format": "flac PCM_24", "seconds_a_minute": times}
    assert "| 44100 Hz, 2 ch, flac PCM_24 | 0.10 | 0.20 | 1.50 | 0.20 | 25 % | 30 |" in tables.stages([row])
    rows = [{"jobs": 1, "seconds": 60.0}, {"jobs": 2, "seconds": 32.0}]
    assert "| 2 | 32.0 | 30 | 1.88 |" in tables.processes({"files": 8, "minutes": 2, "rows": rows})
    text = tables.short({"files": 1000, "seconds": 2, "one_file": 50.0, "short_files": 80.0})
    assert "have 62 % of the throughput" in text
    assert "takes 30.0 ms more" in text
    row = {"run": "again", "files": 1000000, "handed_out": 0, "growth_mb": 249.6, "ms_a_file": 0.123}
    assert "| again | 1000000 | 0 | 250 | 0.12 |" in tables.listing({"rows": [row], "enhance": "0.1.0"})


def test_what_a_corpus_takes_with_the_model_measured_and_with_the_default(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from throughput import tables

    processes = {"files": 4, "minutes": 30, "rows": [{"jobs": 1, "seconds": 72.0}, {"jobs": 2, "seconds": 45.0}]}
    found = {"model": "small", "stages": [{"rate": 16000}], "processes": processes}
    times = [(60, 16000, 0.03), (1, 16000, 0.07), (10, 48000, 0.04)]
    rows = [
        {"minutes": minutes, "rate": rate, "channels": 1, "format": "wav PCM_16", "rtf": rtf}
        for minutes, rate, rtf in times
    ]
    footprint = {"model": "large", "rows": rows}
    text = tables.corpus(found, footprint)
    assert text.splitlines()[-4:] == [
        "| small | 16000 Hz, 1 ch, of 30 minutes, 1 at a time | 100 |",
        "| small | 16000 Hz, 1 ch, of 30 minutes, 2 at a time | 125 |",
        "| large | 16000 Hz, 1 ch, wav PCM_16, of 60 minutes | 300 |",
        "| large | 48000 Hz, 1 ch, wav PCM_16, of 10 minutes | 400 |",
    ]
    for name, value in {"results.json": found, "footprint.json": footprint}.items():
        (tmp_path / name).write_text(json.dumps(value), encoding="utf-8")
    monkeypatch.setattr(tables, "HERE", tmp_path)
    monkeypatch.setattr(tables, "FOOTPRINT", tmp_path / "footprint.json")
    text = " ".join(tables.summary().split())
    assert "measured with `small`: 10,000 hours of 16 kHz mono take 100 core hours" in text
    assert "300 with `large`, the default" in text


def test_the_default_model_is_the_one_whose_footprint_was_measured():
    footprint = json.loads((ROOT / "benchmarks" / "results" / "footprint.json").read_text(encoding="utf-8"))
    assert footprint["model"] == DEFAULT


LISTING = """
import json, sys
from throughput import listing
print(json.dumps(listing.measure(20_000, sys.argv[1])["rows"]))
"""


@pytest.mark.slow
def test_a_million_files_stay_far_below_500_mb(untrained: str, environment: dict[str, str]):
    """A fiftieth of them, handed out to a cluster, and again as a rerun that has nothing to do."""
    environment["PYTHONPATH"] += f":{ROOT / 'benchmarks'}"
    command = [sys.executable, "-c", LISTING, untrained]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=200)
    first, again = json.loads(found.stdout)
    assert (first["handed_out"], again["handed_out"]) == (20_000, 0)
    assert first["growth_mb"] < 8  # 400 MB for a million
    assert again["growth_mb"] < 16  # what is kept of records, and once what it takes to read them; all of them: 20
