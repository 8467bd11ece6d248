"""Mixtures of several sources: each is there or silent, at its level, and they sum to the mixture."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from enhance.data import shards
from enhance.data.augment import rms
from enhance.data.dataset import MixtureDataset, loader
from enhance.data.manifest import scan_folder
from enhance.data.mixing import Mixer, MixingConfig, SourceMixer, new_mixer
from enhance.data.store import Recordings
from enhance.data.stream import ShardDataset
from enhance.errors import EnhanceError

FRAMES = 16000
ALL = {"speech": 1.0, "music": 1.0, "noise": 1.0}
PLAIN = {
    "second": 0.0,
    "reverb": 0.0,
    "equalise": 0.0,
    "band_limit": 0.0,
    "clip": 0.0,
    "codec": 0.0,
    "interferers": {"noise": 1.0},
}


def mixer(store, split: str = "train", frames: int = FRAMES, **changes) -> SourceMixer:
    config = MixingConfig(**{**PLAIN, "sources": ALL, **changes})
    made = new_mixer(store, split, config, frames, seed=1)
    assert isinstance(made, SourceMixer)
    return made


def test_the_sources_sum_to_the_mixture_whatever_filters_do(store):
    made = mixer(store, reverb=1.0, equalise=1.0, band_limit=1.0, second=1.0)
    for index in range(5):
        mixture, target = made.example(0, index)
        assert (mixture.shape, target.shape) == ((FRAMES,), (3, FRAMES))
        assert mixture.dtype == target.dtype == np.float32
        np.testing.assert_allclose(target.sum(0), mixture, atol=1e-6)
        assert all(rms(wave) > 1e-4 for wave in target)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_music_has_an_equaliser_of_its_own(store, monkeypatch, share):
    shapes = []
    monkeypatch.setattr("enhance.data.augment.random_equaliser", lambda wave, *_: shapes.append(wave.shape) or wave)
    mixer(store, equalise=share, sources={"music": 1.0, "speech": 1.0}).example(0, 0)
    assert shapes == [(FRAMES,), (2, FRAMES)][: 2 * int(share)]


def test_they_come_in_the_order_of_the_configuration(store):
    """The made-up music is a tone, the noise white: their spectra tell them apart."""
    target = mixer(store, sources={"noise": 1.0, "speech": 1.0, "music": 1.0}).example(0, 0).target
    share = [np.square(np.abs(np.fft.rfft(wave))).max() / np.square(np.abs(np.fft.rfft(wave))).sum() for wave in target]
    assert share[2] > 0.2
    assert share[0] < 0.01


def test_levels_are_drawn_within_their_range(store):
    made = mixer(store, relative_db=(-6.0, 6.0), level_db=(-30.0, -30.0))
    found = [made.example(0, index) for index in range(60)]
    levels = np.array([[20 * np.log10(rms(wave)) for wave in target] for _, target in found])  # (examples, sources)
    differences = np.abs(levels[:, 0] - levels[:, 1])
    assert differences.max() < 12.1
    assert differences.mean() == pytest.approx(4.0, abs=1.2)  # of two uniform draws: a third of the range
    assert [20 * np.log10(rms(mixture)) for mixture, _ in found] == pytest.approx([-30.0] * 60, abs=0.1)


def test_shares_are_met_and_one_is_always_there(store):
    made = mixer(store, frames=1000, sources={"speech": 0.8, "music": 0.4, "noise": 0.2})
    there = np.array([made.example(0, index).target.any(-1) for index in range(400)])
    assert there.any(-1).all()
    somebody = 1 - 0.2 * 0.6 * 0.8
    np.testing.assert_allclose(there.mean(0), np.array([0.8, 0.4, 0.2]) / somebody, atol=0.09)  # 3.5 deviations


def test_the_same_key_gives_the_same_example(store):
    one, other = mixer(store), mixer(store)
    for index in range(5):
        a, b = one.example(2, index), other.example(2, index)
        assert np.array_equal(a.mixture, b.mixture)
        assert np.array_equal(a.target, b.target)
    assert not np.array_equal(one.example(2, 0).mixture, one.example(2, 1).mixture)


def test_a_batch_has_sources(store):
    config = MixingConfig(**{**PLAIN, "sources": ALL})
    mixture, target = next(iter(loader(MixtureDataset(store.folder, config, 0.5, 1, 100), 4, 0, 0)))
    assert (tuple(mixture.shape), tuple(target.shape)) == ((4, 8000), (4, 3, 8000))


def test_shards_give_sources_too(store, audio_folders, tmp_path):
    clips = [clip for kind, folder in audio_folders.items() for clip in scan_folder(folder, kind)]
    shards.build(tmp_path / "shards", clips, [], 16000, jobs=1)
    config = MixingConfig(**{**PLAIN, "sources": ALL})
    mixture, target = next(iter(ShardDataset(str(tmp_path / "shards"), config, 0.5, 1, 2, 0)))
    np.testing.assert_allclose(target.sum(0), mixture, atol=1e-6)
    assert target.shape == (3, 8000)


def test_without_sources_it_is_the_denoisers_mixer(store):
    assert type(new_mixer(store, "train", MixingConfig(), FRAMES, 1)) is Mixer


def test_a_data_set_without_music_is_named(store):
    entries = [entry for entry in store.entries if entry.kind != "music"]
    silent = Recordings("songs", store.sample_rate, entries, store.audio)
    with pytest.raises(EnhanceError, match="songs: no music in split 'train': prepare it with --music"):
        mixer(silent)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sources": {"speech": 0.0}}, "none of them is ever there"),
        ({"sources": ALL, "interferers": {"music": 1.0}}, "interferers: music is a source"),
        ({"sources": {"vocals": 1.0}}, "vocals"),
    ],
)
def test_sources_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        MixingConfig(**{**PLAIN, **settings})
