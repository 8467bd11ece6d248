"""The clips that `enhance bench` scores without arguments: complete, small, and what their table says."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

import enhance
from enhance.metrics import evaluate

CLIPS = Path(enhance.__file__).parent / "bench" / "clips"
ROWS = list(csv.DictReader((CLIPS / "clips.csv").read_text("utf-8").splitlines()))
README = (CLIPS / "README.md").read_text("utf-8")


def pair(row: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean signal of a row, float64 ``(time,)``."""
    return soundfile.read(CLIPS / row["noisy"])[0], soundfile.read(CLIPS / row["clean"])[0]


def decibels(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(wave**2)))


def tables() -> list[list[dict[str, str]]]:
    """The tables of the README: their rows, by column."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", README, re.MULTILINE):
        head, _, *lines = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in block.splitlines()]
        found.append([dict(zip(head, line, strict=True)) for line in lines])
    return found


def test_the_table_lists_the_files_that_are_there():
    assert list(ROWS[0]) == ["id", "noisy", "clean", "speaker", "language", "noise", "snr"]
    listed = {row[column] for row in ROWS for column in ("noisy", "clean")}
    there = {path.relative_to(CLIPS).as_posix() for path in CLIPS.rglob("*") if path.is_file()}
    assert there == listed | {"clips.csv", "README.md", "GPL-2.txt"}
    assert len(listed) == 2 * len(ROWS)
    for row in ROWS:
        assert row["noisy"] == f"noisy/{row['id']}.flac"
        assert row["clean"] == f"clean/{row['id']}.flac"


def test_it_is_small():
    assert sum(path.stat().st_size for path in CLIPS.rglob("*") if path.is_file()) < 2_000_000


def test_it_is_varied():
    assert 10 <= len(ROWS) <= 14
    assert len({row["speaker"] for row in ROWS}) >= 6
    assert len({row["language"] for row in ROWS}) >= 4
    assert len({row["noise"] for row in ROWS}) >= 10
    levels = [round(float(row["snr"])) for row in ROWS]
    assert {level: levels.count(level) for level in set(levels)} == {0: 3, 5: 3, 10: 3, 15: 3}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
class TestClip:
    def test_format(self, row):
        infos = [soundfile.info(str(CLIPS / row[name])) for name in ("noisy", "clean")]
        for info in infos:
            assert (info.samplerate, info.channels, info.format, info.subtype) == (16000, 1, "FLAC", "PCM_16")
            assert 3.0 <= info.duration <= 5.0
        assert infos[0].frames == infos[1].frames

    def test_snr_and_level(self, row):
        noisy, clean = pair(row)
        assert decibels(clean) - decibels(noisy - clean) == pytest.approx(float(row["snr"]), abs=0.1)
        assert max(np.abs(noisy).max(), np.abs(clean).max()) < 0.95
        assert -35 < decibels(noisy) < -20

    def test_noise_throughout(self, row):
        noisy, clean = pair(row)
        noise = noisy - clean
        halves = [decibels(noise[start : start + 8000]) for start in range(0, len(noise) - 7999, 8000)]
        assert min(halves) > decibels(noise) - 20

    def test_mostly_speech(self, row):
        _, clean = pair(row)
        frames = clean[: len(clean) // 320 * 320].reshape(-1, 320)
        levels = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
        assert np.mean(levels > levels.max() - 30) > 0.6

    def test_scores_are_defined(self, row):
        noisy, clean = pair(row)
        values, errors = evaluate(["pesq_wb", "stoi", "si_sdr"], clean, noisy, noisy, 16000)
        assert errors == {}
        assert 1.0 < values["pesq_wb"] < 3.0
        assert 0.6 < values["stoi"] < 0.99
        assert values["si_sdr"] == pytest.approx(float(row["snr"]), abs=0.5)

    def test_sources_and_licences(self, row):
        clips, sources = tables()
        (clip,) = [line for line in clips if line["clip"] == row["id"]]
        assert [clip[name] for name in ("speaker", "language", "noise", "SNR")] == [
            row[name] for name in ("speaker", "language", "noise", "snr")
        ]
        parts = [line for line in sources if line["clip"] == row["id"]]
        assert {line["part"] for line in parts} == {"speech", "noise"}
        assert all(line["author"] and line["file"] and line["Debian package"] for line in parts)
        licences = {line["licence"] for line in parts}
        assert all(re.search(r"\[(CC0|CC BY|CC BY-SA|GPL|BSD) [^]]*\]\(https://", name) for name in licences)
        assert not (any("GPL" in name for name in licences) and any("CC BY" in name for name in licences))
        assert clip["licence of noisy"] in licences
        for strict in ("GPL", "CC BY-SA"):
            assert (strict in clip["licence of noisy"]) == any(strict in name for name in licences)
