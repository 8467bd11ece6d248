"""Recipes: what is read, what is refused, and that every shipped one is valid."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest

from enhance.errors import EnhanceError
from enhance.models import presets
from enhance.training import recipe as recipes
from enhance.training.setup import build_model, launch, learning_rate

ROOT = Path(__file__).parents[2]
MINIMAL = 'model = "dcunet-s"\n[data]\npath = "x"\n[loss]\nwsdr = 1.0\n'


def write(folder: Path, text: str, name: str = "default.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


RECIPES = [path for path in sorted(ROOT.glob("recipes/**/*.toml")) if path.name != "data.toml"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name + "/" + path.stem)
def test_every_shipped_recipe_is_valid(path):
    """And its model takes the weights it starts from, has the modules that it trains, and the data's sources."""
    recipe = recipes.read(path, [])
    assert recipe.model in presets()
    build_model(recipe)


@pytest.mark.parametrize("change", ["stages=[{train='phase', steps=1}]", "model=waveform"])
def test_stages_and_auxiliary_losses_that_the_model_has_no_modules_for_are_no_recipe(change):
    with pytest.raises(EnhanceError, match=r"has no (module|estimate)"):
        build_model(recipes.read(ROOT / "recipes/voicebank/hybrid-dcunet.toml", [change]))


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem == "hybrid"], ids=lambda path: path.parent.name)
def test_the_stages_of_the_hybrids_warm_up_to_their_rate(path):
    recipe = recipes.read(path, ["optim.steps=100000"])  # more than those of the stages
    begins = [0, *accumulate(stage.steps for stage in recipe.stages)]
    peaks = [learning_rate(begin + recipe.optim.warmup, recipe) for begin in begins]
    assert peaks == pytest.approx([stage.lr or recipe.optim.lr for stage in recipe.stages] + [recipe.optim.lr])
    assert len(peaks) > 1


def test_the_small_ablation_differs_in_mask_and_loss_alone():
    folder = ROOT / "recipes" / "open-speech"
    base = recipes.read(folder / "ablation.toml", [])
    losses = {"spec": "spectrogram_mse", "wav": "waveform_mse", "wsdr": "wsdr"}
    grid = {f"{mask}-{loss}" for mask in ("ubd", "bdss", "bdt") for loss in losses}
    paths = {path.stem: path for path in (folder / "ablation").glob("*.toml")}
    assert paths.keys() == grid | {"polar-wsdr", "magnitude-wsdr"}
    for name, path in paths.items():
        mask, loss = name.split("-")
        changed = {"name": name, "model_options": {"mask": mask}, "loss": {losses[loss]: 1.0}}
        assert recipes.read(path, []) == base.model_copy(update=changed)


def test_there_are_shipped_recipes():
    assert RECIPES


def test_a_folder_means_its_default_and_gives_the_name(tmp_path):
    write(tmp_path, MINIMAL)
    recipe = recipes.read(tmp_path, [])
    assert recipe.name == tmp_path.name
    assert recipe.loss == {"wsdr": 1.0}


def test_a_base_holds_where_the_recipe_gives_nothing(tmp_path):
    write(tmp_path, MINIMAL + "[optim]\nlr = 0.5\nbatch = 3\n", "base.toml")
    path = write(tmp_path, 'base = "base.toml"\n[optim]\nbatch = 4\n[loss]\nsnr = 2.0\n', "variant.toml")
    recipe = recipes.read(path, [])
    assert (recipe.optim.lr, recipe.optim.batch, recipe.name) == (0.5, 4, "variant")
    assert recipe.loss == {"snr": 2.0}  # replaced whole: an ablation of losses names what it uses


def test_overrides(tmp_path):
    path = write(tmp_path, MINIMAL)
    recipe = recipes.read(path, ["optim.lr=1e-4", "data.mixing.snr_db=[0, 5]", "model=dcunet-10", "run.compile=false"])
    assert recipe.optim.lr == 1e-4
    assert recipe.data.mixing.snr_db == (0.0, 5.0)
    assert recipe.model == "dcunet-10"
    assert recipe.run.compile is False


