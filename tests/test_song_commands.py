"""The commands of recipes/musdb and recipes/moisesdb, as printed there, on songs in miniature."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pages
import pytest
import song_toys as toys
import soundfile

from enhance.bench.pairs import find_clips
from enhance.bench.score import default_metrics
from enhance.models.checkpoint import read_header

ROOT = Path(__file__).parent.parent
COMMANDS = {"musdb": ["prepare", "train", "bench", "separate"], "moisesdb": ["prepare", "train", "bench"]}
METRICS = ["bss_sdr", "bss_isr", "bss_sir", "bss_sar", "global_sdr"]
SMALL = (
    "--set model_options.widths=[4,4,4,6] --set model_options.hidden=6 --set model_options.blocks=1 "
    "--set run.precision=32-true --set data.workers=0 --set optim.batch=1 --set valid.seconds=1.0"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["musdb", "moisesdb"])
def test_prepare_train_bench_and_separate_as_the_readme_says(
    name: str, cli: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "recipes", "recipes")
    about = Path("recipes") / name / "data.toml"
    if name == "musdb":
        toys.write_musdb(Path("musdb18hq"), seconds=1.2)
        held_out = re.sub(r"(?s)valid = \[.*?\]", 'valid = ["Bo - Rain"]', about.read_text(encoding="utf-8"))
    else:
        toys.write_moisesdb(Path("moisesdb/moisesdb_v0.1"))
        held_out = re.sub(r"(?m)^valid = .*", "valid = 0.3", about.read_text(encoding="utf-8"))
    about.write_text(held_out, encoding="utf-8")
    wave = toys.song("Di - Wind")["mixture"]
    soundfile.write("song.flac", wave.T, toys.RATE)
    commands = [command for command in pages.commands(Path("recipes") / name / "README.md") if "refine" not in command]
    assert [command.split()[1] for command in commands] == COMMANDS[name]
    # BSSEval takes ten seconds for four stems of two channels, however short: of one recipe it is run as printed.
    metrics = METRICS if name == "musdb" else ["global_sdr"]
    longer = {"train": f"{pages.SHORT} {SMALL}", "bench": "--json --jobs 1"}
    longer["bench"] += "" if name == "musdb" else " --metrics global_sdr"
    for command in commands:
        code, out, error = cli(*shlex.split(f"{command} {longer.get(command.split()[1], '')}")[1:])
        assert code == 0, f"{command}\n{error}"
        if command.split()[1] == "bench":
            check(json.loads(out), metrics, error)
    clips, _ = find_clips(Path("runs/data") / name / "test")
    assert default_metrics(clips) == METRICS
    header = read_header(Path("runs") / name / "best.safetensors")
    assert header["sources"] == list(toys.STEMS)
    if name == "musdb":
        parts = [soundfile.read(f"stems/song/{source}.flac")[0].T for source in toys.STEMS]
        np.testing.assert_allclose(np.sum(parts, 0) * 32768, wave, atol=2.1)  # four roundings of half a bit


def check(summary: dict, metrics: list[str], unscored: str) -> None:
    """Of every stem; in the untouched mixture it is one of four or five of about one loudness."""
    assert summary["metrics"] == metrics
    assert set(summary["sources"]) == set(toys.STEMS)
    for rows in summary["sources"].values():
        untouched, model = (row["scores"] for row in rows)
        assert -10 < untouched["global_sdr"]["mean"] < 0  # -10 log10(3) of four
        assert model.keys() == set(metrics), unscored
        assert all(np.isfinite(model[metric]["mean"]) for metric in metrics)
