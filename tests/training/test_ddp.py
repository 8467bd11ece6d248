"""Two processes train as one with twice the batch, on the CPU (gloo)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from enhance.training import sources
from enhance.training import state as states
from enhance.training.loop import BEST, LAST, LOG, STATE
from enhance.training.recipe import read

pytestmark = pytest.mark.slow


def write_recipe(path: Path, store, steps: int, batch: int) -> Path:
    path.write_text(
        'model = "dcunet-s"\nseed = 3\nmodel_options = { widths = [4, 4, 8], hidden = 8, blocks = 1 }\n'
        f'[loss]\nwsdr = 1.0\n[data]\npath = "{store.folder}"\nseconds = 0.512\n'
        f"workers = 0\n[optim]\nlr = 1e-3\nwarmup = 0\nbatch = {batch}\nsteps = {steps}\n"
        "[valid]\nclips = 1\nseconds = 2.0\n"
        '[run]\ncompile = false\nprecision = "32-true"\naccelerator = "cpu"\nsave_every = 2\n',
        encoding="utf-8",
    )
    return path


def start(toml: Path, folder: Path, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "enhance.cli", "train", str(toml), "-o", str(folder), *options]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    return [row["loss"] for row in rows if row["kind"] == "train"]


def test_the_processes_share_the_examples_out(store, tmp_path):
    """Each number once in a step, in the order in which one process would take them."""
    settings = read(write_recipe(tmp_path / "a.toml", store, 4, 3), [])
    samplers = [iter(sources.batches(settings, 5, rank, 2).sampler) for rank in (0, 1)]
    taken = [[next(sampler) for _ in range(6)] for sampler in samplers]
    assert taken[0] == [30, 31, 32, 36, 37, 38]
    assert taken[1] == [33, 34, 35, 39, 40, 41]


WITHOUT_BATCH_NORM = """
import sys
import torch
from torch import nn
from enhance.training import setup, sources, step
from enhance.data.mixing import Example
from enhance.training.recipe import read

def without_batch_norm(recipe, build=step.build_model):
    model, arguments = build(recipe)
    for module in model.modules():
        if hasattr(module, "norm") and type(module.norm).__name__ == "BatchNorm2d":
            module.norm = nn.Identity()  # its statistics are those of a process
    return model, arguments

step.build_model = without_batch_norm
recipe = read(__import__("pathlib").Path(sys.argv[1]), sys.argv[2:])
fabric = setup.launch(recipe)
run, _ = step.new_run(recipe, fabric)
update = step.Step(recipe, fabric, run)
batches = iter(sources.batches(recipe, 0, fabric.global_rank, fabric.world_size))
for _ in range(recipe.optim.steps):
    values = update([Example(*next(batches)) for _ in range(recipe.optim.accumulate)])
    if fabric.is_global_zero:
        print(values["loss"], flush=True)
"""


@pytest.mark.parametrize("options", [("run.devices=2", "optim.batch=2"), ("optim.accumulate=2", "optim.batch=2")])
def test_two_processes_or_two_batches_are_one_batch_of_twice_the_size(store, tmp_path, environment, options):
    """Without batch norm, whose statistics are those of a batch and process, the losses are the same."""
    toml = write_recipe(tmp_path / "a.toml", store, 5, 4)
    program = tmp_path / "program.py"
    program.write_text(WITHOUT_BATCH_NORM, encoding="utf-8")
    found = []
    for changes in ((), options):
        command = [sys.executable, str(program), str(toml), *changes]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, result.stderr
        found.append([float(line) for line in result.stdout.splitlines()])
    assert len(found[0]) == 5
    assert found[0][0] > found[0][-1]
    assert found[1] == pytest.approx(found[0], abs=2e-4)


def test_two_processes_write_once_stop_together_and_resume(store, tmp_path, environment):
    toml = write_recipe(tmp_path / "a.toml", store, 6, 2)
    toml.write_text(toml.read_text(encoding="utf-8").replace("[run]\n", "[run]\nlog_every = 1\n"), encoding="utf-8")
    for folder in ("whole", "parts"):
        process = start(toml, tmp_path / folder, environment, "--devices", "2")
        if folder == "parts":
            wait_for(tmp_path / folder / STATE, process)
            os.kill(process.pid, signal.SIGTERM)  # the first process only: the other one learns of it
        error = process.communicate(timeout=120)[1]
        assert process.returncode == (143 if folder == "parts" else 0), error
    stopped = states.load(tmp_path / "parts" / STATE)["step"]
    assert 2 <= stopped < 6
    process = start(toml, tmp_path / "parts", environment, "--devices", "2", "--resume")
    assert process.wait(120) == 0
    whole, parts = (states.load(tmp_path / name / STATE) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 6
    assert all(torch.equal(tensor, parts["model"][name]) for name, tensor in whole["model"].items())
    assert len(losses(tmp_path / "whole")) == 6  # once, not once a process
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert (tmp_path / "whole" / BEST).exists()
    assert (tmp_path / "whole" / LAST).exists()

    assert start(toml, tmp_path / "one", environment, "--set", "optim.batch=4").wait(120) == 0
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "one"), abs=0.05)  # but for batch norm


def test_two_processes_train_the_modules_of_a_cascade_one_by_one(store, tmp_path, environment):
    """Weights that have no gradient in a stage do not hold up the exchange of those that have."""
    toml = write_recipe(tmp_path / "a.toml", store, 6, 2)
    _, rest = toml.read_text(encoding="utf-8").split("[loss]")
    toml.write_text(
        'model = "hybrid-dcunet"\n[model_options]\nwaveform = { widths = [4, 6, 8], dilations = [[1], [1], [1, 2]] }\n'
        'spectrogram = { layers = "compact", norm = "split", n_fft = 256, hop = 64, widths = [2, 2, 2, 2, 2] }\n'
        '[[stages]]\ntrain = "waveform"\nsteps = 2\n[[stages]]\ntrain = "spectrogram"\nsteps = 2\n'
        f"[auxiliary]\nsnr = 0.1\n[loss]{rest}log_every = 1\n",
        encoding="utf-8",
    )
    process = start(toml, tmp_path / "run", environment, "--devices", "2")
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 0, error
    assert len(losses(tmp_path / "run")) == 6


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not path.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    assert path.exists()


def test_a_process_that_is_killed_ends_the_training_with_a_line(store, tmp_path, environment):
    toml = write_recipe(tmp_path / "a.toml", store, 100000, 2)
    process = start(toml, tmp_path / "run", environment, "--devices", "2")
    wait_for(tmp_path / "run" / STATE, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    others = [int(child) for child in children if b"enhance.cli" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(others) == 1
    os.kill(others[0], signal.SIGKILL)
    error = process.communicate(timeout=90)[1]
    assert process.returncode not in (0, None)
    assert re.search("error: another process of the training died: .*--resume", error), error
    assert "Traceback" not in error
    assert states.load(tmp_path / "run" / STATE)["step"] >= 2
