"""The generated model table: a line for each preset, scores of those whose weights are shipped."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from enhance.models import presets
from enhance.models.checkpoint import shipped_denoisers

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import report

    return report


def test_every_preset_has_a_line_that_says_when_to_choose_it(report, monkeypatch):
    monkeypatch.setattr(report, "macs_per_second", lambda model: 1.5e9)  # counting takes seconds
    begin, text, *lines, end = report.models_section().splitlines()
    assert (begin, end) == (report.BEGIN_MODELS, report.END_MODELS)
    assert "RTF: real-time factor" in text
    cells = {line.split("`")[1]: line.strip("| ").split(" | ") for line in lines if line.startswith("| `")}
    assert list(cells) == list(presets()) == list(report.CHOICE)
    for name, row in cells.items():
        assert row[2] == "1.50 G"
        assert row[-1] == report.CHOICE[name]
        assert bool(row[5]) == (name in shipped_denoisers()), name
    assert cells["dcunet-s"][4] == "0.032 s"
    assert (cells["hybrid"][1], cells["hybrid"][4]) == ("0.61 M", "0.8 s")
