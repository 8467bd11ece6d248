"""Cascades in training: losses of the estimates on the way, and stages in which one module learns."""

from __future__ import annotations

import math

import pytest
import torch
from lightning_fabric import Fabric

from enhance.data.mixing import Example
from enhance.errors import EnhanceError
from enhance.models import checkpoint, constructor_arguments, create, presets
from enhance.nn.masks import ubd
from enhance.training import loop, setup
from enhance.training import recipe as recipes
from enhance.training import state as states
from enhance.training.recipe import Recipe
from enhance.training.step import Step, new_run

LOSS = {"compressed_spectrum": 10.0, "snr": 0.1}
RUN = {"compile": False, "precision": "32-true"}
STAGES = [{"train": "spectrogram", "steps": 2, "lr": 4e-3}, {"train": "waveform", "steps": 3, "lr": 2e-3}]


def recipe(folder, **changes) -> Recipe:
    """A tiny hybrid on the made-up data set."""
    settings: dict = {
        "name": "tiny",
        "model": "hybrid-dcunet",
        "model_options": {
            "waveform": {"widths": [4, 6, 8], "dilations": [[1], [1], [1, 2]]},
            "spectrogram": {"layers": "compact", "norm": "split", "n_fft": 256, "hop": 64, "widths": [2, 2, 2, 2, 2]},
        },
        "loss": LOSS,
        "data": {"path": folder, "seconds": 0.5, "workers": 0, "mixing": {"reverb": 0.0, "codec": 0.0}},
        "optim": {"steps": 8, "batch": 2, "warmup": 1, "lr": 1e-3, "final_lr": 0.0},
        "run": RUN,
        "valid": {"every": 1000, "clips": 1, "seconds": 2.0},
    }
    return Recipe.model_validate({**settings, **changes})


def step_of(plan: Recipe) -> Step:
    fabric = Fabric(accelerator="cpu", precision="32-true")
    return Step(plan, fabric, new_run(plan, fabric)[0])


def batch() -> Example:
    speech, noise = 0.1 * torch.randn(2, 2, 8000, generator=torch.Generator().manual_seed(0))
    return Example(speech + noise, speech)  # pyright: ignore[reportArgumentType]


# Recipes


def test_stages_come_first_and_all_modules_last(tmp_path):
    plan = recipe(tmp_path, stages=STAGES)
    found = [(plan.stage(step)[0].train, plan.stage(step)[1]) for step in range(8)]
    assert found == [("spectrogram", 0)] * 2 + [("waveform", 2)] * 3 + [("all", 5)] * 3


def test_the_last_stage_may_go_on_to_the_end(tmp_path):
    plan = recipe(tmp_path, stages=[STAGES[0], {"train": "waveform", "lr": 2e-3}])
    found = [(plan.stage(step)[0].train, plan.stage(step)[1]) for step in range(9)]
    assert found == [("spectrogram", 0)] * 2 + [("waveform", 2)] * 6 + [("all", 8)]  # where there is no more step
    rates = [setup.learning_rate(step, plan) for step in range(2, 8)]
    assert rates == pytest.approx([2e-3, *(1e-3 * (1 + math.cos(math.pi * n / 5)) for n in range(5))])
    with pytest.raises(ValueError, match="only the last one may leave out its steps"):
        recipe(tmp_path, stages=[{"train": "waveform"}, STAGES[1]])


def test_every_stage_warms_up_and_decays(tmp_path):
    plan = recipe(tmp_path, stages=[{"train": "waveform", "steps": 3, "lr": 2e-3}])
    rates = [setup.learning_rate(step, plan) for step in range(8)]
    # one step of warm-up, then half a cosine over the 2 or 4 that are left
    assert rates == pytest.approx([2e-3, 2e-3, 1e-3, 1e-3, 1e-3, 8.5355e-4, 5e-4, 1.4645e-4], rel=1e-4)


