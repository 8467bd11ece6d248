"""The benchmark of training steps: every case once, what the processor cannot do marked, other machines kept apart."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from training import run, speed_table

    return run, speed_table


def test_every_case_is_measured_once_and_the_table_says_what_cannot_be(modules, tmp_path, monkeypatch, capsys):
    run, speed_table = modules
    machine = {"processor": "P", "cores": 2, "capability": "AVX2", "bfloat16": False, "torch": "2"}
    monkeypatch.setattr(run, "processor", lambda: machine)
    asked = []

    def pretended(case, data, steps):
        asked.append(case)
        return {"seconds": 4.0 if "precision" in case else 0.5 + 9.5 * (case["model"] == "dcunet-s"), "audio": 16.0} | {
            "recipe": run.RECIPES[case["model"]],
            "recipe_steps": 4500,
        }

    monkeypatch.setattr(run, "in_processes", pretended)
    for threads, processes in (("1", "1,2"), ("2", "1")):
        grid = ["--threads", threads, "--processes", processes]
        arguments = ["run.py", "DATA", *grid, "--output", str(tmp_path / "results.json")]
        monkeypatch.setattr(sys, "argv", arguments)
        run.main()
    steps = [case for case in asked if "precision" in case]
    assert len(steps) == 24  # of models, threads or processes, eager or compiled: only float32
    assert {case["precision"] for case in steps} == {"32-true"}
    text = speed_table.readme(tmp_path)
    assert text.count("– (processor without bfloat16)") == 24
    assert "| dcunet-s | 2 processes | float32 | compiled | 4.0 |" in text
    assert "| dcunet-10 | 2 | float32 | compiled | 4.0 | 32 | 8.0 |" in text
    assert "| dcunet-s | 1 | float32 | eager | 4.0 | 2 | 0.4 (too slow) |" in text
    assert "| `recipes/musdb/default.toml` | stems-s | 20 | 5 |" in text
    assert "P, 2 cores, AVX2, without bfloat16 arithmetic; torch 2." in text
    machine["processor"] = "Q"
    run.main()
    rows = json.loads((tmp_path / "results.json").read_text())["rows"].values()
    assert {row.get("threads") for row in rows} == {2, None}
    capsys.readouterr()


@pytest.mark.slow
def test_a_step_and_a_loader_are_timed(modules, store, tmp_path, monkeypatch):
    run, _ = modules
    settings = 'base = "{}"\n[model_options]\nhidden = 8\nblocks = 1\n[data]\nseconds = 0.5\n[optim]\nbatch = 2\n'
    monkeypatch.setattr(run, "LOADED", 3)
    monkeypatch.setitem(run.RECIPES, "dcunet-s", str(tmp_path / "tiny.toml"))
    (tmp_path / "tiny.toml").write_text(settings.format(ROOT / "recipes" / "open-speech" / "default.toml"))
    step = run.measure({"model": "dcunet-s", "threads": 1, "precision": "32-true", "compile": False}, store.folder, 2)
    loader = run.measure({"model": "dcunet-s"}, store.folder, 2)
    assert (step["steps"], step["audio"], loader["steps"], loader["audio"]) == (2, 1.0, 3, 1.0)
    assert 0 < loader["seconds"] < 10
    assert 0 < step["seconds"] < 10
    about = run.processor()
    assert about["cores"] >= 1
    assert isinstance(about["bfloat16"], bool)


@pytest.mark.slow
def test_recipes_of_stems_are_timed_on_noise(modules, tmp_path, monkeypatch):
    run, _ = modules
    settings = 'base = "{}"\n[model_options]\nhidden = 8\nblocks = 1\n[data]\nseconds = 0.5\n[optim]\nbatch = 2\n'
    monkeypatch.setattr(run, "LOADED", 2)
    monkeypatch.setitem(run.RECIPES, "stems-s", str(tmp_path / "tiny.toml"))
    (tmp_path / "tiny.toml").write_text(settings.format(ROOT / "recipes" / "musdb" / "default.toml"))
    step = run.measure({"model": "stems-s", "threads": 1, "precision": "32-true", "compile": False}, "", 1)
    loader = run.measure({"model": "stems-s"}, "", 1)
    assert (step["audio"], step["recipe_steps"], loader["steps"]) == (1.0, 60000, 2)
    assert min(step["seconds"], loader["seconds"]) > 0
