"""The listening page, as text and in a headless browser."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from enhance.bench.page import Player, Sound, choose, write_page
from enhance.bench.records import UNTOUCHED, Record
from enhance.bench.sounds import cropped, flac, spectrograms
from enhance.errors import EnhanceError

RATE = 16000
SECONDS = 3.0
NASTY = 'a<b>&"quo\'te"</script><img src=x onerror=alert(1)> $title ${x}'
# Whose sound is to be heard is told from its frequency.
TONES = {UNTOUCHED: 500, "clean": 1000, "ours": 2000, "their's <1>": 3000}
METRICS = ["pesq_wb", "si_sdr"]


def score(mean: float, half: float = 0.1) -> dict:
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": 20}


def row(name: str, kind: str, pesq: float, sdr: float, **facts) -> dict:
    about = dict.fromkeys(("rtf", "parameters", "macs_per_second", "latency_ms", "version", "licence", "note"))
    scores = {"pesq_wb": score(pesq), "si_sdr": score(sdr, 1.0)}
    return {"name": name, "kind": kind, "scored": 20, "total": 21, **about, **facts, "scores": scores}


def summed() -> dict:
    rows = [
        row(UNTOUCHED, "mixture", 2.0, 8.0),
        row("ours", "model", 2.8, 17.0, rtf=0.2, parameters=105112, macs_per_second=2.4e8),
        row("their's <1>", "estimates", 2.5, 18.0, rtf=0.004, note="<i>a note</i>"),
    ]
    other = {**rows[0], "scores": {}}
    pair = {"system": "ours", "against": UNTOUCHED, "n": 20, "low": 0.6, "high": 1.0, "p": 0.0004}
    return {
        "data": {"name": "a & b", "path": "data/a & b", "fingerprint": "0123abcd", "clips": 21, "seconds": 63.0},
        "metrics": METRICS,
        "systems": rows,
        "groups": {"snr": {"2.5": [other, *rows[1:]]}},
        "comparisons": [
            {**pair, "metric": "pesq_wb", "difference": 0.8},
            {**pair, "metric": "si_sdr", "difference": 9.0, "low": None, "high": None, "p": None},
        ],
        "footer": {
            "enhance": "0.1.0",
            "pesq": "0.0.4",
            "device": "cpu",
            "jobs": "2",
            "command": "enhance bench 'a & b'",
        },
    }


def players(count: int = 3) -> list[Player]:
    time_axis = np.arange(round(SECONDS * RATE)) / RATE
    scores = {UNTOUCHED: {"pesq_wb": 2.0, "si_sdr": 8.0}, "clean": {}, "ours": {"pesq_wb": 2.75, "si_sdr": 17.0}}
    return [
        Player(
            NASTY if number == 0 else f"clip {number}",
            {"snr": "2.5", "noise": "<cafe>"},
            RATE,
            [
                Sound(name, 0.3 * np.sin(2 * np.pi * tone * time_axis), scores.get(name, {"pesq_wb": 2.5}))
                for name, tone in TONES.items()
            ],
        )
        for number in range(count)
    ]


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (300, 200), "white").save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a page") / "listen.html"
    write_page(path, summed(), players(), {"distributions": png(), "speed": png()}, "a & b: <21> clips")
    return path


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
    assert [int(order[int(clip[1:])]) for clip in found] == [29, 28, 27, 16, 15, 14, 2, 1, 0]
    lower_is_better = choose(records([float(value) for value in order], "llr"), "llr")
    assert int(order[int(lower_is_better[0][1:])]) == 0


@pytest.mark.parametrize("clips", range(1, 30))
@pytest.mark.parametrize("count", [1, 4, 9])
def test_no_clip_is_chosen_twice(clips, count):
    found = choose(records([float(n % 5) for n in range(clips)]), "pesq_wb", count)
    assert len(found) == len(set(found)) == min(count, clips)


def test_clips_without_a_gain_come_last():
    some = records([0.1, 0.5])
    some += [Record(name, "silent", "speech", unscored={"pesq_wb": "silence"}) for name in (UNTOUCHED, "ours")]
    assert choose(some, "pesq_wb") == ["c1", "c0", "silent"]
    assert choose(some[:2], "pesq_wb") == ["c0", "c1"]  # the mixture alone


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
    summary = {**summed(), "comparisons": []}
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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Headless Chromium. Where there is none the tests are skipped, but in CI they fail."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    try:
        from selenium import webdriver
    except ImportError:
        webdriver = None
    if not (chromium and driver and webdriver):
        missing = "needs Chromium, chromedriver and selenium: apt install chromium chromium-driver"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(missing)
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    flags += "disable-component-update disable-sync disable-dev-shm-usage hide-scrollbars force-prefers-reduced-motion "
    flags += f"autoplay-policy=no-user-gesture-required window-size=1400,1000 user-data-dir={profile}"
    for flag in flags.split():
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    started.get("about:blank")  # in place of the browser's own first page, which asks for much
    yield started
    started.quit()


@pytest.fixture
def tab(browser, page) -> Iterator:
    """The page, freshly loaded; afterwards it must have been silent and have asked for nothing."""
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith("data:")] == [page.as_uri()]


def press(tab, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(tab).send_keys(*keys).perform()


def state(tab) -> dict:
    return tab.execute_script("return window.enhancePlayer.state")


def until(tab, condition: str) -> dict:
    """The player's state as soon as ``condition`` of ``s`` holds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if tab.execute_script(f"const s = window.enhancePlayer.state; return Boolean(s && ({condition}))"):
            return state(tab)
        time.sleep(0.02)
    raise AssertionError(f"{condition}: {state(tab)}")