def test_a_stage_without_a_rate_of_its_own_has_that_of_the_recipe(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(
        'model = "hybrid"\nloss = { snr = 1.0 }\ndata = { path = "x" }\n'
        "stages = [{ steps = 2 }, { steps = 2, lr = 0.5 }]\n"
    )
    plan = recipes.read(path, ["optim.lr=0.25", "optim.steps=6", "optim.warmup=1"])
    assert [setup.learning_rate(step, plan) for step in (0, 2, 4)] == [0.25, 0.5, 0.25]


def test_an_option_in_a_table_changes_only_itself_in_model_and_checkpoint(tmp_path):
    plan = recipe(tmp_path, model_options={"spectrogram": {"mask": "ubd"}, "waveform": {"widths": [8, 12, 16]}})
    model, arguments = setup.build_model(plan)
    checkpoint.save(tmp_path / "a.safetensors", model, arguments, {})
    expected = {**presets()["hybrid-dcunet"][1]}
    expected["spectrogram"] = {**expected["spectrogram"], "mask": "ubd"}
    expected["waveform"] = {**expected["waveform"], "widths": [8, 12, 16]}
    assert checkpoint.read_header(tmp_path / "a.safetensors")["arguments"] == expected
    loaded = checkpoint.load_model(tmp_path / "a.safetensors")
    assert loaded.parts["spectrogram"].mask_function is ubd
    assert loaded.parts["spectrogram"].n_fft == 512


def test_mistakes_are_found_before_the_work(tmp_path, store):
    path = tmp_path / "a.toml"
    text = (
        'model = "hybrid-dcunet"\n[data]\npath = "x"\n[loss]\nsnr = 1.0\n[auxiliary]\nsrn = 1.0\n[[stages]]\nstep = 3\n'
    )
    path.write_text(text)
    with pytest.raises(EnhanceError) as caught:
        recipes.read(path, [])
    assert "unknown loss 'srn'" in str(caught.value)
    assert "stages.0.step: unknown, did you mean stages.steps?" in str(caught.value)
    with pytest.raises(ValueError, match=r"stages take 5 steps, optim\.steps is 4"):
        recipe(store.folder, stages=STAGES, optim={"steps": 4})
    with pytest.raises(
        EnhanceError, match="'hybrid-dcunet' has no module 'phase': give one of all, waveform, spectrogram"
    ):
        loop.train(recipe(store.folder, stages=[{"train": "phase", "steps": 1}]), tmp_path / "run", resume=False)
    alone = recipe(store.folder, model="waveform", model_options={}, auxiliary={"snr": 1.0})
    with pytest.raises(EnhanceError, match="'waveform' has no estimate before its last: leave it out"):
        loop.train(alone, tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()


def test_auxiliary_losses_of_a_base_are_replaced_whole(tmp_path):
    (tmp_path / "base.toml").write_text(
        'model = "hybrid-dcunet"\nloss = { snr = 1.0 }\nauxiliary = { snr = 0.5 }\ndata = { path = "x" }\n'
    )
    (tmp_path / "a.toml").write_text('base = "base.toml"\nauxiliary = { wsdr = 1.0 }\n')
    assert recipes.read(tmp_path / "a.toml", []).auxiliary == {"wsdr": 1.0}


# Steps


def test_the_loss_is_that_of_the_result_and_of_the_estimate_before_it(tmp_path):
    step = step_of(recipe(tmp_path, auxiliary={"snr": 0.4}))
    step.run.model.train()
    mixture, target = (torch.as_tensor(wave)[:, None] for wave in batch())
    first, last = (estimate[:, 0].detach() for estimate in step.run.model.estimates(mixture))
    snr = step.losses["snr"][1]
    values = step([batch()])
    assert values["snr"] == pytest.approx(snr(last, target, mixture).item(), rel=1e-5)
    assert values["waveform_snr"] == pytest.approx(snr(first, target, mixture).item(), rel=1e-5)
    expected = 10 * values["compressed_spectrum"] + 0.1 * values["snr"] + 0.4 * values["waveform_snr"]
    assert values["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("order", ["waveform-spectrogram", "spectrogram-waveform"])
@pytest.mark.parametrize("trained", ["waveform", "spectrogram"])
def test_only_the_module_of_the_stage_changes(tmp_path, order, trained):
    """Neither weights nor statistics of the other one; the auxiliary loss waits for its stage. Then all learn."""
    plan = recipe(tmp_path, auxiliary={"snr": 1.0}, stages=[{"train": trained, "steps": 2}])
    plan = plan.model_copy(update={"optim": plan.optim.model_copy(update={"weight_decay": 0.0})})  # gradients alone
    options = {**plan.model_options, "order": order}
    step = step_of(plan.model_copy(update={"model_options": options}))
    before = {name: tensor.clone() for name, tensor in step.run.model.state_dict().items()}
    values = [step([batch()]) for _ in range(2)]
    assert not [name for row in values for name in row if name.endswith("_snr")]
    changed = {name for name, tensor in step.run.model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed
    assert {name.split(".")[1] for name in changed} == {trained}
    before = {name: weight.detach().clone() for name, weight in step.run.model.named_parameters()}
    all_again = step([batch()])
    assert f"{order.split('-')[0]}_snr" in all_again
    learned = {name for name, weight in step.run.model.named_parameters() if not torch.equal(before[name], weight)}
    assert {name.split(".")[1] for name in learned} == {"waveform", "spectrogram"}


def test_a_cascade_computes_in_the_precision_of_the_recipe(store, monkeypatch):
    plan = recipe(store.folder, run={"compile": False, "precision": "bf16-mixed"})
    fabric = Fabric(accelerator="cpu", precision="bf16-mixed")
    step = Step(plan, fabric, new_run(plan, fabric)[0])
    seen = []
    for part in step.parts.values():
        part.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    step([batch()])
    assert seen == [True, True]


@pytest.mark.slow
def test_interrupted_in_a_stage_equals_uninterrupted(store, tmp_path, monkeypatch):
    """Stopped in the second of three stages, and gone on with: bit for bit what an undisturbed run gives."""
    plan = recipe(store.folder, auxiliary={"snr": 0.1}, stages=STAGES, run={**RUN, "save_every": 1})
    loop.train(plan, tmp_path / "whole", resume=False)
    step = loop.Step.__call__

    def stopping(self, batches):
        if self.run.step == 3:
            raise KeyboardInterrupt
        return step(self, batches)

    monkeypatch.setattr(loop.Step, "__call__", stopping)
    with pytest.raises(KeyboardInterrupt):
        loop.train(plan, tmp_path / "parts", resume=False)
    monkeypatch.setattr(loop.Step, "__call__", step)
    assert states.load(tmp_path / "parts" / loop.STATE)["step"] == 3
    loop.train(plan, tmp_path / "parts", resume=True)
    whole, parts = (states.load(tmp_path / name / loop.STATE) for name in ("whole", "parts"))
    for kind in ("model", "average"):
        for name, tensor in whole[kind].items():
            assert torch.equal(tensor, parts[kind][name]), name


def test_the_modules_of_a_cascade_start_from_checkpoints_of_their_own(tmp_path, store):
    compact = {"widths": [4, 4, 8], "hidden": 8, "blocks": 1}
    layers = {"widths": [4, 6, 8], "dilations": [[1], [1], [1, 2]]}
    torch.manual_seed(5)
    alone = create("dcunet-s", **compact)
    checkpoint.save(tmp_path / "alone.safetensors", alone, {**presets()["dcunet-s"][1], **compact}, {"hours": 2.0})
    waveform = create("waveform", waveform=layers)
    torch.nn.init.normal_(waveform.parts["waveform"].up[0].weight, std=0.1)
    arguments = constructor_arguments("waveform", waveform=layers)
    checkpoint.save(tmp_path / "waveform.safetensors", waveform, arguments, {"hours": 0.5})
    init = {"waveform": tmp_path / "waveform.safetensors", "spectrogram": tmp_path / "alone.safetensors"}
    mixture = 0.1 * torch.randn(1, 1, 3000)
    for hidden in (8, 10):  # the same and larger than what it starts from
        options = {"compact": {**compact, "hidden": hidden, "lookahead": 0, "floor": 0.0}, "waveform": layers}
        plan = recipe(store.folder, model="hybrid", model_options=options, init=init)
        model, arguments = setup.build_model(plan)
        assert arguments["compact"]["hidden"] == hidden
        for name, weight in waveform.parts["waveform"].named_parameters():
            assert torch.equal(weight, model.waveform.get_parameter(name)), name
        with torch.no_grad():  # the first module is not heard yet
            torch.testing.assert_close(model.eval()(mixture), alone.eval()(mixture), atol=1e-6, rtol=0)
        assert [found["hours"] for found in setup.origin(plan)] == [0.5, 2.0]


def test_a_cascade_starts_from_a_smaller_one_as_a_whole(tmp_path, store):
    small = {
        "compact": {"widths": [4, 4, 8], "hidden": 8, "blocks": 1},
        "waveform": {"widths": [4, 6, 8], "dilations": [[1], [1], [1, 2]]},
    }
    torch.manual_seed(5)
    model = create("hybrid", **small)
    torch.nn.init.normal_(model.spectrogram.net.head.weight, std=0.5)
    torch.nn.init.normal_(model.waveform.up[0].weight, std=0.1)
    checkpoint.save(tmp_path / "small.safetensors", model, constructor_arguments("hybrid", **small), {})
    larger = {**small, "compact": {**small["compact"], "blocks": 2}}
    plan = recipe(store.folder, model="hybrid", model_options=larger, init=tmp_path / "small.safetensors")
    grown, _ = setup.build_model(plan)
    assert len(grown.spectrogram.net.blocks) == 2
    mixture = 0.1 * torch.randn(1, 1, 3000)
    with torch.no_grad():
        torch.testing.assert_close(grown.eval()(mixture), model.eval()(mixture), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("model", "init", "message"),
    [
        ("hybrid", {"wave": "dcunet-s"}, "init: 'hybrid' has no module 'wave': give one of waveform, spectrogram"),
        ("dcunet-s", {"spectrogram": "dcunet-s"}, "no module 'spectrogram': it is not a cascade"),
        ("hybrid", {"waveform": "dcunet-s"}, "dcunet-s: weights of another model than 'waveform'"),
        ("hybrid-dcunet", "hybrid", "hybrid: weights of another model than 'hybrid-dcunet'"),
        ("hybrid", "dcunet-s", "dcunet-s: weights of another model than 'hybrid'"),
    ],
)
def test_checkpoints_of_modules_that_do_not_fit_are_refused(store, model, init, message):
    with pytest.raises(EnhanceError, match=message):
        setup.build_model(recipe(store.folder, model=model, model_options={}, init=init))


def test_the_floor_is_the_recipe_s_whatever_the_checkpoint_has(tmp_path, store):
    compact = {"widths": [4, 4, 8], "hidden": 8, "blocks": 1}
    options = {**presets()["dcunet-s"][1], **compact, "floor": 0.01}
    checkpoint.save(tmp_path / "alone.safetensors", create("dcunet-s", **options), options, {})
    for floor in (0.0, 0.01, 0.1):
        settings = {"model": "dcunet-s", "model_options": {**compact, "hidden": 9, "floor": floor}}
        model, arguments = setup.build_model(recipe(store.folder, **settings, init=tmp_path / "alone.safetensors"))
        assert (model.net.floor, arguments["floor"]) == (floor, floor)
