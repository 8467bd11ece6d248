"""Adapters of other people's denoisers: their list, how a delay is taken out, and what is said of a run.

None of the peers is needed: the denoisers here are made up.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

FOLDER = Path(__file__).parents[2] / "benchmarks" / "peers"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run():
    """benchmarks/peers/run.py, which imports adapters.py beside it."""
    names = {name: sys.modules.get(name) for name in ("adapters", "run")}
    load("adapters")
    yield load("run")
    for name, before in names.items():
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before


def speech(seconds: float, rate: int = 16000) -> np.ndarray:
    """Noise below 2 kHz that comes and goes, float32."""
    rng = np.random.default_rng(0)
    length = round(seconds * rate)
    smooth = np.convolve(rng.standard_normal(length + 200), np.hanning(17), "valid")[:length]
    return (0.02 * smooth * (1 + np.sin(np.arange(length) / 1500))).astype(np.float32)


def late(run, lag: int, *, delay: int, rate: int = 16000, gain: float = 1.0, lost: int = 0, name: str = "Late One"):
    """A peer whose output is its input, ``lag`` samples late, and cut ``lost`` samples short."""

    def make() -> Callable[[np.ndarray], np.ndarray]:
        return lambda wave: gain * np.concatenate((np.zeros(lag, wave.dtype), wave))[: len(wave) - lost]

    return run.Peer(name, "numpy", "BSD-3-Clause", rate, delay, 64, make, "made up")


@pytest.fixture
def data(tmp_path) -> Path:
    """Five noisy files of different lengths."""
    (tmp_path / "noisy").mkdir()
    for number in range(5):
        soundfile.write(tmp_path / "noisy" / f"clip{number}.wav", speech(0.4 + 0.0371 * number), 16000)
    return tmp_path


def test_the_list(run):
    """At least nine peers; each has all that the table says of it, a line in the README and a pinned version."""
    assert len(run.PEERS) >= 9
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    pinned = re.findall(r"^([\w.-]+)==[\d.]+$", (FOLDER / "requirements.txt").read_text(encoding="utf-8"), re.M)
    for peer in run.PEERS:
        assert peer.name
        assert peer.licence
        assert callable(peer.make)
        assert peer.rate in (16000, 48000)
        assert 0 <= peer.delay < peer.rate / 10
        assert peer.block is None or 0 < peer.block < peer.rate / 10
        assert f"| {peer.name} |" in readme
        assert peer.package in {*pinned, "ffmpeg"}
    folders = [run.folder_name(peer) for peer in run.PEERS]
    assert len(set(folders)) == len(folders)
    assert all(re.fullmatch(r"[a-z0-9-]+", folder) for folder in folders)


@pytest.mark.parametrize("length", [1, 2, 999, 16000])
@pytest.mark.parametrize("lost", [0, 23])
def test_a_delay_is_taken_out_and_the_length_kept(run, length, lost):
    wave = speech(1.0)[:length]
    peer = late(run, 384, delay=384, lost=lost)
    found = run.denoise(peer, peer.make(), wave, 16000)
    assert found.shape == wave.shape
    kept = max(0, length - lost)
    np.testing.assert_array_equal(found[:kept], wave[:kept])
    assert not found[kept:].any()


def test_a_delay_at_another_rate(run):
    """1440 samples at 48 kHz are 480 at 16 kHz; what is left differs by the two resamplings only."""
    wave = speech(1.0)
    peer = late(run, 1440, delay=1440, rate=48000)
    found = run.denoise(peer, peer.make(), wave, 16000)
    assert found.shape == wave.shape
    error = 10 * np.log10(np.mean((found - wave)[200:-200] ** 2) / np.mean(wave**2))
    assert error < -80


@pytest.mark.parametrize("gain", [0.3, -1.0])
@pytest.mark.parametrize("lag", [-70, -1, 0, 5, 480])
def test_what_is_left_of_a_delay(run, lag, gain):
    wave = np.pad(speech(0.5), 500)
    assert run.left_delay(wave, gain * np.roll(wave, lag), 16000) == lag


def test_system_json(run, data, tmp_path):
    """The facts that ``enhance bench --estimates`` shows, and the files it scores."""
    sources = run.find_sources(data / "noisy", None)
    line = run.run_peer(late(run, 384, delay=384), sources, tmp_path / "out" / "late-one")
    assert "WRONG" not in line
    about = json.loads((tmp_path / "out" / "late-one" / "system.json").read_text())
    assert (about["name"], about["licence"], about["note"]) == ("Late One", "BSD-3-Clause", "made up")
    assert about["version"] == np.__version__
    assert about["delay_ms"] == 24
    assert about["latency_ms"] == 28  # and a block of 64
    assert about["residual_delay"] == {"median": 0, "lowest": 0, "highest": 0}
    assert (about["clips"], about["clipped_samples"]) == (5, 0)
    assert about["seconds"] == pytest.approx(5 * 0.4 + 10 * 0.0371, abs=1e-3)
    assert 0 <= about["rtf"] < 1
    for source in sources:
        estimate, rate = soundfile.read(tmp_path / "out" / "late-one" / f"{source.stem}.wav")
        np.testing.assert_allclose(estimate, soundfile.read(source)[0], atol=2**-15)
        assert rate == 16000


def test_samples_over_full_scale_are_clipped_and_counted(run, data, tmp_path):
    source = data / "noisy" / "clip0.wav"
    wave = soundfile.read(source)[0]
    gain = 1.5 / np.abs(wave).max()
    run.run_peer(late(run, 0, delay=0, gain=gain), [source], tmp_path / "out")
    about = json.loads((tmp_path / "out" / "system.json").read_text())
    assert about["clipped_samples"] == np.count_nonzero(np.abs(gain * wave) > 1) > 0
    estimate = soundfile.read(tmp_path / "out" / "clip0.wav")[0]
    np.testing.assert_allclose(estimate, np.clip(gain * wave, -1, 1), atol=2**-14)


def test_a_wrong_delay_is_told(run, data, tmp_path):
    sources = run.find_sources(data / "noisy", None)
    line = run.run_peer(late(run, 384, delay=374), sources, tmp_path / "out")
    assert "left of the delay: 10 samples" in line
    assert line.endswith("WRONG DELAY")


def test_a_complete_peer_is_not_run_again(run, data, tmp_path):
    some, all_of_them = run.find_sources(data / "noisy", 2), run.find_sources(data / "noisy", None)
    run.run_peer(late(run, 0, delay=0), some, tmp_path / "out")

    def fail() -> Callable[[np.ndarray], np.ndarray]:
        raise AssertionError("was run")

    broken = run.Peer("Late One", "numpy", "BSD-3-Clause", 16000, 0, 64, fail)
    assert run.run_peer(broken, some, tmp_path / "out") == "Late One: is complete"
    with pytest.raises(AssertionError, match="was run"):
        run.run_peer(broken, all_of_them, tmp_path / "out")
    assert run.is_complete(tmp_path / "out", some)  # a failure leaves what was there
    run.run_peer(late(run, 0, delay=0), all_of_them, tmp_path / "out")
    assert run.is_complete(tmp_path / "out", all_of_them)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_of_somebody_else_is_left_alone(run, data, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="not of this program"):
        run.run_peer(late(run, 0, delay=0), run.find_sources(data / "noisy", None), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "dear"


def test_the_start_of_a_process_is_not_counted(run, monkeypatch):
    """Five starts of 3, 2, 4, 3, 5 ms: 2 ms are the price of each."""
    clock = iter([0, 3, 10, 12, 20, 24, 30, 33, 40, 45])
    monkeypatch.setattr(run, "cpu_seconds", lambda: next(clock) / 1000)
    peer = run.Peer("P", "numpy", "MIT", 16000, 0, 64, lambda: lambda wave: wave, starts_process=True)
    start = run.start_seconds(peer)
    assert start == pytest.approx(0.002)
    rows = [{"seconds": 2.0, "cpu": 0.012, "left": 0, "clipped": 0}] * 3
    assert run.describe(peer, rows, start)["rtf"] == pytest.approx(0.005)


def test_the_pick_is_random_and_always_the_same(run, tmp_path):
    (tmp_path / "noisy").mkdir()
    for number in range(40):
        (tmp_path / "noisy" / f"{number:02}.flac").touch()
    (tmp_path / "noisy" / "notes.txt").touch()
    pick = run.find_sources(tmp_path / "noisy", 10)
    assert pick == run.find_sources(tmp_path / "noisy", 10)
    assert len(pick) == 10
    assert len({int(path.stem) % 4 for path in pick}) == 4
    assert len(run.find_sources(tmp_path / "noisy", None)) == 40


def test_wrong_use_is_told(run, tmp_path):
    with pytest.raises(SystemExit, match="--peers nobody: not known; there are speexdsp, "):
        run.choose("dtln,nobody")
    assert [peer.name for peer in run.choose("dtln,rnnoise")] == ["DTLN", "RNNoise"]
    with pytest.raises(SystemExit, match="no sound files"):
        run.find_sources(tmp_path / "noisy", None)
    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, np.zeros((100, 2)), 16000)
    with pytest.raises(ValueError, match="2 channels"):
        run.run_file(late(run, 0, delay=0), stereo, tmp_path / "out.wav")


def test_blocks_of_16_bit_samples(run):
    """Rounded, clipped, not wrapped round; the last block filled up with zeros."""
    adapters = sys.modules["adapters"]
    wave = np.array([0.5, -1.0, 1.5, -1.5, 1.6 / 32768], dtype=np.float32)
    sizes: list[int] = []
    found = adapters.blockwise(wave, 3, lambda block: sizes.append(len(block)) or block)
    assert sizes == [6, 6]
    np.testing.assert_array_equal(found * 32768, [16384, -32768, 32767, -32768, 2, 0])
