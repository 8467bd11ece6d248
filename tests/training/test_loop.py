"""The loop: it learns, continues as if it had not stopped, and survives what is not finite."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from kills import command

from enhance.data import shards
from enhance.data.manifest import scan_folder
from enhance.errors import EnhanceError
from enhance.models.checkpoint import load_model, read_header
from enhance.models.checkpoint import save as save_checkpoint
from enhance.training import lock, loop, setup
from enhance.training import state as states
from enhance.training.recipe import Recipe
from enhance.training.step import new_run


def recipe(store, **changes) -> Recipe:
    """A tiny model on the made-up data set; ``changes`` as ``table__key=value``."""
    settings: dict = {
        "name": "tiny",
        "model": "dcunet-s",
        "model_options": {"widths": [4, 4, 8], "hidden": 8, "blocks": 1},
        "loss": {"compressed_spectrum": 10.0, "snr": 0.1},
        "data": {"path": store.folder, "seconds": 0.5, "workers": 0, "mixing": {"reverb": 0.0, "codec": 0.0}},
        "optim": {"steps": 6, "batch": 4, "warmup": 2, "lr": 5e-3},
        "run": {"compile": False, "precision": "32-true"},
        "valid": {"every": 1000, "clips": 1, "seconds": 2.0},
    }
    for key, value in changes.items():
        table, _, name = key.rpartition("__")
        (settings[table] if table else settings)[name] = value
    return Recipe.model_validate(settings)


def weights(folder) -> dict[str, torch.Tensor]:
    return states.load(folder / loop.STATE)["model"]


def log(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / loop.LOG).read_text().splitlines()]


@pytest.mark.slow
def test_the_loss_falls(store, tmp_path):
    loop.train(
        recipe(store, optim__steps=150, optim__batch=8, optim__lr=1e-2, optim__warmup=10),
        tmp_path,
        resume=False,
    )
    rows = [row for row in log(tmp_path) if row["kind"] == "train"]
    assert [row["step"] for row in rows] == [50, 100, 150]
    assert rows[-1]["loss"] < 0.75 * rows[0]["loss"]
    assert rows[-1]["snr"] < -8.0


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_interrupted_equals_uninterrupted(store, tmp_path, monkeypatch, optimizer):
    """Ctrl-C in the middle of the third step, then --resume: bit for bit what an undisturbed run gives."""
    plan = recipe(store, optim__optimizer=optimizer)
    loop.train(plan, tmp_path / "whole", resume=False)
    step = loop.Step.__call__

    def interrupted(self, batches):
        if self.run.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batches)

    monkeypatch.setattr(loop.Step, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.train(plan, tmp_path / "parts", resume=False)
    assert states.load(tmp_path / "parts" / loop.STATE)["step"] == 3
    monkeypatch.setattr(loop.Step, "__call__", step)
    loop.train(plan, tmp_path / "parts", resume=True)
    whole, parts = (states.load(tmp_path / name / loop.STATE) for name in ("whole", "parts"))
    for kind in ("model", "average"):
        for name, tensor in whole[kind].items():
            assert torch.equal(tensor, parts[kind][name]), name
    assert whole["history"][-1]["scores"] == parts["history"][-1]["scores"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
def test_a_run_on_shards_is_resumed_bit_for_bit(store, audio_folders, tmp_path, monkeypatch):
    clips = [clip for kind, folder in audio_folders.items() for clip in scan_folder(folder, kind)]
    shards.build(tmp_path / "shards", clips, [], 16000, jobs=1, shard_seconds=7.0)
    plan = recipe(store, data__path=tmp_path / "shards", data__kind="shards", data__workers=2, optim__accumulate=3)
    loop.train(plan, tmp_path / "whole", resume=False)
    step = loop.Step.__call__

    def interrupted(self, batches):
        if self.run.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batches)

    monkeypatch.setattr(loop.Step, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.train(plan, tmp_path / "parts", resume=False)
    monkeypatch.setattr(loop.Step, "__call__", step)
    loop.train(plan, tmp_path / "parts", resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert [name for name, tensor in whole.items() if not torch.equal(tensor, parts[name])] == []
    assert {row["kind"] for row in log(tmp_path / "parts")} == {"valid"}
    assert set(log(tmp_path / "parts")[-1]["scores"]) >= {"noise", "music", "babble", "clean"}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_is_lost_is_one_line(store, audio_folders, tmp_path, workers):
    clips = [clip for kind, folder in audio_folders.items() for clip in scan_folder(folder, kind)]
    shards.build(tmp_path / "shards", clips, [], 16000, jobs=1)
    (tmp_path / "shards" / "noise-train-000000.tar").unlink()
    plan = recipe(store, data__path=tmp_path / "shards", data__kind="shards", data__workers=workers)
    with pytest.raises(EnhanceError) as caught:
        loop.train(plan, tmp_path / "run", resume=False)
    assert str(caught.value) == (
        f"{tmp_path}/shards/noise-train-000000.tar: cannot be read (no such file): "
        "copy the shards again, or prepare them again"
    )


def test_a_resumed_log_has_every_step_once(store, tmp_path, monkeypatch):
    """The state is that of step 4, the log was at step 5, and its last line had not been written to its end."""
    plan = recipe(store, run__log_every=1, run__save_every=2, valid__every=3)
    loop.train(plan, tmp_path / "whole", resume=False)
    step = loop.Step.__call__

    def dies(self, batches):
        if self.run.step == 5:
            raise MemoryError
        return step(self, batches)

    monkeypatch.setattr(loop.Step, "__call__", dies)
    with pytest.raises(MemoryError):
        loop.train(plan, tmp_path / "parts", resume=False)
    assert [row["step"] for row in log(tmp_path / "parts")] == [1, 2, 3, 3, 4, 5]
    with (tmp_path / "parts" / loop.LOG).open("a") as file:
        file.write('{"kind": "train", "st')
    monkeypatch.setattr(loop.Step, "__call__", step)
    loop.train(plan, tmp_path / "parts", resume=True)
    whole, parts = (log(tmp_path / name) for name in ("whole", "parts"))
    assert [(row["kind"], row["step"]) for row in parts] == [(row["kind"], row["step"]) for row in whole]
    assert [row.get("loss") for row in parts] == [row.get("loss") for row in whole]
    assert purged(tmp_path / "parts") == [1, 2, 3, 4, 5, 6]


def purged(folder) -> list[int]:
    """Steps of the loss that TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return [event.step for event in found.Scalars("train/loss")]


