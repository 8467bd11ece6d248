"""``enhance bench`` on clips of several sources: songs, scenes, talkers; models, blends and other tools."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from enhance.bench.records import Clip
from enhance.bench.systems import System, check_sources, identity
from enhance.errors import EnhanceError

Cli = Callable[..., tuple[int, str, str]]
RATE = 16000


def write(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.T, RATE, subtype="FLOAT")


def test_a_song_with_a_silent_channel_has_a_ratio(cli: Cli, tmp_path: Path):
    """The MDX challenge's SDR is of all channels together: a stem may be on one side alone."""
    rng = np.random.default_rng(6)
    sources = {name: 0.1 * rng.standard_normal((2, 2 * RATE)) for name in ("vocals", "drums")}
    sources["drums"][1] = 0
    for name, wave in sources.items():
        write(tmp_path / "set" / "one" / f"{name}.wav", wave)
        write(tmp_path / "made" / "one" / f"{name}.wav", 1.1 * wave)
    write(tmp_path / "set" / "one" / "mixture.wav", sources["vocals"] + sources["drums"])
    options = ("--json", "-j", "1", "--metrics", "global_sdr")
    code, out, error = cli("bench", tmp_path / "set", "-e", tmp_path / "made", *options)
    assert code == 0, error
    rows = {row["name"]: row for row in json.loads(out)["sources"]["drums"]}
    assert rows["made"]["scores"]["global_sdr"]["mean"] == pytest.approx(20, abs=0.1)


def test_several_sources(cli: Cli, tmp_path: Path):
    rng = np.random.default_rng(5)
    for track in ("one", "two"):
        sources = {name: 0.1 * rng.standard_normal((2, 2 * RATE)) for name in ("vocals", "drums")}
        for name, wave in sources.items():
            write(tmp_path / "set" / track / f"{name}.wav", wave)
            other = sources["drums" if name == "vocals" else "vocals"]
            write(tmp_path / "made" / track / f"{name}.wav", wave + 0.1 * other)
        write(tmp_path / "set" / track / "mixture.wav", sources["vocals"] + sources["drums"])
    code, out, error = cli("bench", tmp_path / "set", "-e", tmp_path / "made", "--json", "-j", "1")
    assert code == 0, error
    summary = json.loads(out)
    assert summary["metrics"] == ["bss_sdr", "bss_isr", "bss_sir", "bss_sar", "global_sdr"]
    assert list(summary["sources"]) == ["drums", "vocals"]
    made = {row["name"]: row for row in summary["sources"]["vocals"]}["made"]["scores"]
    assert made["bss_sir"]["mean"] == pytest.approx(20, abs=0.3)
    assert made["global_sdr"]["mean"] == pytest.approx(20, abs=0.1)


def test_a_silent_stem_costs_its_song_no_other_score(cli: Cli, tmp_path: Path):
    """Songs without vocals are common; a tool that gives nothing of a stem fails for that one."""
    rng = np.random.default_rng(7)
    for song in ("one", "two"):
        stems = {name: 0.1 * rng.standard_normal(2 * RATE) for name in ("bass", "drums", "vocals")}
        if song == "two":
            stems["vocals"] = np.zeros(2 * RATE)
        write(tmp_path / "set" / song / "mixture.wav", np.sum([*stems.values()], axis=0))
        for name, wave in stems.items():
            write(tmp_path / "set" / song / f"{name}.wav", wave)
            write(tmp_path / "made" / song / f"{name}.wav", wave + 0.01 * rng.standard_normal(2 * RATE))
    options = ("bench", tmp_path / "set", "-e", tmp_path / "made", "--json", "-j", "1")
    code, out, error = cli(*options, "--metrics", "bss_sdr,global_sdr")
    assert code == 0, error
    assert "no bss_sdr, global_sdr of two: silent reference: the clip does not hold this source" in error
    summary = json.loads(out)
    counts = {
        source: [(row["scored"], row["total"], row["scores"]["bss_sdr"]["n"]) for row in rows]
        for source, rows in summary["sources"].items()
    }
    assert counts == {"bass": [(2, 2, 2)] * 2, "drums": [(2, 2, 2)] * 2, "vocals": [(1, 1, 1)] * 2}
    made = {row["name"]: row for row in summary["systems"]}["made"]
    assert made["scores"]["bss_sdr"]["n"] == 2
    assert made["scores"]["bss_sdr"]["mean"] == pytest.approx(20, abs=0.3)
    write(tmp_path / "made" / "one" / "drums.wav", np.zeros(2 * RATE))
    code, out, error = cli(*options, "--metrics", "bss_sdr")
    assert code == 1
    assert "made: no bss_sdr of one: bss_sdr is not defined: silent estimate" in error
    counts = [rows[1]["scores"]["bss_sdr"]["n"] for rows in json.loads(out)["sources"].values()]
    assert counts == [2, 1, 1]