def test_all_mistakes_are_in_one_report(tmp_path):
    path = write(tmp_path, MINIMAL + '[optim]\nlr = -1\nstep = 5\n[valid]\nclips = "many"\n')
    with pytest.raises(EnhanceError) as caught:
        recipes.read(path, [])
    report = str(caught.value)
    assert "3 mistake(s)" in report
    assert "optim.step: unknown, did you mean optim.steps?" in report
    assert "optim.lr: Input should be greater than 0" in report
    assert "valid.clips:" in report


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL.replace("wsdr", "wsrd"), "unknown loss 'wsrd'"),
        (MINIMAL + "[loss_options.wsdr]\npower = 2\n", "no option 'power'"),
        ("model = ", "not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(EnhanceError, match=message):
        recipes.read(write(tmp_path, text), [])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed: Input should be greater than or equal to 0"),
        ("optim.betas=[0.9, 1.0]", r"optim\.betas\.1: Input should be less than 1"),
        ("optim.lr=nan", r"optim\.lr: Input should be "),
        ("optim.lr=inf", r"optim\.lr: Input should be a finite number"),
        ("valid.seconds=inf", r"valid\.seconds: Input should be a finite number"),
        ("loss.wsdr=nan", r"loss\.wsdr: Input should be a finite number"),
        ("auxiliary.wsdr=inf", r"auxiliary\.wsdr: Input should be a finite number"),
        ("loss={}", "loss: Dictionary should have at least 1 item"),
        ("data.gain_db=[3, -3]", r"data\.gain_db: the first is above the second: give lowest, highest"),
        ("data.mixing.early_ms=0", r"data\.mixing\.early_ms: Input should be greater than 0"),
        ("data.mixing.interferers={noise=inf}", r"interferers\.noise: Input should be a finite number"),
        *(
            (f"data.mixing.{name}=[20, -5]", rf"data\.mixing\.{name}: the first is above the second")
            for name in ("snr_db", "level_db", "relative_db")
        ),
    ],
)
def test_values_that_nothing_can_be_trained_with(tmp_path, override, message):
    with pytest.raises(EnhanceError, match=rf"1 mistake\(s\): \n  .*{message}"):
        recipes.read(write(tmp_path, MINIMAL), [override])


def test_no_clipping_is_a_setting(tmp_path):
    assert recipes.read(write(tmp_path, MINIMAL), ["optim.clip=inf"]).optim.clip == float("inf")


def test_a_network_that_cannot_be_built_is_one_line(tmp_path):
    for options in ("{hidden=0}", "{bound=0.5}", "{n_fft=300}", "{widths=[]}", "{widths=[-1]}", "{recurrence='gru'}"):
        with pytest.raises(EnhanceError):
            build_model(recipes.read(write(tmp_path, MINIMAL), [f"model_options={options}"]))


def test_an_accelerator_that_is_not_there_is_one_line(tmp_path):
    recipe = recipes.read(write(tmp_path, MINIMAL), ["run.accelerator=mps", 'run.precision="32-true"'])
    with pytest.raises(
        EnhanceError, match=r"^run\.accelerator = mps, run\.devices = 1: [^\n]*: give what this machine has"
    ):
        launch(recipe)


@pytest.mark.parametrize("override", ["optim.lr", "model.size=3"])
def test_bad_overrides(tmp_path, override):
    with pytest.raises(EnhanceError, match="--set"):
        recipes.read(write(tmp_path, MINIMAL), [override])


def test_a_circle_of_bases_is_an_error(tmp_path):
    write(tmp_path, 'base = "b.toml"', "a.toml")
    with pytest.raises(EnhanceError, match=r"a\.toml: is its own base"):
        recipes.read(write(tmp_path, 'base = "a.toml"', "b.toml").with_name("a.toml"), [])


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "default.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(EnhanceError, match="not TOML"):
        recipes.read(tmp_path, [])


def test_no_such_recipe(tmp_path):
    with pytest.raises(EnhanceError, match="no such recipe"):
        recipes.read(tmp_path / "absent.toml", [])
