"""The benchmark of bfloat16: it scores the same clips twice, and its page says what the numbers say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from enhance.bench.run import SHIPPED
from enhance.nn.precision import has_bfloat16

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.skipif(not has_bfloat16("cpu"), reason="this processor has no bfloat16")
def test_the_script_and_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import precision
    import precision_table

    monkeypatch.setattr(precision, "RUNS", 1)
    target = tmp_path / "found.json"
    command = ["precision.py", SHIPPED, "--models", "dcunet-s", "--limit", 3, "--minutes", 0.2, "--output", target]
    monkeypatch.setattr(sys, "argv", [*map(str, command)])
    precision.main()
    assert str(target) in capsys.readouterr().out
    found = json.loads(target.read_text())
    (row,) = found["rows"]
    assert (row["clips"], found["minutes"]) == (3, 0.2)
    assert all(0 < value < 2 for value in row["rtf"].values())
    for metric, near in (("pesq_wb", 0.1), ("stoi", 0.01), ("si_sdr", 0.2)):
        mean, low, high = row[f"{metric}_more"]
        assert 0 < abs(mean) < near
        assert low <= mean <= high
    row |= {"rtf": {"32-true": 0.03, "bf16-mixed": 0.02}, "stoi_more": [-0.0001, -0.0002, 0.00004]}
    text = precision_table.page(found)
    assert f"precision.py {SHIPPED.name} --limit 3`" in text
    assert "| dcunet-s | 0.030 | 0.020 | 1.50 |" in text
    assert "| −0.0001 (−0.0002 to +0.0000) |" in text