def test_a_separator_is_scored_on_the_sources_that_there_are(cli: Cli, tmp_path: Path, separator: str):
    """The references are of two of its three sources; scores are those of what `enhance separate` writes.

    A blend of it alone, at half the level, has the same SI-SDR, and as many parameters.
    """
    for track in ("one", "two", "three"):
        sources = {name: 0.1 * np.random.default_rng(len(track)).standard_normal(2 * RATE) for name in ("speech",)}
        sources["music"] = 0.1 * np.sin(np.arange(2 * RATE) * 0.1)
        for name, wave in {**sources, "mixture": sum(sources.values())}.items():
            write(tmp_path / "set" / track / f"{name}.wav", wave)
    assert cli("separate", tmp_path / "set" / "*" / "mixture.wav", "-o", tmp_path / "made", "-m", separator)[0] == 0
    blend = tmp_path / "half.toml"
    blend.write_text(f'[models]\na = "{separator}"\n[weights.speech]\na = 1.0\n[weights.music]\na = 1.0\n')
    code, out, error = cli(
        "bench", tmp_path / "set", "--models", f"{separator},{blend}", "-e", tmp_path / "made",
        "--metrics", "si_sdr,bss_sdr", "--json", "-j", "1",
    )  # fmt: skip
    assert code == 0, error
    summary = json.loads(out)
    assert list(summary["sources"]) == ["music", "speech"]
    for rows in summary["sources"].values():
        _, model, half, made = rows
        assert (half["name"], half["parameters"]) == ("half", model["parameters"])
        assert half["macs_per_second"] == model["macs_per_second"]
        assert half["scores"]["si_sdr"]["mean"] == pytest.approx(model["scores"]["si_sdr"]["mean"], abs=0.02)
        for metric in ("si_sdr", "bss_sdr"):
            assert model["scores"][metric]["n"] == 3
            assert model["scores"][metric]["mean"] == pytest.approx(made["scores"][metric]["mean"], abs=0.02)


def test_a_blend_is_checked_and_known_by_its_weights(tmp_path: Path, separator: str):
    blend = tmp_path / "both.toml"
    system = System("both", "model", str(blend))
    identities = set()
    for share in (0.5, 0.25, 0.25):
        blend.write_text(
            f'[models]\na = "{separator}"\nb = "{separator}"\n[weights.speech]\na = {share}\nb = {1 - share}\n'
        )
        identities.add(identity(system))
    assert len(identities) == 2
    clips = [Clip("one", tmp_path / "mixture.wav", {"speech": tmp_path / "s.wav", "music": tmp_path / "m.wav"})]
    with pytest.raises(EnhanceError, match="both gives speech, but the references are speech, music"):
        check_sources([system], clips)


def test_speakers_without_names_may_be_in_any_order(cli: Cli, tmp_path: Path):
    voices = 0.1 * np.random.default_rng(6).standard_normal((2, 2 * RATE))
    for place, order in (("set", (0, 1)), ("made", (1, 0))):
        for name, number in zip(("s1", "s2"), order, strict=True):
            other = 0.1 * voices[1 - number] if place == "made" else 0
            write(tmp_path / place / "one" / f"{name}.wav", voices[number] + other)
    write(tmp_path / "set" / "one" / "mixture.wav", voices.sum(0))
    options = ("--metrics", "si_sdr", "--json", "-j", "1", "--html", tmp_path / "page.html")
    code, out, error = cli("bench", tmp_path / "set", "-e", tmp_path / "made", *options)
    assert code == 0, error
    for rows in json.loads(out)["sources"].values():
        assert {row["name"]: row for row in rows}["made"]["scores"]["si_sdr"]["mean"] == pytest.approx(20, abs=0.3)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert {*re.findall(r'<h3 id="name-\d">(.*?)</h3>', page)} == {"one · s1", "one · s2"}
    found = re.findall(r'<script type="application/json" class="sounds">(.*?)</script>', page)
    assert len(found) == 2
    for sounds in found:  # of each talker the mixture, the reference and what was made of that one
        _, clean, made = (soundfile.read(io.BytesIO(base64.b64decode(sound)))[0] for sound in json.loads(sounds))
        assert np.corrcoef(clean, made)[0, 1] > 0.99