def test_a_log_of_a_run_that_was_never_saved_begins_again(store, tmp_path):
    (tmp_path / loop.LOG).write_text('{"kind": "train", "step": 1}\n{"kind": "valid", "step": 1}\n')
    loop.train(recipe(store, optim__steps=2, run__log_every=1), tmp_path, resume=False)
    assert [(row["kind"], row["step"]) for row in log(tmp_path)] == [("train", 1), ("train", 2), ("valid", 2)]


def test_a_step_that_is_not_finite_is_skipped_and_counted(store, tmp_path, monkeypatch):
    step = loop.Step.__call__

    def poisoned(self, batches):
        if self.run.step == 3:
            before = {name: tensor.clone() for name, tensor in self.run.model.state_dict().items()}
            batches[0].mixture[0, 0] = float("nan")
            values = step(self, batches)
            assert all(torch.equal(before[name], tensor) for name, tensor in self.run.model.state_dict().items())
            return values
        return step(self, batches)

    monkeypatch.setattr(loop.Step, "__call__", poisoned)
    loop.train(recipe(store), tmp_path, resume=False)
    assert states.load(tmp_path / loop.STATE)["skipped"] == 1
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())


def test_gives_up_when_nothing_is_finite(store, tmp_path, monkeypatch):
    step = loop.Step.__call__

    def poisoned(self, batches):
        batches[0].mixture[:] = float("nan")
        return step(self, batches)

    monkeypatch.setattr(loop.Step, "__call__", poisoned)
    with pytest.raises(EnhanceError, match="not finite for 20 steps"):
        loop.train(recipe(store, optim__steps=100), tmp_path, resume=False)


def test_what_a_run_leaves_behind(store, tmp_path):
    loop.train(recipe(store), tmp_path, resume=False)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {loop.BEST, loop.LAST, loop.STATE, loop.RESOLVED, loop.LOG, "tensorboard", lock.NAME}
    header = read_header(tmp_path / loop.BEST)
    assert header["provenance"]["data"] == store.fingerprint
    assert header["provenance"]["step"] == 6
    assert header["provenance"]["code"].startswith("0.")
    assert set(header["provenance"]["valid"]["scores"]["noise"]) == {"pesq", "stoi", "si_sdr"}
    model = load_model(tmp_path / loop.BEST)
    assert model(torch.zeros(1, 1, 100)).shape == (1, 1, 1, 100)


def test_a_model_at_another_rate_is_refused(store, tmp_path):
    with pytest.raises(EnhanceError, match="prepared at 16000 Hz, but 'dcunet-s' runs at 8000 Hz"):
        loop.train(recipe(store, model_options={"sample_rate": 8000}), tmp_path, resume=False)


def test_a_run_is_not_overwritten(store, tmp_path):
    loop.train(recipe(store, optim__steps=1), tmp_path, resume=False)
    with pytest.raises(EnhanceError, match="holds a run already"):
        loop.train(recipe(store, optim__steps=1), tmp_path, resume=False)


