"""SIGKILL at ten moments of a training: a rerun ends with the weights of an undisturbed run, bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kills import command, kill_at_random, undisturbed
from signals import voice

from enhance.data import pair_store
from enhance.models.checkpoint import load_model
from enhance.training import loop
from enhance.training import state as states

RECIPE = """
model = "dcunet-s"
model_options = {{ widths = [4, 4, 8], hidden = 8, blocks = 1 }}
[data]
kind = "pairs"
path = "{pairs}"
seconds = 0.25
remix = 0.5
workers = 1
[loss]
wsdr = 1.0
[optim]
steps = 40
batch = 2
warmup = 5
[run]
compile = false
precision = "32-true"
save_every = 4
log_every = 1
[valid]
clips = 1
seconds = 2.0
every = 15
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """A recipe of forty tiny steps on made-up pairs."""

    def pairs():
        for number in range(6):
            target = (16000 * voice(2.0, number)).astype(np.int16)
            noise = np.random.default_rng(number).normal(0, 500, len(target)).astype(np.int16)
            labels = {"id": f"p_{number}", "speaker": "p", "split": "valid" if number == 5 else "train"}
            yield {**labels, "noise": "", "snr": ""}, target + noise, target

    (tmp_path / "pairs").mkdir()
    pair_store.write(tmp_path / "pairs", pairs(), 16000, {})
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(pairs=tmp_path / "pairs"), encoding="utf-8")
    return path


def train(toml: Path, folder: Path):
    """What a person types, and types again after a crash."""
    resume = ["--resume"] if (folder / loop.STATE).exists() else []
    return command("train", toml, "-o", folder, *resume)


def result(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]], list[dict[str, Any]]]:
    """All tensors of the state, the scores, and the log, without times."""
    state = states.load(folder / loop.STATE)
    tensors = {f"{kind} {name}": tensor for kind in ("model", "average") for name, tensor in state[kind].items()}
    for optimizer, found in enumerate(state["optimizers"]):
        for number, moments in found["state"].items():
            tensors |= {f"optimizer {optimizer} {number} {name}": value for name, value in moments.items()}
    tensors["generator"] = state["generator"]
    rows = [json.loads(line) for line in (folder / loop.LOG).read_text(encoding="utf-8").splitlines()]
    for row in rows + state["history"]:
        for name in ("speed", "hours"):
            row.pop(name, None)
    return tensors, state["history"], rows


def assert_same(one: Path, other: Path) -> None:
    (tensors, history, rows), (tensors_too, history_too, rows_too) = result(one), result(other)
    assert tensors.keys() == tensors_too.keys()
    assert [name for name, tensor in tensors.items() if not torch.equal(tensor, tensors_too[name])] == []
    assert history == history_too
    assert rows == rows_too
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    for name in (loop.BEST, loop.LAST):
        models = [load_model(folder / name).state_dict() for folder in (one, other)]
        assert all(torch.equal(tensor, models[1][key]) for key, tensor in models[0].items())


@pytest.mark.slow
def test_killed_at_ten_moments_a_rerun_gives_the_same_weights(toml, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    most = undisturbed(train(toml, whole), whole)
    reached = set()

    def start():
        reached.add(states.load(parts / loop.STATE)["step"] if (parts / loop.STATE).exists() else None)
        return train(toml, parts)

    def finished() -> None:
        assert_same(whole, parts)
        shutil.rmtree(parts)

    kill_at_random(start, parts, most // 2, 1, finished)
    assert len(reached) >= 3  # not always in the same place
    undisturbed(train(toml, parts), parts)
    assert_same(whole, parts)
