"""The listening page as text."""

from __future__ import annotations

import dataclasses
import io
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from listening_page import NASTY, RATE, TONES, summed
from PIL import Image

from enhance.bench.page import Player, Sound, choose, write_page
from enhance.bench.records import ABSENT, UNTOUCHED, Record
from enhance.bench.sounds import cropped, flac, levelled, liveliest, spectrograms
from enhance.errors import EnhanceError


class Reader(HTMLParser):
    """Rows of all tables, tags and attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.inside = ""  # of a cell, or of what is not text
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
        if tag in ("th", "td", "script", "style"):
            self.inside = tag

    def handle_endtag(self, tag):
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data):
        if self.inside in ("script", "style"):
            return
        self.text += data
        if self.inside:
            self.rows[-1][-1] += data


def records(gains: list[float], metric: str = "pesq_wb") -> list[Record]:
    found = [Record(UNTOUCHED, f"c{n}", "speech", {metric: 2.0}) for n in range(len(gains))]
    return found + [Record("ours", f"c{n}", "speech", {metric: 2.0 + gain}) for n, gain in enumerate(gains)]


def test_chosen_clips_are_the_best_the_middle_and_the_worst():
    order = np.random.default_rng(1).permutation(30)
    found = choose(records([float(value) for value in order]), "pesq_wb")
    assert [int(order[int(clip[1:])]) for clip, _ in found] == [29, 28, 27, 16, 15, 14, 2, 1, 0]
    lower_is_better = choose(records([float(value) for value in order], "llr"), "llr")
    assert int(order[int(lower_is_better[0][0][1:])]) == 0


@pytest.mark.parametrize("clips", range(1, 30))
@pytest.mark.parametrize("count", [1, 4, 9])
def test_no_clip_is_chosen_twice(clips, count):
    found = choose(records([float(n % 5) for n in range(clips)]), "pesq_wb", count)
    assert len(found) == len(set(found)) == min(count, clips)


def test_clips_without_a_gain_come_last():
    some = records([0.1, 0.5])
    some += [Record(name, "silent", "speech", unscored={"pesq_wb": "silence"}) for name in (UNTOUCHED, "ours")]
    assert choose(some, "pesq_wb") == [("c1", "speech"), ("c0", "speech"), ("silent", "speech")]
    assert choose(some[:2], "pesq_wb") == [("c0", "speech"), ("c1", "speech")]  # the mixture alone


def test_of_several_sources_each_is_chosen_for_itself_and_absent_ones_never():
    some = records([0.1, 0.5])
    some += [
        dataclasses.replace(found, source="music", scores={"pesq_wb": 1.0}) for found in some if found.clip == "c0"
    ]
    some += [Record(name, "c1", "music", unscored={"pesq_wb": ABSENT}) for name in (UNTOUCHED, "ours")]
    assert choose(some, "pesq_wb") == [("c1", "speech"), ("c0", "speech"), ("c0", "music")]


def test_sounds_are_cropped_alike_and_keep_their_samples():
    rng = np.random.default_rng(0)
    long, short = rng.uniform(-0.5, 0.5, 10 * RATE), rng.uniform(-0.5, 0.5, RATE)
    both = cropped([long, short], RATE)
    assert both.shape == (2, 8 * RATE)
    assert np.array_equal(both[0], long[: 8 * RATE])
    assert np.array_equal(both[1, :RATE], short)
    assert not both[1, RATE:].any()
    back, rate = soundfile.read(io.BytesIO(flac(np.append(short, [1.5, -1.5]), RATE)))
    assert rate == RATE
    assert np.abs(back[:-2] - short).max() < 1.01 / 2**15
    assert back[-2:] == pytest.approx([1, -1], abs=1e-4)  # clipped, not wrapped


def test_of_a_long_clip_the_liveliest_seconds_are_kept_and_the_page_says_which(tmp_path):
    rng = np.random.default_rng(2)
    clean = 1e-4 * rng.standard_normal(25 * RATE)
    clean[2 * RATE : 3 * RATE] += 0.5 * rng.standard_normal(RATE)  # loud, and short
    clean[12 * RATE : 20 * RATE] += 0.1 * rng.standard_normal(8 * RATE)
    start = liveliest(clean, RATE)
    assert start == pytest.approx(12 * RATE, abs=0.05 * RATE)
    assert np.array_equal(cropped([clean], RATE, start)[0], clean[start : start + 8 * RATE])
    assert liveliest(np.zeros(25 * RATE), RATE) == liveliest(clean[: 8 * RATE], RATE) == 0
    noisy = clean + 0.2 * rng.standard_normal(len(clean))
    long = Player("long", {}, RATE, [Sound(UNTOUCHED, noisy), Sound("clean", clean)])
    short = Player("short", {}, RATE, [Sound(name, clean[:RATE]) for name in (UNTOUCHED, "clean")])
    write_page(tmp_path / "page.html", summed(), [long, short], {}, "title")
    text = Reader((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert text.count("scores are of all") == 1
    assert "12.0–20.0 s of 25.0 s; scores are of all" in text


@pytest.mark.parametrize("seconds", [0.1, 3.0])
def test_sounds_are_levelled_to_the_least_loud(seconds):
    wave = np.random.default_rng(0).standard_normal(round(seconds * 16000))
    sounds = np.stack((0.1 * wave, 0.05 * wave, 1e-4 * wave, 0 * wave))  # the third is faint, the last silent
    assert levelled(sounds, 16000) == pytest.approx([0.5, 1, 1, 1], rel=1e-3)


def test_spectrogram_shows_a_tone_where_and_when_it_is():
    wave = np.zeros(4 * RATE)
    wave[2 * RATE : 3 * RATE] = 0.5 * np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE)
    loud, quiet = (Image.open(io.BytesIO(data)) for data in spectrograms(np.stack([wave, wave / 100]), RATE))
    assert (loud.mode, loud.size) == ("P", (360, 128))
    picture = np.asarray(loud).astype(int)
    rows, columns = np.nonzero(picture > 0.8 * picture.max())
    assert rows.mean() == pytest.approx(128 * 0.75, abs=1)  # 2 of 8 kHz, from below
    assert columns.min() == pytest.approx(180, abs=2)
    assert columns.max() == pytest.approx(269, abs=2)
    steps = picture.max() - np.asarray(quiet).astype(int).max()
    assert steps * 70 / 23 == pytest.approx(40, abs=3.1)  # dB below, on the same scale
    assert len(spectrograms(np.zeros((2, 5)), RATE)) == 2  # silence, shorter than a window


def test_tables_say_what_the_summary_says(page):
    rows = Reader(page.read_text(encoding="utf-8")).rows
    assert rows[0] == ["system", "n", "PESQ-WB ↑", "SI-SDR (dB) ↑", "RTF", "parameters", "MAC/s"]
    assert rows[1] == [UNTOUCHED, "20/21", "2.00 1.90–2.10", "8.0 7.0–9.0", "–", "–", "–"]
    assert rows[2] == ["ours", "20/21", "2.80 2.70–2.90", "17.0 16.0–18.0", "0.200", "0.11 M", "0.24 G"]
    assert rows[3] == ["their's <1>", "20/21", "2.50 2.40–2.60", "18.0 17.0–19.0", "0.0040", "–", "–"]
    assert rows[5] == [UNTOUCHED, "20/21", "–", "–", "–", "–", "–"]  # of the group
    assert ["ours − untouched", "+0.80 +0.60 to +1.00, p < 0.001, n = 20", "+9.0 n = 20"] in rows
    assert ["2.5", "ours − untouched", "+0.75 +0.60 to +1.00, p < 0.001, n = 20"] in rows  # of the group
    assert ["3ours", "2.75", "17.0"] in rows  # of a clip
    assert ["2clean", "–", "–"] in rows


def test_text_of_the_data_is_escaped_and_the_page_is_whole(page):
    text = page.read_text(encoding="utf-8")
    read = Reader(text)
    assert NASTY in read.text
    assert "a & b: <21> clips" in read.text
    assert "their's <1>: <i>a note</i>" in read.text
    assert "enhance bench 'a & b'" in read.text
    assert read.tags.count("img") == 2 + 3 * (1 + len(TONES))  # plots, and of each clip the large and the small ones
    assert read.tags.count("script") == 3 + 1
    assert "onerror" not in read.attributes
    assert "http:" not in text
    assert "https:" not in text
    assert [path.name for path in page.parent.iterdir()] == ["listen.html"]


def test_a_page_without_players_or_plots(tmp_path):
    summary = {**summed(), "comparisons": [], "group_comparisons": {}}
    write_page(tmp_path / "page.html", summary, [], {}, "title")
    assert "section" in (tags := Reader((tmp_path / "page.html").read_text(encoding="utf-8")).tags)
    assert "article" not in tags
    assert tags.count("table") == 2


def test_a_page_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnhanceError, match=r"page\.html: cannot be written"):
        write_page(tmp_path / "file" / "page.html", summed(), [], {}, "title")


def test_ten_clips_of_six_noisy_sounds_are_under_ten_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    length = 4 * RATE

    def noise() -> np.ndarray:
        """Pink noise at -26 dB re full scale, about the worst that a recording holds."""
        slope = np.sqrt(np.maximum(1, np.arange(length // 2 + 1) / 125))
        wave = np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) / slope, length)
        return 0.05 * wave / wave.std()

    names = [UNTOUCHED, "clean", "a", "b", "c", "d"]
    many = [Player(f"clip {n}", {}, RATE, [Sound(name, noise()) for name in names]) for n in range(10)]
    path = tmp_path / "page.html"
    write_page(path, summed(), many, {"gain": rng.bytes(100_000), "speed": rng.bytes(100_000)}, "title")
    assert 8e6 < path.stat().st_size < 10e6