LISTEN = """
const done = arguments[0], player = window.enhancePlayer, context = player.context;
const ear = new AnalyserNode(context, {fftSize: 4096, smoothingTimeConstant: 0});
player.output.connect(ear);
const wait = context.currentTime + 0.25;
(function look() {
  if (context.currentTime < wait) return setTimeout(look, 10);
  const level = new Float32Array(ear.frequencyBinCount);
  ear.getFloatFrequencyData(level);
  player.output.disconnect(ear);
  done(level.indexOf(Math.max(...level)) * context.sampleRate / ear.fftSize);
})();
"""


def test_what_is_heard_is_what_is_chosen(tab):
    press(tab, "j", "l", " ")
    until(tab, "s.sounding")
    for key, tone in (("1", 500), ("2", 1000), ("3", 2000), ("4", 3000), ("1", 500)):
        press(tab, key)
        assert tab.execute_async_script(LISTEN) == pytest.approx(tone, abs=15)
    press(tab, "9")  # there is no ninth
    assert state(tab)["system"] == UNTOUCHED
    press(tab, " ")
    assert not state(tab)["playing"]


# Presses 2, and gives back the sound of two thirds of a second around that.
SWITCH = """
const done = arguments[0], player = window.enhancePlayer, context = player.context;
const ear = new AnalyserNode(context, {fftSize: 32768}), sound = new Float32Array(32768);
player.output.connect(ear);
const begin = context.currentTime, lags = [];
let pressed = false;
(function look() {
  const now = context.currentTime - begin;
  lags.push(context.currentTime - player.state.position);
  if (now > 0.6 && !pressed) {
    pressed = true;
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "2", bubbles: true}));
  }
  if (now < 0.85) return setTimeout(look, 5);
  ear.getFloatTimeDomainData(sound);
  done({sound: [...sound], rate: context.sampleRate, lags, state: player.state});
})();
"""


