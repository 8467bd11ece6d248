"""The listening page in a headless browser."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator

import numpy as np
import pytest
from listening_page import NASTY, SECONDS

from enhance.bench.records import UNTOUCHED


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


def shown(tab) -> list[str]:
    """Names in the first clip's list, from top to bottom."""
    return tab.execute_script(
        "return [...document.querySelectorAll('#clip-0 .choices tbody .name')].map((one) => one.textContent)"
    )


def test_equal_loudness_lowers_all_but_the_least_loud(tab):
    levels = tab.execute_script("return document.querySelector('#clip-0').dataset.levels.split(' ').map(Number)")
    assert min(levels) < 0.99
    assert max(levels) == 1
    press(tab, "j", "l", " ", "1")
    until(tab, "s.sounding && s.gains[0] === 1")
    press(tab, "e")
    until(tab, f"s.equal && Math.abs(s.gains[0] - {levels[0]}) < 1e-3")
    press(tab, "3")
    until(tab, f"s.gains[0] === 0 && Math.abs(s.gains[2] - {levels[2]}) < 1e-3")
    press(tab, "e")
    until(tab, "!s.equal && s.gains[2] === 1")


def test_blind_hides_which_system_is_heard_and_counts_what_was_preferred(tab):
    plain = shown(tab)
    tones = dict(zip(plain, (500, 1000, 2000, 3000), strict=True))
    orders = set()
    for _ in range(12):  # both orders of two systems come up, but for one time in two thousand
        press(tab, "j", "b")
        assert set(shown(tab)) == {UNTOUCHED, "clean", "sound A", "sound B"}
        assert shown(tab)[:2] == plain[:2]  # mixture and reference are open
        press(tab, "3")
        assert state(tab)["called"] == "sound A"
        orders.add(state(tab)["system"])
        press(tab, "b")
        assert shown(tab) == plain
    assert orders == set(plain[2:])
    press(tab, "b")
    page = tab.execute_script("return document.querySelector('#listen').innerText")
    assert not any(name in page for name in plain[2:])
    assert "0 of 3 clips judged" in page
    press(tab, "k", "k", "l", " ", "4")
    heard = until(tab, "s.sounding")["system"]
    assert tab.execute_async_script(LISTEN) == pytest.approx(tones[heard], abs=15)
    press(tab, "p", "1", "p", "j")  # what has its name cannot be preferred
    assert "1 of 3 clips judged" in tab.execute_script("return document.querySelector('#votes').textContent")
    assert state(tab)["called"] == UNTOUCHED
    press(tab, "4", "k")  # from one clip to the next the same letter would tell nothing, the same system all
    assert state(tab)["called"] == "sound A"
    press(tab, "b")
    votes = tab.execute_script("return document.querySelector('#votes').textContent")
    assert votes == f"preferred: {heard} 1 (1 of 3 clips judged)"
    assert shown(tab) == plain
