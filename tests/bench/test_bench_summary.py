"""Records to summaries and tables."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
from pathlib import Path

import pytest
from rich.console import Console

from enhance.bench import statistics, summary, table
from enhance.bench.records import ABSENT, Clip, Record, dump, load
from enhance.bench.summary import check_tag, footer, summarise, warnings
from enhance.bench.systems import System
from enhance.errors import EnhanceError

METRICS = ("pesq_wb", "stoi", "si_sdr")
SYSTEMS = [
    System("untouched", "mixture"),
    System("ours", "model", "ours", {"parameters": 105112, "macs_per_second": 2.4e8}),
    System("theirs", "estimates", "x", {"rtf": 0.5, "note": "high-pass"}),
]
GAIN = {"untouched": 0.0, "ours": 0.5, "theirs": 0.2}


@functools.cache
def paired_p(differences: tuple[float, ...]) -> float | None:
    return statistics.paired_p(differences)


@pytest.fixture(autouse=True)
def no_test_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal differences make SciPy go through all 4096 signs, which takes seconds."""
    monkeypatch.setattr(summary, "paired_p", lambda differences: paired_p(tuple(differences)))


def made(clips: int = 12, prefix: str = "clip") -> tuple[list[Record], list[Clip]]:
    """Records in which each system is better than the mixture by its gain, give or take."""
    listed = [
        Clip(f"{prefix}_{n:03d}", Path("m"), {"speech": Path("r")}, {"snr": ("2.5", "10", "-5")[n % 3]})
        for n in range(clips)
    ]
    records = [
        Record(
            system.name,
            clip.id,
            "speech",
            {"pesq_wb": 2 + 0.01 * n + g + 0.001 * g * n, "stoi": 0.9 + 0.1 * g, "si_sdr": 5 + n + 10 * g},
            seconds=2.0,
            cpu_seconds=0.04 if system.kind == "model" else None,
            tags=clip.tags,
        )
        for system in SYSTEMS
        for n, clip in enumerate(listed)
        for g in [GAIN[system.name]]
    ]
    return records, listed


def summed(records, clips, by=None, against=None):
    about = {"name": "set", "path": "set/", "fingerprint": "0123", "seconds": 24.0}
    foot = footer(["enhance", "bench", "my set"], "cpu", 2)
    return summarise(records, SYSTEMS, clips, METRICS, by, about, foot, against)


def test_means_counts_and_costs():
    summary = summed(*made())
    rows = {row["name"]: row for row in summary["systems"]}
    assert rows["untouched"]["scores"]["pesq_wb"]["mean"] == pytest.approx(2.055)
    assert rows["ours"]["scores"]["stoi"] == pytest.approx({"mean": 0.95, "low": 0.95, "high": 0.95, "n": 12})
    assert rows["ours"]["rtf"] == pytest.approx(0.02)
    assert rows["theirs"]["rtf"] == 0.5
    assert rows["untouched"]["rtf"] is None
    assert (rows["ours"]["scored"], rows["ours"]["total"]) == (12, 12)
    assert summary["footer"]["command"] == "enhance bench 'my set'"


def test_bsseval_is_the_median_over_tracks_and_the_other_ratio_a_mean():
    """Three tracks of two sources; SDR 1, 2, 30 and 5, 4, 3: medians 2 and 4; MDX's ratio likewise: means 11 and 4."""
    values = {"vocals": (1.0, 2.0, 30.0), "other": (5.0, 4.0, 3.0)}
    records = [
        Record("ours", f"track{number}", source, {"bss_sdr": ratios[number], "global_sdr": ratios[number]})
        for number in range(3)
        for source, ratios in values.items()
    ]
    clips = [Clip(f"track{number}", Path("mixture.wav"), {}) for number in range(3)]
    about = {"name": "songs", "path": "songs/", "fingerprint": "0123", "seconds": 24.0}
    metrics = ["bss_sdr", "global_sdr"]
    foot = footer(["enhance", "bench"], "cpu", 1)
    summary = summarise(records, [System("ours", "model")], clips, metrics, None, about, foot)
    scores = summary["systems"][0]["scores"]
    assert scores["bss_sdr"]["median"] == 3.0
    assert scores["global_sdr"]["mean"] == 7.5
    assert "median" not in scores["global_sdr"]
    by_source = {source: rows[0]["scores"] for source, rows in summary["sources"].items()}
    assert (by_source["vocals"]["bss_sdr"]["median"], by_source["vocals"]["global_sdr"]["mean"]) == (2.0, 11.0)
    text = table.markdown(summary)
    assert "| ours | 3/3 | 3.0 (" in text
    assert "- SDR (BSSEval v4): the median over seconds, then over clips" in text
    assert next(csv.DictReader(io.StringIO(table.csv_text(summary))))["bss_sdr"] == "3.0"
    records[2] = Record("ours", "track1", "vocals", {}, dict.fromkeys(metrics, ABSENT))  # a song without
    summary = summarise(records, [System("ours", "model")], clips, metrics, None, about, foot)
    row, vocals = summary["systems"][0], summary["sources"]["vocals"][0]
    assert (row["scored"], row["total"], row["scores"]["bss_sdr"]["n"]) == (3, 3, 3)
    assert (row["scores"]["bss_sdr"]["median"], row["scores"]["global_sdr"]["mean"]) == ((15.5 + 4) / 2, 23.5 / 3)
    assert (vocals["total"], vocals["scores"]["global_sdr"]["mean"]) == (2, 15.5)


