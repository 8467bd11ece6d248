"""Two processes train as one with twice the batch, on the CPU (gloo). Most are forked: importing takes the longest."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from kills import LONGEST, command
from kills import start as begin

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


def of_rank(rank: int, port: int) -> dict[str, str]:
    """What torchrun tells one of two processes."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    fixed = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    return {**fixed, **{name: str(value) for name, value in own.items()}}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def pair(toml: Path, folder: Path, *options: str) -> list[BaseProcess]:
    """``enhance train`` in two processes, as torchrun starts them."""
    port, options = free_port(), ("--devices", "2", *options)
    return [
        command("train", toml, "-o", folder, *options, errors=f"{folder}-{rank}", **of_rank(rank, port))
        for rank in (0, 1)
    ]


def ended(processes: list[BaseProcess]) -> list[int | None]:
    """Exit codes; whoever is not done in time is killed."""
    for process in processes:
        process.join(LONGEST)
        process.kill()  # which does nothing to one that is done
        process.join()
    return [process.exitcode for process in processes]


def updates(toml: Path, changes: tuple[str, ...], variables: dict[str, str], path: Path) -> None:
    """Train without batch norm and write the losses; in a process of its own."""
    from torch import nn

    from enhance.data.mixing import Example
    from enhance.training import setup, step

    os.environ.update(variables)

    def without_batch_norm(recipe, build=step.build_model):
        model, arguments = build(recipe)
        for module in model.modules():
            if hasattr(module, "norm") and type(module.norm).__name__ == "BatchNorm2d":
                module.norm = nn.Identity()  # its statistics are those of a process
        return model, arguments

    step.build_model = without_batch_norm
    recipe = read(toml, list(changes))
    fabric = setup.launch(recipe)
    run, _ = step.new_run(recipe, fabric)
    update = step.Step(recipe, fabric, run)
    batches = iter(sources.batches(recipe, 0, fabric.global_rank, fabric.world_size))
    found = [
        update([Example(*next(batches)) for _ in range(recipe.optim.accumulate)])["loss"]
        for _ in range(recipe.optim.steps)
    ]
    if fabric.is_global_zero:
        path.write_text(json.dumps(found), encoding="utf-8")


def test_two_processes_or_two_batches_are_one_batch_of_twice_the_size(store, tmp_path):
    """Without batch norm, whose statistics are those of a batch and process, the losses are the same."""
    toml, port = write_recipe(tmp_path / "a.toml", store, 5, 4), free_port()
    ways = {
        "one": (("optim.batch=4",), [{}]),
        "two batches": (("optim.accumulate=2", "optim.batch=2"), [{}]),
        "two processes": (("run.devices=2", "optim.batch=2"), [of_rank(0, port), of_rank(1, port)]),
    }
    found = {}
    for name, (changes, ranks) in ways.items():
        processes = [begin(updates, toml, changes, variables, tmp_path / name) for variables in ranks]
        assert set(ended(processes)) == {0}, name
        found[name] = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    assert len(found["one"]) == 5
    assert found["one"][0] > found["one"][-1]
    assert found["two batches"] == pytest.approx(found["one"], abs=2e-4)
    assert found["two processes"] == pytest.approx(found["one"], abs=2e-4)


def test_two_processes_write_once_stop_together_and_resume(store, tmp_path):
    toml = write_recipe(tmp_path / "a.toml", store, 6, 2)
    toml.write_text(toml.read_text(encoding="utf-8").replace("[run]\n", "[run]\nlog_every = 1\n"), encoding="utf-8")
    assert ended(pair(toml, tmp_path / "whole")) == [0, 0]
    processes = pair(toml, tmp_path / "parts")
    wait_for(tmp_path / "parts" / STATE, processes[0].is_alive)
    os.kill(processes[0].pid or 0, signal.SIGTERM)  # the first process only: the other one learns of it
    assert ended(processes)[0] == 143
    stopped = states.load(tmp_path / "parts" / STATE)["step"]
    assert 2 <= stopped < 6
    assert ended(pair(toml, tmp_path / "parts", "--resume")) == [0, 0]
    whole, parts = (states.load(tmp_path / name / STATE) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 6
    assert all(torch.equal(tensor, parts["model"][name]) for name, tensor in whole["model"].items())
    assert len(losses(tmp_path / "whole")) == 6  # once, not once a process
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert (tmp_path / "whole" / BEST).exists()
    assert (tmp_path / "whole" / LAST).exists()


def test_two_processes_train_the_modules_of_a_cascade_one_by_one(store, tmp_path):
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
    assert ended(pair(toml, tmp_path / "run")) == [0, 0]
    assert len(losses(tmp_path / "run")) == 6


def wait_for(path: Path, running: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST
    while not path.exists() and time.monotonic() < deadline and running():
        time.sleep(0.02)
    assert path.exists()


def test_a_process_that_is_killed_ends_the_training_with_a_line(store, tmp_path, environment):
    """Processes that the first one starts itself, as when a person types the command."""
    toml = write_recipe(tmp_path / "a.toml", store, 100000, 2)
    line = [sys.executable, "-m", "enhance.cli", "train", str(toml), "-o", str(tmp_path / "run"), "--devices", "2"]
    process = subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(tmp_path / "run" / STATE, lambda: process.poll() is None)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    others = [int(child) for child in children if b"enhance.cli" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(others) == 1
    os.kill(others[0], signal.SIGKILL)
    error = process.communicate(timeout=90)[1]
    assert process.returncode not in (0, None)
    assert re.search("error: another process of the training died: .*--resume", error), error
    assert "Traceback" not in error
    assert states.load(tmp_path / "run" / STATE)["step"] >= 2
