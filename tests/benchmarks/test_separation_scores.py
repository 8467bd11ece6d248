"""The benchmark of separators in miniature: its mixtures, its scores, its page."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from enhance import audio
from enhance.data.augment import rms
from enhance.data.store import AUDIO, INDEX, Store
from enhance.inference.blend import read_blend
from enhance.models import create, presets
from enhance.models.checkpoint import save

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    from separation import run

    return run


@pytest.fixture(scope="module")
def held_out(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up recordings with those for validation as the test's."""
    folder = tmp_path_factory.mktemp("held-out")
    index = json.loads((Path(store.folder) / INDEX).read_text())
    for entry in index["entries"]:
        entry["split"] = entry["split"].replace("valid", "test")
    (folder / INDEX).write_text(json.dumps(index))
    shutil.copy(Path(store.folder) / AUDIO, folder / AUDIO)
    return folder


def test_mixtures_are_of_their_sources_at_one_level(run: ModuleType, held_out: Path, tmp_path: Path):
    run.write_mixtures(tmp_path / "speech+music", Store(held_out), "speech+music", 3, 1.0)
    folders = sorted((tmp_path / "speech+music").iterdir())
    assert [folder.name for folder in folders] == ["000", "001", "002"]
    for folder in folders:
        waves = {path.stem: audio.read(path)[0][0] for path in folder.iterdir()}
        assert waves.keys() == {"speech", "music", "mixture"}
        np.testing.assert_allclose(waves["speech"] + waves["music"], waves["mixture"], atol=1e-6)
        assert 20 * np.log10(rms(waves["speech"]) / rms(waves["music"])) == pytest.approx(0, abs=0.05)


@pytest.mark.slow
def test_it_scores_a_kind_and_writes_the_page(
    run: ModuleType, held_out: Path, separator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "output"
    output.mkdir()
    options = ["--models", separator, "--clips", "3", "--seconds", "1.5", "--jobs", "1"]
    monkeypatch.setattr(
        sys, "argv", ["run.py", str(held_out), *options, "--work", str(tmp_path / "work"), "--output", str(output)]
    )
    monkeypatch.setattr(run, "kinds", lambda sources: ["speech+music"])
    run.main()
    found = json.loads((output / run.RESULTS).read_text())
    assert list(found["kinds"]["speech+music"]["sources"]) == ["music", "speech"]
    for untouched, model in found["kinds"]["speech+music"]["sources"].values():
        assert untouched["scores"]["si_sdr_improvement"]["mean"] == 0
        assert model["scores"]["si_sdr"]["n"] == 3
    page = (output / "README.md").read_text()
    assert page == run.readme(output)
    assert "## speech+music\n" in page
    assert str(tmp_path) not in page


def test_the_blend_is_no_worse_on_what_it_was_fitted_to(run: ModuleType, store: Store, separator: str, tmp_path: Path):
    models = [run.short(tmp_path, separator), "separator-s"]
    found = run.fit_blend(tmp_path, store, models, 2, 1.0)
    assert list(found["errors"]) == ["speech", "music", "noise"]
    for errors in found["errors"].values():
        assert list(errors) == [*models, "blend"]
        assert errors["blend"] <= min(errors[name] for name in models) + 1e-9
    files, weights = read_blend(tmp_path / "blend.toml")
    assert (list(files), weights) == (models, found["weights"])
    assert run.blend(found).count("\n| ") == 2 + 3 * 3


def test_the_stereo_table(
    run: ModuleType, held_out: Path, separator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from separation import stereo

    options = ["--model", separator, "--clips", "3", "--seconds", "1.5", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["stereo.py", str(held_out), *options])
    stereo.main()
    found = json.loads((tmp_path / run.STEREO).read_text())
    assert len(found["rows"]) == len(stereo.PLACES) * len(stereo.WAYS) * len(stereo.SOURCES)
    assert all(low <= mean <= high for row in found["rows"] for mean, low, high in (row["moved"], row["gained"]))
    (section,) = run.stereo(tmp_path)
    assert section.count("\n| voice ") == len(stereo.PLACES) * len(stereo.WAYS)


def test_a_source_that_is_quieter_on_the_right_has_moved(run: ModuleType):
    from separation.stereo import moved

    wave = np.random.default_rng(1).standard_normal((2, 1000))
    assert moved(wave, wave) == pytest.approx(0.0, abs=1e-9)
    assert moved(wave, wave * [[1.0], [0.5]]) == pytest.approx(6.02, abs=0.01)


def test_the_card_says_what_each_source_gains(run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import report

    recipe = {"optim": {"batch": 8}, "data": {"seconds": 3.0}, "run": {}}
    valid = {"step": 600, "scores": {"speech+music": {"speech": 8.24, "music": 7.0}}}
    provenance = {"recipe": recipe, "data": "0123", "step": 600, "hours": 1.5, "valid": valid}
    path = tmp_path / "separator-s.safetensors"
    save(path, create("separator-s"), presets()["separator-s"][1], provenance)
    score = {"si_sdr_improvement": {"mean": 8.06, "low": 7.5, "high": 8.6}}
    rows = [{"name": "untouched"}, {"name": "separator-s", "scores": score}]
    found = {"clips": 100, "kinds": {"speech+music": {"sources": {"speech": rows}}}}
    monkeypatch.setattr(report, "shipped", lambda: {"separator-s": path})
    monkeypatch.setattr(run, "results", lambda: found)
    card = report.separator_card("separator-s")
    assert card.startswith("# separator-s\n\nA separator of speech, music, noise: ")
    assert "1.5 h on one core" in card
    assert "  4 h of mixtures" in card
    assert "100 mixtures at 0 dB" in card
    assert "| speech+music | speech | 8.1 (7.5–8.6) |" in card
    assert "| speech+music | speech 8.2, music 7.0 |" in card