def test_where_nothing_was_saved_resuming_begins(store, tmp_path, capsys):
    loop.train(recipe(store, optim__steps=1), tmp_path, resume=True)
    assert f"{tmp_path}: nothing was saved there, so the run begins" in capsys.readouterr().err
    loop.train(recipe(store, optim__steps=1), tmp_path, resume=True)
    assert capsys.readouterr().err == f"{tmp_path}: is finished\n"


def test_a_state_of_another_version_is_not_resumed(store, tmp_path):
    loop.train(recipe(store, optim__steps=1), tmp_path, resume=False)
    state = states.load(tmp_path / loop.STATE)
    state["optimizer"] = state.pop("optimizers")
    states.save(tmp_path / loop.STATE, state)
    with pytest.raises(EnhanceError, match=r"another version \(no optimizers\)"):
        loop.train(recipe(store), tmp_path, resume=True)


def test_starts_from_a_checkpoint(store, tmp_path):
    loop.train(recipe(store), tmp_path / "first", resume=False)
    model, _ = setup.build_model(recipe(store, init=tmp_path / "first" / loop.LAST))
    expected = load_model(tmp_path / "first" / loop.LAST).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(EnhanceError, match="weights of another model"):
        setup.build_model(recipe(store, init=tmp_path / "first" / loop.LAST, model_options={}))


def test_what_a_run_started_from_may_be_gone_when_it_is_resumed(store, tmp_path, monkeypatch):
    first = tmp_path / "first.safetensors"
    model, arguments = setup.build_model(recipe(store))
    given = {"recipe": {"name": "first", "seed": 1}, "data": "", "code": "", "step": 1, "hours": 3.0}
    save_checkpoint(first, model, arguments, given)
    step = loop.Step.__call__

    def interrupted(self, batches):
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, batches)

    monkeypatch.setattr(loop.Step, "__call__", interrupted)
    plan = recipe(store, init=first, optim__steps=2)
    with pytest.raises(KeyboardInterrupt):
        loop.train(plan, tmp_path / "run", resume=False)
    monkeypatch.setattr(loop.Step, "__call__", step)
    first.unlink()
    loop.train(plan, tmp_path / "run", resume=True)
    provenance = read_header(tmp_path / "run" / loop.LAST)["provenance"]
    assert (provenance["init"], provenance["recipe"]["init"]) == (given, str(first))
    assert provenance["step"] == 2


