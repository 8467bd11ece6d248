"""Mixing: SNRs as drawn, examples that can be made again, shares, and what damage does to the target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from toys import noise

from enhance.data import augment, shards
from enhance.data import store as store_module
from enhance.data.augment import rms
from enhance.data.manifest import Clip
from enhance.data.mixing import Mixer, MixingConfig, at_snr
from enhance.data.rooms import from_direct_sound
from enhance.data.store import Entry, Recordings, Store
from enhance.errors import EnhanceError

PLAIN = {
    "clean": 0.0,
    "noise_only": 0.0,
    "second": 0.0,
    "reverb": 0.0,
    "equalise": 0.0,
    "band_limit": 0.0,
    "clip": 0.0,
    "codec": 0.0,
}
FRAMES = 16000


def snr_db(target: np.ndarray, mixture: np.ndarray) -> float:
    return 20 * np.log10(rms(target) / rms(mixture - target))


@given(st.floats(-20, 40), st.integers(0, 2**32), st.floats(-60, 0))
def test_noise_is_scaled_to_the_drawn_snr(wanted, seed, level):
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal(4000) * 10 ** (level / 20)
    noise = at_snr(speech, rng.standard_normal(4000), wanted)
    assert 20 * np.log10(rms(speech) / rms(noise)) == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize("kind", ["noise", "music", "babble", "coloured"])
def test_measured_snr_of_an_example_equals_the_drawn_one(store, kind):
    config = MixingConfig(**{**PLAIN, "snr_db": (7.0, 7.0), "interferers": {kind: 1.0}})
    mixer = Mixer(store, "train", config, FRAMES, seed=1)
    for index in range(10):
        mixture, target = mixer.example(0, index)
        assert snr_db(target, mixture) == pytest.approx(7.0, abs=0.1)


def test_level_is_the_drawn_one_and_peaks_stay_under_full_scale(store):
    quiet = Mixer(store, "train", MixingConfig(**{**PLAIN, "level_db": (-30.0, -30.0)}), FRAMES, seed=1)
    loud = Mixer(store, "train", MixingConfig(**{**PLAIN, "level_db": (0.0, 0.0)}), FRAMES, seed=1)
    for index in range(10):
        assert 20 * np.log10(rms(quiet.example(0, index).mixture)) == pytest.approx(-30.0, abs=0.1)
        assert np.abs(loud.example(0, index).mixture).max() == pytest.approx(0.99, abs=1e-4)


def test_the_same_key_gives_the_same_example(store):
    one, other = (Mixer(store, "train", MixingConfig(), FRAMES, seed=3) for _ in range(2))
    for index in range(20):
        a, b = one.example(2, index), other.example(2, index)
        assert np.array_equal(a.mixture, b.mixture)
        assert np.array_equal(a.target, b.target)


def test_every_part_of_the_key_matters(store):
    base = Mixer(store, "train", MixingConfig(), FRAMES, seed=3).example(2, 5).mixture
    for seed, epoch, index in ((4, 2, 5), (3, 1, 5), (3, 2, 6)):
        assert not np.array_equal(
            base, Mixer(store, "train", MixingConfig(), FRAMES, seed).example(epoch, index).mixture
        )


def test_clean_speech_is_left_alone_and_pure_noise_has_a_silent_target(store):
    clean = Mixer(store, "train", MixingConfig(**{**PLAIN, "clean": 1.0}), FRAMES, seed=1).example(0, 0)
    assert np.array_equal(clean.mixture, clean.target)
    noise = Mixer(store, "train", MixingConfig(**{**PLAIN, "noise_only": 1.0}), FRAMES, seed=1).example(0, 0)
    assert not noise.target.any()
    assert rms(noise.mixture) > 1e-3


def test_shares_are_met(store):
    config = MixingConfig(**{**PLAIN, "clean": 0.2, "noise_only": 0.3})
    mixer = Mixer(store, "train", config, 2000, seed=1)
    found = [mixer.example(0, index) for index in range(400)]
    silent = sum(not example.target.any() for example in found)
    clean = sum(np.array_equal(*example) for example in found)
    assert silent / 400 == pytest.approx(0.3, abs=0.08)  # 3.5 standard deviations
    assert clean / 400 == pytest.approx(0.2, abs=0.07)


def test_target_of_reverberant_speech(store):
    """Everything the room gives, or its early part: then the late reflections are noise."""
    whole = Mixer(store, "train", MixingConfig(**{**PLAIN, "clean": 1.0, "reverb": 1.0}), FRAMES, seed=1).example(0, 3)
    assert np.abs(whole.mixture - whole.target).max() < 1e-6
    config = MixingConfig(**{**PLAIN, "clean": 1.0, "reverb": 1.0, "early_ms": 5.0})
    early = Mixer(store, "train", config, FRAMES, seed=1).example(0, 3)
    assert -5 < snr_db(early.target, early.mixture) < 40


def test_two_splits_share_no_speaker(store):
    splits = {
        split: {(e.kind, e.source, e.item) for e in store.entries if e.split == split} for split in ("train", "valid")
    }
    assert splits["train"]
    assert splits["valid"]
    assert not splits["train"] & splits["valid"]


def test_no_speech_in_a_split_is_an_error(store):
    with pytest.raises(EnhanceError, match="no speech in split 'test'"):
        Mixer(store, "test", MixingConfig(), FRAMES, seed=1)


def test_a_store_is_whole_or_absent(tmp_path: Path):
    (tmp_path / ".data.partial").mkdir()
    with pytest.raises(EnhanceError, match="not a prepared data set"):
        Store(tmp_path / "data")


@given(st.integers(0, 2**32), st.integers(2000, 20000))
def test_damage_keeps_length_and_stays_finite(seed, frames):
    rng = np.random.default_rng(seed)
    wave = (rng.standard_normal(frames) * 0.1).astype(np.float32)
    for damaged in (
        augment.random_equaliser(wave, rng, 16000),
        augment.random_band_limit(wave, rng, 16000),
        augment.clip(wave, rng),
        augment.reverberate(wave, wave[:500]),
    ):
        assert damaged.shape == wave.shape
        assert damaged.dtype == np.float32
        assert np.isfinite(damaged).all()


def test_codecs_keep_length_and_position():
    """What comes back is the signal, in place: the correlation peaks at lag zero and is high."""
    rng = np.random.default_rng(0)
    wave = np.convolve(rng.standard_normal(16000), np.ones(8) / 8, "same").astype(np.float32) * 0.2
    for _ in range(12):
        decoded = augment.codec(wave, rng, 16000)
        lags = np.correlate(decoded[1000:15000], wave[1000:15000], "full")
        assert decoded.shape == wave.shape
        assert np.argmax(lags) == 13999
        assert np.corrcoef(decoded[1000:15000], wave[1000:15000])[0, 1] > 0.8


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000])
def test_a_codec_is_one_that_takes_the_rate(rate):
    rng, wave = np.random.default_rng(0), noise(0.1, rate)[0]
    for _ in range(15):
        assert augment.codec(wave, rng, rate).shape == wave.shape


def test_at_16_khz_all_four_codecs_are_drawn_from():
    """In that order: what a key gives must not change."""

    class Drawn(Exception):
        pass

    class Watched:
        def choice(self, names: list[str]) -> str:
            raise Drawn(*names)

    with pytest.raises(Drawn) as caught:
        augment.codec(np.zeros(10, np.float32), Watched(), 16000)  # pyright: ignore[reportArgumentType]
    assert caught.value.args == ("mu-law", "OPUS", "VORBIS", "MPEG_LAYER_III")


@pytest.mark.parametrize("form", [store_module, shards])
def test_a_silent_room_response_is_left_out_by_its_name(form, tmp_path, capsys):
    for name, level in (("silent", 0.0), ("quiet", 1e-6), ("room", 0.5)):  # the second is silent in 16 bit
        soundfile.write(tmp_path / f"{name}.wav", level * np.exp(-np.arange(50) / 5.0), 16000, subtype="FLOAT")
    clips = [Clip(path, "rir", "own", path.stem, "", "", "train") for path in sorted(tmp_path.glob("*.wav"))]
    built = form.build(tmp_path / "data", clips, [], 16000, 1)
    found = built.entries if isinstance(built, Store) else built.read(built.shards).entries
    assert [entry.item for entry in found] == ["room"]
    warned = capsys.readouterr().err.splitlines()
    assert sorted(warned) == [
        f"warning: {tmp_path / name}.wav: left out, since this room response is silent" for name in ("quiet", "silent")
    ]


def test_a_silent_room_response_that_a_store_has_leaves_speech_dry(store):
    entries = [entry for entry in store.entries if entry.kind != "rir"]
    start, length = store.audio.shape[0], 100
    silent = Entry("rir", "own", "silent", "", "", "train", start, length)
    audio = np.concatenate((store.audio, np.zeros(length, np.int16)))
    config = MixingConfig(**{**PLAIN, "clean": 1.0, "reverb": 1.0, "early_ms": 20.0, "level_db": (-30.0, -30.0)})
    found = [
        Mixer(Recordings("x", 16000, [*entries, *rooms], audio), "train", config, FRAMES, 1).example(0, 0)
        for rooms in ([], [silent])
    ]
    for dry, wave in zip(*found, strict=True):
        np.testing.assert_allclose(wave, dry, atol=1e-6)
    assert from_direct_sound(np.zeros(0, np.float32)).tolist() == [1.0]


def test_the_direct_sound_is_always_kept(store):
    config = MixingConfig(**{**PLAIN, "reverb": 1.0, "early_ms": 0.01})  # less than a sample
    assert Mixer(store, "train", config, FRAMES, 1).example(0, 0).target.any()


def test_clipping_leaves_the_drawn_share_of_samples():
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(10000).astype(np.float32)
    clipped = augment.clip(wave, rng)
    share = np.mean(clipped != wave)
    assert 0.004 < share < 0.101
    assert np.abs(clipped).max() < np.abs(wave).max()


def test_peaking_filter_has_its_gain_at_its_centre():
    b, a = augment.peaking_filter(1000.0, 6.0, 1.0, 16000)
    z = np.exp(-2j * np.pi * np.array([0.0, 1000.0, 7999.0]) / 16000)
    gain_db = 20 * np.log10(np.abs(np.polyval(b[::-1], z) / np.polyval(a[::-1], z)))
    assert gain_db == pytest.approx([0.0, 6.0, 0.0], abs=1e-3)


def test_coloured_noise_has_unit_rms_and_differs():
    rng = np.random.default_rng(0)
    waves = [augment.coloured_noise(8000, rng, 16000) for _ in range(5)]
    for wave in waves:
        assert rms(wave) == pytest.approx(1.0, abs=1e-4)
    centroids = [
        np.abs(np.fft.rfft(wave)) ** 2 @ np.arange(4001) / (np.abs(np.fft.rfft(wave)) ** 2).sum() for wave in waves
    ]
    assert max(centroids) > 1.5 * min(centroids)


def test_interferers_must_be_known_and_there(store):
    with pytest.raises(ValueError, match="nois"):
        MixingConfig.model_validate({"interferers": {"nois": 1.0}})
    config = MixingConfig.model_validate({"interferers": {"noise": 0.0}})
    with pytest.raises(EnhanceError, match="none of the interferers noise"):
        Mixer(store, "train", config, 16000, 0)


@pytest.mark.parametrize("speed", augment.SPEEDS)
def test_a_tone_at_another_speed(speed):
    rate, frequency = 16000, 1000
    wave = np.sin(2 * np.pi * frequency * np.arange(rate) / rate).astype(np.float32)
    played = augment.at_speed(wave, speed)
    assert len(played) == -(-rate * speed[1] // speed[0])
    spectrum = np.abs(np.fft.rfft(played * np.hanning(len(played))))
    assert spectrum.argmax() * rate / len(played) == pytest.approx(frequency * speed[0] / speed[1], abs=1)
    assert rms(played[100:-100]) == pytest.approx(rms(wave), rel=1e-2)


def test_only_music_and_recorded_noise_are_played_at_another_speed(store):
    plain = MixingConfig(interferers={"noise": 1.0}, second=0.0, reverb=0.0, equalise=0.0, band_limit=0.0, clip=0.0)
    fast = plain.model_copy(update={"speed": 1.0})
    before, after = (Mixer(store, "train", config, 16000, 1) for config in (plain, fast))
    assert np.array_equal(before.speech(np.random.default_rng(0)), after.speech(np.random.default_rng(0)))
    waves = [mixer.interference(np.random.default_rng(0)) for mixer in (before, after)]
    assert waves[1].shape == (16000,)
    assert not np.allclose(*waves)


def test_silence_is_cut_out_of_mixture_and_target_alike_and_changes_nothing_else(store):
    plain = MixingConfig(**{**PLAIN, "snr_db": (5.0, 5.0)})
    before, after = (
        Mixer(store, "train", config, FRAMES, 1) for config in (plain, plain.model_copy(update={"silence": 1.0}))
    )
    starts = []
    for index in range(12):
        whole, cut = before.example(0, index), after.example(0, index)
        (places,) = np.nonzero(cut.mixture != whole.mixture)
        first, last = places[0], places[-1] + 1
        assert 0.019 * 16000 <= last - first <= FRAMES
        for kept, wave in zip(whole, cut, strict=True):
            assert not wave[first:last].any()
            np.testing.assert_array_equal(np.delete(wave, np.s_[first:last]), np.delete(kept, np.s_[first:last]))
        starts.append(first)
    assert 2 <= starts.count(0) <= 10


def test_silent_voices_make_a_silent_babble(store):
    entries = [entry for entry in store.entries if entry.kind == "speech"]
    config = MixingConfig(**{**PLAIN, "interferers": {"babble": 1.0}})
    mixer = Mixer(Recordings("x", 16000, entries, np.zeros_like(store.audio)), "train", config, FRAMES, 1)
    assert not mixer.example(0, 0).mixture.any()
