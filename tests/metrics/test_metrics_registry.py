"""The registry: every metric on the same awkward clips, with a stated outcome; finite scores or an error."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from signals import voice

from enhance.errors import EnhanceError
from enhance.metrics import METRICS, evaluate
from enhance.metrics.composite import composite

SCORED = [name for name in METRICS if not name.startswith("dnsmos")]  # those of an optional package apart
DISTANCES = {"llr", "wss"}
RATIOS = {name for name in SCORED if METRICS[name].unit == "dB"}
SPEECH = voice(2.0, 1) + np.float32(0.001) * np.random.default_rng(2).standard_normal(32000, np.float32)
NOISE = 0.03 * np.random.default_rng(0).standard_normal(32000).astype(np.float32)
MIXTURE = SPEECH + NOISE
ESTIMATE = SPEECH + 0.3 * NOISE + np.float32(0.001) * np.random.default_rng(1).standard_normal(32000, np.float32)


def outcome(reference: np.ndarray | None, estimate: np.ndarray, mixture: np.ndarray | None, rate: int = 16000):
    scores, errors = evaluate(SCORED, reference, estimate, mixture, rate)
    assert scores.keys() | errors.keys() == set(SCORED)
    assert all(type(score) is float and math.isfinite(score) for score in scores.values())
    assert all(error.hint for error in errors.values())
    return scores, errors


@pytest.fixture(scope="module")
def estimate_scores() -> dict[str, float]:
    scores, errors = outcome(SPEECH, ESTIMATE, MIXTURE)
    assert not errors
    return scores


def test_every_metric_prefers_less_noise(estimate_scores):
    untouched, errors = outcome(SPEECH, MIXTURE, MIXTURE)
    assert errors.keys() == {"bss_sar"}  # no artefacts at all
    for name, before in untouched.items():
        assert (estimate_scores[name] > before) == METRICS[name].higher_is_better, name
    assert untouched["si_sdr_improvement"] == 0


def test_one_metric_alone_gives_the_same(estimate_scores):
    for name in ("si_sdr", "bss_sir", "llr", "csig"):
        assert METRICS[name](SPEECH, ESTIMATE, MIXTURE, 16000) == estimate_scores[name]
    found = composite(SPEECH, ESTIMATE, 16000)
    assert found == tuple(estimate_scores[name] for name in ("csig", "cbak", "covl"))


def test_identical_signals():
    scores, errors = outcome(SPEECH, SPEECH, MIXTURE)
    infinite = {"si_sdr", "si_sdr_improvement", "snr", "bss_sdr", "bss_isr", "bss_sir", "bss_sar"}
    assert errors.keys() == infinite
    best = {
        "pesq_wb": 4.644,
        "pesq_nb": 4.549,
        "stoi": 1,
        "estoi": 1,
        "llr": 0,
        "wss": 0,
        "csig": 5,
        "cbak": 5,
        "covl": 5,
    }
    assert {name: scores[name] for name in best} == pytest.approx(best, abs=1e-3)


def test_silence():
    silence = np.zeros_like(SPEECH)
    assert outcome(silence, ESTIMATE, MIXTURE)[0] == {}
    scores, _ = outcome(SPEECH, silence, MIXTURE)
    assert scores.keys() == {"snr", "seg_snr", "global_sdr"}  # by definition: the error is the signal
    assert scores["snr"] == scores["global_sdr"] == 0
    assert -10 <= scores["seg_snr"] <= 0  # 0, and -10 in pauses of digital silence


def test_a_tenth_of_a_second():
    part = slice(8000, 9600)
    scores, errors = outcome(SPEECH[part], ESTIMATE[part], MIXTURE[part])
    assert errors.keys() == {"pesq_wb", "pesq_nb", "stoi", "estoi", "csig", "cbak", "covl"}
    assert scores.keys() >= {"si_sdr", "snr", "seg_snr", "llr", "wss", "bss_sdr", "global_sdr"}


def test_three_samples():
    scores, errors = outcome(SPEECH[8000:8003], ESTIMATE[8000:8003], MIXTURE[8000:8003])
    assert scores.keys() >= {"si_sdr", "snr", "global_sdr"}
    assert errors.keys() >= {"pesq_wb", "stoi", "seg_snr", "llr", "wss", "csig"}


def test_level_of_the_estimate(estimate_scores):
    scores, _ = outcome(SPEECH, 0.5 * ESTIMATE, MIXTURE)
    for name in ("stoi", "estoi", "si_sdr", "si_sdr_improvement", "llr", "wss"):
        assert scores[name] == pytest.approx(estimate_scores[name], abs=2e-3), name
    assert scores["pesq_wb"] == pytest.approx(estimate_scores["pesq_wb"], abs=0.01)
    for name in ("snr", "global_sdr", "bss_sdr"):
        assert scores[name] == pytest.approx(20 * math.log10(2), abs=0.1), name  # half the signal is missing


def test_dc(estimate_scores):
    scores, _ = outcome(SPEECH, ESTIMATE + np.float32(0.05), MIXTURE)
    for name in ("snr", "si_sdr", "seg_snr", "global_sdr", "bss_sdr"):
        assert scores[name] < estimate_scores[name] - 1, name
    assert scores["pesq_nb"] == pytest.approx(estimate_scores["pesq_nb"], abs=0.05)  # below its band


def test_other_rates():
    _, errors = outcome(SPEECH[::2], ESTIMATE[::2], MIXTURE[::2], 8000)
    assert errors.keys() == {"pesq_wb", "csig", "cbak", "covl"}
    _, errors = outcome(SPEECH, ESTIMATE, MIXTURE, 22050)
    assert errors.keys() == {"pesq_wb", "pesq_nb", "llr", "wss", "csig", "cbak", "covl"}
    assert all("Hz" in str(error) for error in errors.values())


def test_what_is_needed_is_said():
    without_mixture = outcome(SPEECH, ESTIMATE, None)[1].keys()
    assert without_mixture == {"si_sdr_improvement", "bss_sir"}
    assert without_mixture <= {name for name in SCORED if METRICS[name].needs_mixture}
    assert outcome(None, ESTIMATE, MIXTURE)[0] == {}
    assert {name for name in METRICS if not METRICS[name].needs_reference} == METRICS.keys() - set(SCORED)


def test_directions_and_labels():
    assert {name for name in METRICS if not METRICS[name].higher_is_better} == DISTANCES
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    assert {metric.unit for metric in METRICS.values()} == {"", "dB", "MOS"}


def test_wrong_use():
    with pytest.raises(EnhanceError, match="unknown metric 'sdr'"):
        evaluate(["sdr"], SPEECH, ESTIMATE, None, 16000)
    with pytest.raises(EnhanceError, match="align"):
        evaluate(["snr"], SPEECH, ESTIMATE[:-1], None, 16000)


def test_the_registry_is_light_to_import():
    program = (
        "import sys, enhance.metrics; print(*{'scipy', 'museval', 'pystoi', 'pesq', 'torch'} & sys.modules.keys())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