def test_switching_keeps_the_position_and_leaves_no_gap(tab):
    press(tab, "j", "l", " ")
    before = until(tab, "s.sounding && s.position > 0.7")
    assert before["system"] == UNTOUCHED
    assert before["gains"] == [1, 0, 0, 0]
    found = tab.execute_async_script(SWITCH)
    assert found["state"]["system"] == "clean"
    assert found["state"]["gains"] == [0, 1, 0, 0]
    assert found["state"]["started"] == before["started"]  # nothing was started anew
    assert max(found["lags"]) - min(found["lags"]) < 0.05  # s; a busy machine's audio clock itself moves by blocks
    sound = np.array(found["sound"])
    window = round(0.01 * found["rate"])
    blocks = sound[: len(sound) // window * window].reshape(-1, window)
    loudness = np.sqrt(np.mean(blocks**2, axis=1)) / (0.3 / np.sqrt(2))
    assert 0.6 < loudness.min() < loudness.max() < 1.3
    tones = [np.argmax(np.abs(np.fft.rfft(part))) * 10 for part in (sound[: 10 * window], sound[-10 * window :])]
    assert tones == [500, 1000]


def test_seeking_by_click_and_by_key(tab):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    picture = tab.find_elements(By.CSS_SELECTOR, ".spectrogram")[1]
    ActionChains(tab).scroll_to_element(picture).move_to_element(picture).click().perform()  # the middle
    now = state(tab)
    assert now["clip"] == "clip 1"
    assert not now["playing"]
    assert now["position"] == pytest.approx(SECONDS / 2, abs=0.02)
    assert float(picture.get_attribute("aria-valuenow")) == pytest.approx(SECONDS / 2, abs=0.06)
    head = tab.find_elements(By.CSS_SELECTOR, ".playhead")[1]
    middle = picture.rect["x"] + picture.rect["width"] / 2
    assert head.rect["x"] + head.rect["width"] / 2 == pytest.approx(middle, abs=2)
    right, left = "\ue014", "\ue012"
    press(tab, right)
    assert state(tab)["position"] == pytest.approx(2.5, abs=0.02)
    press(tab, right)
    assert state(tab)["position"] == SECONDS
    press(tab, left, left, left, left)
    assert state(tab)["position"] == 0
    press(tab, " ")
    began, first = time.monotonic(), until(tab, "s.sounding && s.position > 0.05")
    press(tab, right)
    later = until(tab, "s.sounding && s.position > 1.05")
    assert later["position"] < first["position"] + 1 + time.monotonic() - began
    assert later["playing"]


def test_a_clip_ends_and_loops_and_the_next_one_goes_on(tab):
    press(tab, "j", "3", "\ue014", "\ue014", " ")  # from 2 s
    assert until(tab, "!s.playing && s.position === 0")["seconds"] == SECONDS
    press(tab, "l", "\ue014", "\ue014", " ")
    until(tab, "s.sounding && s.position > 2")
    until(tab, "s.sounding && s.position < 0.9")  # round
    press(tab, "\ue015")  # down
    now = until(tab, "s.sounding && s.clip === 'clip 1'")
    assert (now["system"], now["loop"]) == ("ours", False)
    assert now["position"] < 2
    playing = [e.text for e in tab.find_elements("css selector", ".play") if "Pause" in e.text]
    assert len(playing) == 1
    press(tab, "\ue013")  # up
    assert state(tab)["clip"] == NASTY
    press(tab, "\ue00c")  # escape: the page has its keys back
    assert state(tab) is None


def test_buttons_can_be_used_with_mouse_and_with_keyboard(tab):
    from selenium.webdriver.common.by import By

    clip = tab.find_elements(By.CSS_SELECTOR, "article")[0]
    assert clip.find_element(By.TAG_NAME, "h3").text == NASTY
    buttons = clip.find_elements(By.CSS_SELECTOR, ".choices button")
    assert [button.text.split() for button in buttons] == [
        ["1", UNTOUCHED],
        ["2", "clean"],
        ["3", "ours"],
        ["4", "their's", "<1>"],
    ]
    buttons[2].click()
    assert [button.get_attribute("aria-pressed") for button in buttons] == ["false", "false", "true", "false"]
    assert clip.find_element(By.CSS_SELECTOR, ".chosen").text == "ours"
    shown, small = (clip.find_elements(By.CSS_SELECTOR, f"{place} img") for place in (".spectrogram", ".strip"))
    assert shown[0].get_attribute("src") == small[2].get_attribute("src")
    press(tab, " ")  # after a click it is for playing
    until(tab, "s.sounding && s.system === 'ours'")
    press(tab, " ")
    tab.execute_script("arguments[0].focus()", buttons[3])
    press(tab, " ")  # on a button that has the focus it is for the button
    now = state(tab)
    assert (now["system"], now["playing"]) == ("their's <1>", False)
    small[1].click()
    assert state(tab)["system"] == "clean"
    assert tab.find_element(By.ID, "status").get_attribute("textContent") == f"{NASTY}: clean"


def test_a_click_on_a_heading_sorts(tab):
    from selenium.webdriver.common.by import By

    table = tab.find_element(By.CSS_SELECTOR, "#scores table")

    def order() -> list[str]:
        return [cell.text for cell in table.find_elements(By.CSS_SELECTOR, "tbody th")]

    heads = table.find_elements(By.CSS_SELECTOR, "thead button")
    assert order() == [UNTOUCHED, "ours", "their's <1>"]
    heads[2].click()
    assert order() == ["ours", "their's <1>", UNTOUCHED]  # best PESQ first
    heads[2].click()
    assert order() == [UNTOUCHED, "their's <1>", "ours"]
    heads[4].click()
    assert order() == ["their's <1>", "ours", UNTOUCHED]  # fastest first, without a factor last
    assert [head.get_attribute("aria-sort") for head in table.find_elements(By.CSS_SELECTOR, "thead th")][
        4
    ] == "ascending"


@pytest.mark.parametrize("width", [900, 1600])
def test_it_fits_the_window_in_light_and_dark(tab, width):
    device = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    tab.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    grounds = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        tab.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        assert tab.execute_script("return document.documentElement.scrollWidth") <= width
        colour = tab.execute_script("return getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, colour[4:-1].split(","))) / 3)
    assert grounds[0] > 230
    assert grounds[1] < 40
    tab.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    tab.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