def test_comparisons_are_of_the_first_system_on_the_clips_that_both_have():
    records, clips = made()
    records = [record for record in records if not (record.system == "theirs" and record.clip < "clip_004")]
    rows = {(row["against"], row["metric"]): row for row in summed(records, clips)["comparisons"]}
    assert rows["untouched", "si_sdr"]["difference"] == pytest.approx(5.0)
    assert rows["theirs", "si_sdr"]["difference"] == pytest.approx(3.0)
    assert rows["theirs", "si_sdr"]["n"] == 8
    assert rows["untouched", "pesq_wb"]["low"] > 0.5
    assert rows["untouched", "si_sdr"]["p"] < 0.01


def test_everything_is_compared_with_the_system_that_is_named():
    records, clips = made()
    found = summed(records, clips, against="theirs")["comparisons"]
    rows = {(row["system"], row["against"], row["metric"]): row["difference"] for row in found}
    assert {key[:2] for key in rows} == {("untouched", "theirs"), ("ours", "theirs")}
    assert rows["ours", "theirs", "si_sdr"] == pytest.approx(3.0)
    assert rows["untouched", "theirs", "si_sdr"] == pytest.approx(-2.0)


def test_groups_have_differences_of_their_own_corrected_together():
    records, clips = made(clips=24)
    whole = summed(records, clips, "snr")
    rows = whole["group_comparisons"]["snr"]
    assert [(row["group"], row["against"], row["metric"]) for row in rows] == [
        (snr, "theirs", metric) for snr in ("-5", "2.5", "10") for metric in METRICS
    ]  # not with the mixture
    assert {row["n"] for row in rows} == {8}
    of_one = [record for record in records if record.tags["snr"] == "2.5"]
    alone = next(row for row in summed(of_one, clips)["comparisons"] if row["against"] == "theirs")
    there = rows[len(METRICS)]
    assert {**there, "p": 0} == {"group": "2.5", **alone, "p": 0}
    assert there["p"] == pytest.approx((paired_p((1.0,) * 8) or 0) * len(rows))  # all of one sign: all have the least p
    against = summed(records, clips, "snr", against="untouched")["group_comparisons"]["snr"]
    assert {(row["system"], row["against"]) for row in against} == {("ours", "untouched"), ("theirs", "untouched")}
    text = table.markdown(whole)
    assert "| snr | paired differences | metric | n |" in text
    assert "| 2.5 | ours − theirs | PESQ-WB | 8 | +" in text
    console = Console(width=100, file=io.StringIO())
    console.print(table.rich_tables(whole, 100))
    printed = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert max(map(len, printed)) <= 100
    assert sum(line.split()[:3] == ["2.5", "ours", "−"] for line in printed) == len(METRICS)


def test_groups_are_sorted_as_numbers_and_hold_their_clips():
    records, clips = made()
    groups = summed(records, clips, "snr")["groups"]["snr"]
    assert list(groups) == ["-5", "2.5", "10"]
    assert [row["total"] for row in groups["-5"]] == [4, 4, 4]
    mean = groups["-5"][0]["scores"]["si_sdr"]["mean"]
    assert mean == pytest.approx(5 + (2 + 5 + 8 + 11) / 4)
    with pytest.raises(EnhanceError, match=r"no clip says its noise.*known are snr"):
        check_tag("noise", clips)


def test_what_could_not_be_scored_is_counted_and_said():
    records, clips = made()
    records[0] = Record("untouched", "clip_000", "speech", {}, {"pesq_wb": "silent"}, tags=clips[0].tags)
    records[13] = Record("ours", "clip_001", "speech", error="x.wav: broken")
    summary = summed(records, clips)
    rows = {row["name"]: row for row in summary["systems"]}
    assert rows["untouched"]["scored"] == 11
    assert rows["ours"]["scores"]["stoi"]["n"] == 11
    lines = "\n".join(warnings(summary, records))
    assert "ours: x.wav: broken" in lines
    assert "untouched: no pesq_wb of clip_000: silent" in lines


