"""The benchmark of throughput: every part is measured, and the page has its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

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
