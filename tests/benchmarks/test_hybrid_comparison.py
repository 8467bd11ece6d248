"""The comparison of a hybrid with its halves: its kinds of noise, its arithmetic, and the script on toy checkpoints."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from signals import voice
from toys import Gain

from enhance import audio
from enhance.errors import EnhanceError
from enhance.models import constructor_arguments, create, presets
from enhance.models import provenance as provenance_of
from enhance.models.checkpoint import load_model, read_header, save
from enhance.models.recurrent_hybrid import ORDERS

FOLDER = Path(__file__).parents[2] / "benchmarks" / "hybrid"
NAMES = ("kinds", "tables", "compare")


@pytest.fixture(scope="module")
def bench():
    """The three files of the folder, which import one another."""
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    sys.path.insert(0, str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    sys.path.remove(str(FOLDER))
    for name, module in before.items():
        del sys.modules[name]
        if module is not None:
            sys.modules[name] = module


# Kinds of noise


@pytest.mark.parametrize("kind", ["stationary", "impulsive", "babble", "music", "narrow-band"])
def test_at_every_snr_a_clip_has_the_same_speech_and_noise(bench, store, kind):
    assert kind in bench.kinds.KINDS
    quiet, loud = (bench.kinds.example(store, kind, snr, 2.0, 3) for snr in (15.0, -5.0))
    again = bench.kinds.example(store, kind, -5.0, 2.0, 3)
    assert np.array_equal(loud.mixture, again.mixture)
    noises = [found.mixture - found.target for found in (quiet, loud)]
    for (mixture, target), noise, snr in zip((quiet, loud), noises, (15.0, -5.0), strict=True):
        assert mixture.shape == (32000,)
        assert 10 * np.log10(np.square(target).mean() / np.square(noise).mean()) == pytest.approx(snr, abs=0.1)
    for one, other in ((quiet.target, loud.target), noises):
        assert np.corrcoef(one, other)[0, 1] > 0.999


def hiss() -> np.ndarray:
    return np.random.default_rng(1).standard_normal(64000).astype(np.float32)


def test_impulsive_noise_is_short_and_sparse(bench):
    """Made of white noise, which has neither: half of the time holds all but little of the energy."""
    for seed in range(5):
        wave = bench.kinds.impulsive(hiss, np.random.default_rng(seed), 16000)
        energy = np.sort(np.square(wave).reshape(-1, 160).sum(1))[::-1]  # of 10 ms each
        assert energy[:200].sum() > 0.95 * energy.sum()
        assert np.abs(wave).max() > 5 * np.sqrt(np.square(wave).mean())


def test_narrow_band_noise_is_in_few_bands(bench):
    for seed in range(5):
        wave = bench.kinds.narrow_band(hiss, np.random.default_rng(seed), 16000)
        power = np.sort(np.square(np.abs(np.fft.rfft(wave))))[::-1]
        assert power[: len(power) // 8].sum() > 0.95 * power.sum()


# Arithmetic


def test_the_blend_is_that_of_least_squares(bench, store, monkeypatch):
    """Halves that multiply by 0 and 1: the weight is how much less than all of the mixtures serves best."""
    gains = {Path("a"): Gain(0.0), Path("b"): Gain(1.0)}
    monkeypatch.setattr(bench.compare, "model", gains.__getitem__)
    pairs = [pair for found in bench.compare.examples(store, 1, 2.0).values() for pair in found]
    best = np.mean([np.dot(x, target) / np.dot(x, x) for x, target in pairs])  # each mixture counts alike
    weight = bench.compare.blend_weight(store, gains, 1, 2.0)
    assert 1 - weight == pytest.approx(best, rel=1e-4)


def rows(bench, **pesq: list[float]) -> list[dict]:
    """Clips of every kind at every SNR; system to the PESQ of each clip, a tenth more at each SNR."""
    return [
        {
            "kind": kind,
            "snr": snr,
            "index": index,
            "system": system,
            "pesq": value + 0.1 * step,
            "stoi": 0.5,
            "si_sdr": 1,
        }
        for kind in bench.kinds.KINDS
        for step, snr in enumerate(bench.kinds.SNRS)
        for system, values in pesq.items()
        for index, value in enumerate(values)
    ]


def test_means_and_paired_differences(bench):
    found = bench.compare.summarise(
        rows(bench, waveform=[1.0, 2.0, 3.0], hybrid=[1.5, 2.4, 3.3]), ["waveform", "hybrid"]
    )
    cell = found["scores"]["music"]
    assert cell["-5"]["waveform"]["pesq_wb"]["mean"] == pytest.approx(2.0)
    assert cell["15"]["waveform"]["pesq_wb"]["mean"] == pytest.approx(2.4)
    assert cell["all"]["hybrid"]["pesq_wb"]["mean"] == pytest.approx(2.6)
    one = next(
        row
        for row in found["comparisons"]
        if (row["kind"], row["snr"], row["metric"], row["against"]) == ("music", None, "pesq_wb", "waveform")
    )
    assert one["difference"] == pytest.approx(0.4)
    assert one["n"] == 3  # clips, not clips × SNRs
    assert 0.29 < one["low"] < one["high"] < 0.51


def test_differences_that_all_clips_share_are_significant_and_said_in_words(bench):
    better = [1.0 + 0.1 * number for number in range(20)]
    worse = [value - 0.01 * (1 + number) for number, value in enumerate(better)]
    order = ["untouched", "waveform", "hybrid"]
    found = bench.compare.summarise(rows(bench, untouched=worse, waveform=worse, hybrid=better), order)
    verdict = list(bench.tables._verdicts({**found, "order": order}))
    assert verdict == [
        "against `waveform`: better in 5 of 15 (kinds × metrics), worse in 0, not to be told apart in 10"
    ]


def test_a_system_worse_in_everything_is_not_in_the_plot_but_named_below(bench):
    def scores(offset: float, scale: float) -> list[dict[str, Any]]:
        values = [scale * (1.0 + 0.1 * number) + offset * (1 + 0.1 * number) for number in range(20)]
        return [{**row, "stoi": row["pesq"], "si_sdr": row["pesq"]} for row in rows(bench, x=values)]

    def found(**systems: tuple[float, float]) -> dict[str, Any]:
        scored = [{**row, "system": name} for name, given in systems.items() for row in scores(*given)]
        return {**bench.compare.summarise(scored, list(systems)), "order": list(systems)}

    close = found(untouched=(-2, 1), waveform=(-1, 1), spectrogram=(0, 1), hybrid=(0, 1))
    assert bench.tables._outdone(close) == ["waveform"]
    assert bench.tables._left_out(close).endswith("worse in each kind and metric: `waveform`.")
    labels = [line.get_label() for line in bench.tables.figure(close).axes[0].lines]
    assert "spectrogram" in labels
    assert "waveform" not in labels

    far = found(untouched=(-2, 1), waveform=(-1, 1), hybrid=(0, 1))  # nothing would be left to be seen
    assert bench.tables._left_out(far) == ""
    assert "waveform" in [line.get_label() for line in bench.tables.figure(far).axes[0].lines]


# The script


def test_the_three_checkpoints_are_needed(bench):
    with pytest.raises(EnhanceError, match=r"no checkpoint of spectrogram, hybrid: give waveform=FILE"):
        bench.compare.checkpoints(["waveform=a.safetensors"])
    given = [f"{name}=a.safetensors" for name in ("waveform", "spectrogram", "hybrid")]
    with pytest.raises(EnhanceError, match="blend is a name of its own"):
        bench.compare.checkpoints([*given, "blend=b.safetensors"])
    with pytest.raises(EnhanceError, match=r"a\.safetensors: no such file"):
        bench.compare.checkpoints(given)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["hybrid", "hybrid-dcunet"])
def test_a_bare_hybrid_is_one_without_what_its_waveform_module_makes(bench, tmp_path, name, order):
    torch.manual_seed(0)
    small = {"order": order, "waveform": {"widths": [4, 6, 8], "dilations": [[1], [1], [1, 2]]}}
    network: Any = create(name, **small).eval()
    for parameter in network.parts["waveform"].up[0].parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    if name == "hybrid":
        torch.nn.init.normal_(network.spectrogram.net.head.weight, std=0.3)
    save(tmp_path / "a.safetensors", network, constructor_arguments(name, **small), {"recipe": {"model": name}})
    bare = bench.compare.bare(tmp_path / "a.safetensors")
    mixture = torch.from_numpy(0.1 * voice(1, 1)).reshape(1, 1, -1)
    with torch.no_grad():
        own, first = bare.estimates(mixture), network.estimates(mixture)[0]
        if order == "spectrogram-waveform":
            torch.testing.assert_close(own, [first, first])
        else:
            torch.testing.assert_close(own[0], mixture[:, None])
        assert (own[1] - network(mixture)).abs().max() > 1e-4


def test_a_waveform_module_is_taken_out_of_the_hybrid_that_trained_it(bench, tmp_path):
    first, last = ({"order": order} for order in ORDERS)
    hybrid: Any = create("hybrid", **first)
    torch.nn.init.normal_(hybrid.waveform.up[0].weight, std=0.1)
    recipe = {"model": "hybrid", "seed": 7, "stages": [{"train": "waveform", "steps": 9, "lr": None}]}
    start = {"recipe": {"model": "dcunet-m", "seed": 1}, "step": 100, "hours": 3.0, "init": None}
    provenance = {"recipe": recipe, "step": 9, "hours": 0.5, "init": [start], "valid": {"score": 1.0}}
    path = tmp_path / "first.safetensors"
    save(path, hybrid, constructor_arguments("hybrid", **first), provenance)
    assert bench.compare.alone("hybrid", path, tmp_path) == path
    cut = bench.compare.alone("waveform", path, tmp_path)
    wave = torch.randn(1, 1, 4000)
    with torch.inference_mode():
        assert torch.equal(load_model(cut)(wave), hybrid.eval().waveform(wave))
    own = read_header(cut)["provenance"]
    assert (provenance_of.hours(own), provenance_of.steps(own), own["recipe"]["model"]) == (0.5, 9, "waveform")
    assert bench.compare.alone("waveform", cut, tmp_path) == cut
    recipe["stages"].append({"train": "all", "steps": 9, "lr": None})
    save(path, hybrid, constructor_arguments("hybrid", **first), provenance)
    with pytest.raises(EnhanceError, match="trained more than its module 'waveform'"):
        bench.compare.alone("waveform", path, tmp_path)
    save(path, create("hybrid", **last), constructor_arguments("hybrid", **last), provenance)
    with pytest.raises(EnhanceError, match="its module 'waveform' corrects another's estimate"):
        bench.compare.alone("waveform", path, tmp_path)


@pytest.mark.slow
def test_the_script_on_toy_checkpoints(bench, store, tmp_path, environment):
    given = []
    for name in ("waveform", "spectrogram", "hybrid"):
        torch.manual_seed(0)
        path = tmp_path / f"{name}.safetensors"
        recipe = {
            "model": name,
            "model_options": {},
            "seed": 7,
            "optim": {"batch": 4},
            "run": {},
            "data": {"seconds": 2},
        }
        provenance = {"recipe": recipe, "step": 900, "hours": 0.5, "code": "x", "init": None, "valid": {}}
        save(path, create(name), presets()[name][1], provenance)
        given.append(f"{name}={path}")
    for folder in ("noisy", "clean"):
        audio.write(tmp_path / "pairs" / folder / "a.wav", 0.1 * voice(2, 1), 16000)
    command = [sys.executable, FOLDER / "compare.py", store.folder, *given, "--clips", "1", "--seconds", "2"]
    command += ["--pairs", tmp_path / "pairs"]
    result = subprocess.run(
        [*command, "--output", tmp_path], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["order"] == ["untouched", "waveform", "spectrogram", "blend", "hybrid", "bare"]
    waveform = found["systems"][0]
    assert (waveform["seed"], waveform["hours"], waveform["audio_hours"]) == (7, 0.5, 2.0)
    assert waveform["rtf"] > 0
    for kind, cells in found["scores"].items():  # a new waveform module gives back its input
        assert found["clips"][kind] == 1
        assert cells["5"]["waveform"] == cells["5"]["untouched"]
        assert cells["5"]["untouched"]["si_sdr"]["mean"] == pytest.approx(5.0, abs=0.5)
    assert [row["name"] for row in found["pairs"]["systems"]] == ["untouched", "hybrid", "waveform", "spectrogram"]
    assert str(tmp_path) not in json.dumps(found)
    text = (tmp_path / "README.md").read_text()
    assert "## Real test pairs\n" in text
    assert "| waveform | " in text
    assert " | 0.59 M | 0.29 G | 0.5 | 2.0 | 900 | 7 |" in text
    assert (tmp_path / "differences.png").read_bytes()[:4] == b"\x89PNG"
    assert bench.tables.readme(tmp_path) == text