def test_a_mean_over_fewer_clips_is_never_the_best_and_the_table_says_so():
    """A tool that fails on the hard clips has the highest mean of those that are left."""
    records, clips = made()
    records = [found for found in records if found.system != "ours" or found.scores["si_sdr"] > 14]
    summary = summed(records, clips)
    ours, theirs = (row["scores"]["si_sdr"] for row in summary["systems"][1:])
    assert (ours["n"], theirs["n"]) == (7, 12)
    assert ours["mean"] > theirs["mean"]
    text = table.markdown(summary)
    assert f"| **{theirs['mean']:.1f}** (" in text
    assert f"| {ours['mean']:.1f} (" in text
    assert "SI-SDR (ours 7 of 12); the differences are of the clips that both have" in text
    assert "| ours − theirs | SI-SDR | 7 | " in text
    assert "not over the same clips" not in table.markdown(summed(*made()))


def test_delays_that_were_taken_out_are_told_and_unlike_ones_warned_of():
    records, clips = made()
    late = [0.05 + 0.00016 * n for n in range(12)]
    records[24:] = [dataclasses.replace(found, delay=delay) for found, delay in zip(records[24:], late, strict=True)]
    summary = summed(records, clips)
    assert "theirs: 50.9 ms late (50.0 to 51.8), taken out by --align" in table.markdown(summary)
    assert not warnings(summary, records)
    records[-1] = dataclasses.replace(records[-1], delay=-0.9)
    lines = warnings(summed(records, clips), records)
    assert lines == ["theirs: --align found delays from -900 to 52 ms, not a constant one"]


@pytest.mark.parametrize(("offset", "warned"), [(0.0, False), (0.1, True)])
def test_a_voice_bank_test_set_that_is_not_the_known_one_is_noticed(offset, warned):
    clips = [Clip(f"p232_{n:03d}", Path("m"), {"speech": Path("r")}) for n in range(393)]
    scores = {"pesq_wb": 2.165 + offset, "stoi": 0.927, "si_sdr": 8.45}
    records = [Record("untouched", clip.id, "speech", scores) for clip in clips]
    lines = warnings(summed(records, clips), records)
    assert any("untouched Voice Bank+DEMAND has pesq_wb 2.265 here" in line for line in lines) == warned


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_terminal_table_fits_and_has_every_number(width):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table.rich_tables(summed(*made(), by="snr"), width))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    for expected in ("2.06", "0.900", "12/12", "0.11 M", "0.24 G", "0.020", "ours − theirs", "snr -5", "PESQ-WB ↑"):
        assert expected in text


def test_many_metrics_go_below_one_another():
    records, clips = made()
    more = {"csig": 3.0, "cbak": 2.5, "wss": 33.0, "llr": 0.5}
    records = [Record(r.system, r.clip, r.source, {**r.scores, **more}, seconds=2.0) for r in records]
    about = {"name": "s", "path": "s", "fingerprint": "0", "seconds": 1.0}
    summary = summarise(records, SYSTEMS, clips, (*METRICS, *more), None, about, footer([], "cpu", 1))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table.rich_tables(summary))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert all(name in text for name in ("CSIG ↑", "WSS ↓", "33.0", "LLR ↓"))


def test_markdown_marks_the_best_and_csv_is_exact():
    summary = summed(*made())
    text = table.markdown(summary)
    assert "| ours | 12/12 | **2.56** (" in text
    assert "| **0.950** (0.950–0.950) |" in text
    rows = list(csv.DictReader(io.StringIO(table.csv_text(summary))))
    assert [row["system"] for row in rows] == ["untouched", "ours", "theirs"]
    assert float(rows[1]["si_sdr"]) == pytest.approx(15.5)
    assert rows[0]["rtf"] == ""


def test_lower_is_better_for_llr():
    rows = [{"name": str(value), "scores": {"llr": {"mean": value, "n": 3}}} for value in (0.5, 0.3, 0.9)]
    assert table.best(rows, "llr") == 0.3


def test_records_survive_being_cut_off(tmp_path: Path):
    records, _ = made(2)
    path = tmp_path / "records.jsonl"
    whole = '{"bench": {"data": "0", "systems": {}}}\n' + "".join(dump(record) + "\n" for record in records)
    path.write_text(whole + dump(records[0])[:20], encoding="utf-8")
    header, found = load(path)
    assert header == {"data": "0", "systems": {}}
    assert found == records


def test_another_file_is_no_file_of_records(tmp_path: Path):
    path = tmp_path / "records.jsonl"
    for text in ("a\n", "{}\n", '{"bench": {"systems": {}}}\n{"system": 3, "what": 1}\n', '{"bench": "x"}\n[1]\n'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(EnhanceError, match=r"records\.jsonl: line \d is not of enhance bench"):
            load(path)
