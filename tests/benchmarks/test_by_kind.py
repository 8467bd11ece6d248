"""The page of scores kind by kind, and the pairs that are scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from enhance.bench.records import Record, dump
from enhance.data.store import Store

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def summary(ours: float, theirs: float, p: float) -> dict:
    metrics = ("pesq_wb", "stoi", "si_sdr")
    names = {"untouched": 1.0, "ours": ours, "theirs": theirs}
    return {
        "systems": [
            {"name": name, "scores": {metric: {"mean": mean} for metric in metrics}} for name, mean in names.items()
        ],
        "comparisons": [
            {"system": "ours", "against": other, "metric": metric, "p": p}
            | {"difference": ours - mean, "low": ours - mean - 0.25, "high": ours - mean + 0.25}
            for other, mean in names.items()
            if other != "ours"
            for metric in metrics
        ],
    }


def test_the_best_of_a_kind_and_certain_differences_are_bold():
    import by_kind_table

    kinds = {"noise": summary(2.0, 1.5, 0.001), "music": summary(1.25, 2.5, 0.2)}
    kinds["clean"] = summary(3.0, 2.0, 0.001)
    del kinds["clean"]["systems"][0]["scores"]["si_sdr"]  # infinite
    kinds["clean"]["comparisons"].remove(
        next(row for row in kinds["clean"]["comparisons"] if (row["against"], row["metric"]) == ("untouched", "si_sdr"))
    )
    together = summary(1.5, 1.75, 0.001)["comparisons"]
    text = by_kind_table.page({"kinds": kinds, "clips": 40, "seconds": 4.0, "data": "abc", "together": together})
    assert "clips of all kinds but clean speech, 80 together" in text
    assert "| theirs | **−0.250** (−0.500 to +0.000) | **−0.2500** (" in text
    assert "| system | noise | music | clean |" in text
    assert "| ours | **2.00** | 1.25 | **3.00** |" in text
    assert "| theirs | 1.50 | **2.50** | 2.00 |" in text
    assert "| untouched | 1.0 | 1.0 |  |" in text
    assert "What `ours` is better by" in text
    assert "| theirs | **+0.50** (+0.25 to +0.75) | −1.25 (−1.50 to −1.00) |" in text


def test_pairs_are_those_of_validation(tmp_path, store: Store):
    import by_kind

    by_kind.write_pairs(store, 1, tmp_path / "pairs")
    noisy, rate = soundfile.read(tmp_path / "pairs" / "babble" / "noisy" / "000.wav")
    clean, _ = soundfile.read(tmp_path / "pairs" / "babble" / "clean" / "000.wav")
    assert (len(noisy), rate) == (len(clean), 16000)
    assert len(noisy) == by_kind.SECONDS * rate
    assert abs(noisy - clean).max() > 0
    same, _ = soundfile.read(tmp_path / "pairs" / "clean" / "noisy" / "000.wav")
    found, _ = soundfile.read(tmp_path / "pairs" / "clean" / "clean" / "000.wav")
    assert (same == found).all()


def test_shipped_models_are_compared_on_the_clips_of_all_kinds_together(tmp_path):
    import by_kind

    for kind, ours in {"noise": 2.0, "music": 3.0}.items():
        records = [
            Record(system, f"{clip:03}", "speech", {"pesq_wb": score, "stoi": 0.5, "si_sdr": clip})
            for clip in range(4)
            for system, score in {"dcunet-m": ours, "dcunet-s": 1.0, "a peer": 5.0}.items()
        ]
        lines = [json.dumps({"bench": {"systems": {}}}), *map(dump, records)]
        (tmp_path / f"{kind}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = by_kind.together(tmp_path, ["noise", "music"], ["dcunet-m", "dcunet-s"])
    assert [(row["metric"], row["against"], row["n"]) for row in rows] == [
        (metric, "dcunet-s", 8) for metric in ("pesq_wb", "stoi", "si_sdr")
    ]
    assert [row["difference"] for row in rows] == pytest.approx([1.5, 0.0, 0.0])
