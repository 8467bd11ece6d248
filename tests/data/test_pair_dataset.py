"""Examples from pairs: keyed by three integers, each clip once an epoch, noise from its own clip or another's."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from enhance.data import pair_store
from enhance.data.dataset import loader
from enhance.data.pairs import PairDataset, PairStore, valid_examples
from enhance.errors import EnhanceError
from enhance.training import recipe as recipes

RATE = 1000
LENGTHS = {"train": [700, 1000, 1500, 2500, 4000, 900, 1200], "valid": [800, 3000, 1000]}
RECIPES = Path(__file__).parents[2] / "recipes" / "voicebank"


def first_value(clip: int) -> int:
    return 6000 * (clip - 1) - 29999


def write(folder: Path, lengths: dict[str, list[int]]) -> Path:
    """Targets that count up, never through zero, so that a crop tells its clip and place; noise is -100 × clip."""
    folder.mkdir()
    splits = [(split, length) for split, found in lengths.items() for length in found]

    def pairs():
        for number, (split, length) in enumerate(splits, start=1):
            target = np.arange(length, dtype=np.int16) + np.int16(first_value(number))
            labels = {"id": f"p_{number}", "speaker": "p", "split": split, "noise": "", "snr": ""}
            yield labels, target - np.int16(100 * number), target

    pair_store.write(folder, pairs(), RATE, {})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pairs") / "store", LENGTHS)


def place_of(example) -> tuple[int, int]:
    """Number of the clip whose speech an example has, and where in it that begins."""
    number, start = divmod(round(float(example.target[0]) * 32768) + 29999, 6000)
    return number + 1, start


def noise_of(example) -> int:
    """Number of the clip whose noise an example has."""
    noise = np.unique(np.rint((example.mixture - example.target)[example.target != 0] * 32768))
    assert len(noise) == 1
    return round(-noise[0] / 100)


def dataset(folder: Path, remix: float = 0.0, seed: int = 1, per_epoch: int = 7, seconds: float = 1.0) -> PairDataset:
    return PairDataset(folder, seconds, seed, per_epoch, remix)


def test_a_crop_is_a_stretch_of_its_clip_with_zeros_after_a_short_one(folder):
    clips = PairStore(folder).select("train")
    for index in range(70):
        example = dataset(folder)[index]
        assert example.mixture.shape == example.target.shape == (1000,)
        assert example.mixture.dtype == example.target.dtype == np.float32
        number, start = place_of(example)
        assert number == noise_of(example)
        inside = min(clips[number - 1].frames, 1000)
        assert 0 <= start <= clips[number - 1].frames - inside
        expected = np.arange(inside) + first_value(number) + start
        np.testing.assert_array_equal(np.rint(example.target[:inside] * 32768), expected)
        assert not example.target[inside:].any()
        assert not example.mixture[inside:].any()


def test_crops_reach_every_part_of_a_clip(folder):
    found = [dataset(folder).example(epoch, index) for epoch in range(60) for index in range(7)]
    starts = [place_of(example)[1] for example in found if noise_of(example) == 5]  # of 4000 samples: 0 to 3000
    assert len(starts) == 60
    assert min(starts) < 300
    assert max(starts) > 2700


def test_every_clip_comes_once_an_epoch_each_time_in_another_order(folder):
    epochs = [[noise_of(dataset(folder).example(epoch, index)) for index in range(7)] for epoch in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(1, 8))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3
    longer = [noise_of(dataset(folder, per_epoch=17)[number]) for number in range(17)]
    assert sorted(Counter(longer).values()) == [2, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("remix", [0.0, 0.5])
def test_an_example_can_be_made_again_from_three_integers(folder, remix):
    one = dataset(folder, remix)
    listed = [one[number] for number in range(21)]
    for number in (20, 3, 11):
        again = dataset(folder, remix)[number]
        np.testing.assert_array_equal(again.mixture, listed[number].mixture)
        np.testing.assert_array_equal(again.target, listed[number].target)
        np.testing.assert_array_equal(one.example(number // 7, number % 7).mixture, listed[number].mixture)
    other = dataset(folder, remix, seed=2)
    assert any((other[n].target != listed[n].target).any() for n in range(7))


def test_remixing_takes_the_noise_of_another_clip_as_often_as_asked(folder):
    mixed = dataset(folder, 0.5, per_epoch=700)
    examples = [mixed.example(0, index) for index in range(700)]
    foreign = [noise_of(example) != place_of(example)[0] for example in examples]
    assert np.mean(foreign) == pytest.approx(0.5, abs=0.06)
    assert {noise_of(example) for example in examples} == set(range(1, 8))


def test_all_remixed_has_none_of_its_own_noise_and_covers_the_speech(folder):
    for index in range(140):
        example = dataset(folder, 1.0, per_epoch=140).example(0, index)
        assert noise_of(example) != place_of(example)[0]
        mixture, target = (np.rint(wave * 32768) for wave in example)
        speech = np.flatnonzero(target)
        assert ((mixture - target)[speech] != 0).all()  # also where the other clip is shorter
        assert not (mixture - target)[speech[-1] + 1 :].any()


def test_a_single_clip_keeps_its_noise(tmp_path):
    folder = write(tmp_path / "one", {"train": [1200]})
    assert noise_of(dataset(folder, 1.0)[0]) == 1


def test_the_loader_gives_the_same_from_any_start_and_in_another_process(folder):
    here = list(islice(loader(dataset(folder, 0.5), 3, 0, start=0), 6))
    there = list(islice(loader(dataset(folder, 0.5), 3, 1, start=9), 3))
    for (mixture, target), (mixture_there, target_there) in zip(here[3:], there, strict=True):
        assert mixture.shape == (3, 1000)
        assert (mixture == mixture_there).all()
        assert (target == target_there).all()


def test_the_validation_list_is_fixed_and_a_shorter_one_begins_a_longer(folder):
    store = PairStore(folder)
    listed = valid_examples(store, 8, 1.0)["voicebank"]
    assert sorted(len(example.target) for example in listed) == [800, 1000, 1000]
    assert {noise_of(example) for example in listed} == {8, 9, 10}
    for example, again in zip(valid_examples(store, 2, 1.0)["voicebank"], listed[:2], strict=True):
        np.testing.assert_array_equal(example.mixture, again.mixture)
    long = next(example for example in listed if noise_of(example) == 9)
    assert place_of(long) == (9, 1000)  # the middle of 3000 samples


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(EnhanceError, match="no prepared pairs: run `enhance prepare"):
        PairStore(tmp_path)
    (tmp_path / "index.json").write_text('{"sample_rate": 16000, "fingerprint": "", "entries": []}')  # of mixtures
    with pytest.raises(EnhanceError, match="not a data set of pairs"):
        PairStore(tmp_path)
    untrained = write(tmp_path / "valid", {"valid": [1000]})
    with pytest.raises(EnhanceError, match="no pairs in split 'train'"):
        loader(dataset(untrained), 1, 0, 0)
    with pytest.raises(EnhanceError, match="no pairs in split 'valid'"):
        valid_examples(PairStore(write(tmp_path / "train", {"train": [1000]})), 1, 1.0)


def test_the_fingerprint_is_of_labels_and_samples(tmp_path, folder):
    same = PairStore(write(tmp_path / "same", LENGTHS))
    other = PairStore(write(tmp_path / "other", {**LENGTHS, "valid": [800, 3000, 1001]}))
    assert same.fingerprint == PairStore(folder).fingerprint
    assert other.fingerprint != same.fingerprint


@pytest.mark.parametrize(
    "path",
    sorted(path for path in RECIPES.rglob("*.toml") if path.name != "data.toml"),
    ids=lambda path: path.relative_to(RECIPES).as_posix(),
)
def test_the_experiments_are_valid_and_differ_only_where_they_say(path):
    from enhance.models import create, presets

    recipe = recipes.read(path, [])
    create(recipe.model, **recipe.model_options)
    assert recipe.data.kind == "pairs"
    assert recipe.data.seconds * 16000 == 49152
    assert round(recipe.data.epoch_hours * 3600 / recipe.data.seconds) == 10802
    if presets()[recipe.model][0] == "DCUNet":  # the others are ours, with a schedule of their own
        base = recipes.read(RECIPES / "base.toml", [])
        assert recipe.optim == base.optim
        assert recipe.run == base.run
    if path.parent.name == "ablation" and "-" in path.stem:
        mask, loss = path.stem.split("-")
        names = {"spec": "spectrogram_mse", "wav": "waveform_mse", "wsdr": "wsdr"}
        assert (recipe.model, recipe.model_options, recipe.loss) == ("dcunet-16", {"mask": mask}, {names[loss]: 1.0})


def test_the_grid_is_complete():
    grid = {f"{mask}-{loss}" for mask in ("ubd", "bdss", "bdt") for loss in ("spec", "wav", "wsdr")}
    assert {path.stem for path in (RECIPES / "ablation").glob("*.toml")} == grid | {"rmrn", "crmrn", "crmcn"}