@pytest.mark.skipif(lock.fcntl is None, reason="no locks on this system")
def test_a_second_training_in_a_folder_is_refused(store, tmp_path):
    code = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(); input()"
    line = [sys.executable, "-c", code, str(tmp_path / lock.NAME)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(EnhanceError, match="another process trains here"):
            loop.train(recipe(store), tmp_path, resume=False)
        process.kill()
    assert [path.name for path in tmp_path.iterdir()] == [lock.NAME]


def test_starts_from_the_mean_of_several(store, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        loop.train(recipe(store, seed=seed, optim__steps=2), tmp_path / name, resume=False)
    names = [str(tmp_path / name / loop.LAST) for name in "ab"]
    one, two = (load_model(name).state_dict() for name in names)
    mean, _ = setup.build_model(recipe(store, init=names))
    for name, tensor in mean.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (one[name] + two[name]) / 2)
    given = [read_header(name)["provenance"] for name in names]
    found = setup.origin(recipe(store, init=[*names, names[0]]))
    assert sorted(found, key=given.index) == given
    assert setup.origin(recipe(store, init=[names[0], names[0]])) == given[0]
    with pytest.raises(EnhanceError, match="weights of another model"):
        setup.build_model(recipe(store, init=[names[0], "dcunet-s"]))


def test_the_best_is_never_worse_than_the_start(store, tmp_path):
    """Training that spoils the weights it began with leaves those as the best."""
    loop.train(recipe(store), tmp_path / "first", resume=False)
    first = tmp_path / "first" / loop.LAST
    loop.train(recipe(store, init=first, optim__lr=10.0, optim__warmup=0), tmp_path / "second", resume=False)
    assert read_header(tmp_path / "second" / loop.BEST)["provenance"]["step"] == 0
    kept, start = load_model(tmp_path / "second" / loop.BEST).state_dict(), load_model(first).state_dict()
    assert all(torch.equal(tensor, start[name]) for name, tensor in kept.items())


def test_bfloat16_where_the_processor_has_it(store, tmp_path, capsys):
    """And float32 where it has not: an LSTM in bfloat16 would end the run there."""
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    loop.train(recipe(store, optim__steps=1, run__precision="bf16-mixed", run__accelerator="cpu"), tmp_path, False)
    assert ("training in float32" in capsys.readouterr().err) == (not supported)
    assert weights(tmp_path)["net.head.weight"].dtype == torch.float32


def test_learning_rate_warms_up_and_decays(store):
    plan = recipe(store, optim__steps=110, optim__warmup=10, optim__lr=1.0, optim__final_lr=0.1)
    rates = [setup.learning_rate(step, plan) for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.55)
    assert rates[110] == pytest.approx(0.1)


def test_the_average_forgets_the_start_and_follows_the_weights():
    model = torch.nn.Linear(1, 1, bias=False)
    average = states.Average(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(1.0)
        average.weights["weight"].fill_(0.0)
    for step in range(60):
        average.update(model, step)
    # Product of min(0.9, (1 + n) / (10 + n)): 0.9 from n = 80 on, so every decay here is (1 + n) / (10 + n).
    remaining = 1.0
    for step in range(60):
        remaining *= (1 + step) / (10 + step)
    assert average.weights["weight"].item() == pytest.approx(1 - remaining, abs=1e-6)


@pytest.mark.slow
def test_sigterm_saves_the_run(store, tmp_path):
    """As a scheduler's pre-emption, sent to all processes, the loader's too: state is saved, the exit code is 143."""
    toml = tmp_path / "tiny.toml"
    toml.write_text(
        f'model = "dcunet-s"\n[model_options]\nwidths = [4, 4, 8]\nhidden = 8\nblocks = 1\n'
        f'[loss]\nwsdr = 1.0\n[data]\npath = "{store.folder}"\nseconds = 0.5\nworkers = 1\n'
        "[optim]\nbatch = 2\nsteps = 100000\n[valid]\nclips = 1\nseconds = 2.0\n"
        '[run]\ncompile = false\nsave_every = 5\nprecision = "32-true"\n'
    )
    process = command("train", toml, "-o", tmp_path / "run")
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / loop.STATE).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (int(worker), process.pid or 0):
        os.kill(pid, signal.SIGTERM)
    process.join(30)
    assert process.exitcode == 143
    deadline = time.monotonic() + 15
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
    assert states.load(tmp_path / "run" / loop.STATE)["step"] >= 5
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_a_run_of_another_model_is_not_resumed(store, tmp_path):
    loop.train(recipe(store, optim__steps=1), tmp_path, resume=False)
    with pytest.raises(EnhanceError, match="holds a run already: give --resume to go on with it, or another --output"):
        loop.train(recipe(store, optim__steps=1), tmp_path, resume=False)
    with pytest.raises(EnhanceError, match="holds a run already: give another --output"):  # recipes of one name
        loop.train(recipe(store, model="separator-s"), tmp_path, resume=False)
    with pytest.raises(EnhanceError, match="the run of another model"):
        loop.train(recipe(store, model_options={}), tmp_path, resume=True)


def test_what_the_optimiser_is_told_on_resuming_holds(store, tmp_path):
    loop.train(recipe(store, optim__steps=1), tmp_path, resume=False)
    changed = recipe(store, optim__steps=1, optim__weight_decay=0.25, optim__betas=(0.5, 0.6))
    run, _ = new_run(changed, setup.launch(changed))
    loop.restore(run, tmp_path / loop.STATE)
    group = run.optimizers[0].param_groups[0]
    assert (group["weight_decay"], group["betas"]) == (0.25, (0.5, 0.6))
    with pytest.raises(EnhanceError, match="of another optimizer"):
        loop.train(recipe(store, optim__steps=1, optim__optimizer="muon"), tmp_path, resume=True)


def test_an_optimiser_that_an_older_pytorch_lacks(store, monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    plan = recipe(store, optim__optimizer="muon")
    with pytest.raises(EnhanceError, match=r"muon: this PyTorch has none: pip install 'torch>=2\.9'"):
        new_run(plan, setup.launch(plan))


def test_a_finished_run_says_what_differs(store, tmp_path, capsys):
    loop.train(recipe(store, optim__steps=1), tmp_path, resume=False)
    loop.train(recipe(store, optim__steps=1, seed=3), tmp_path, resume=True)
    error = capsys.readouterr().err
    assert "resumed with another seed" in error
    assert "is finished" in error


def test_what_the_data_lacks_is_said_before_the_work(store, tmp_path):
    plan = recipe(store, data__mixing={"interferers": {"noise": 0.0}})
    with pytest.raises(EnhanceError, match="interferers"):
        loop.train(plan, tmp_path, resume=False)


def test_muon_takes_the_matrices_of_hidden_layers(store):
    plan = recipe(store, optim__optimizer="muon")
    model, _ = setup.build_model(plan)
    adamw, muon = setup.build_optimizers(model, plan.optim)
    given = [[p for group in found.param_groups for p in group["params"]] for found in (adamw, muon)]
    assert sum(p.numel() for p in given[0] + given[1]) == sum(p.numel() for p in model.parameters())
    assert {p.ndim for p in given[1]} == {2}
    assert any(p is model.get_parameter("net.blocks.0.lstm.weight_hh_l0") for p in given[1])
    assert any(p is model.get_parameter("net.band_embedding") for p in given[0])
