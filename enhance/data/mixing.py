"""Training mixtures, made on the fly.

Every random draw of an example comes from a generator keyed by (seed, epoch, index): any example can be made
again from these three integers.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from enhance.data import augment
from enhance.data.augment import decibels_to_gain, rms
from enhance.data.rooms import from_direct_sound
from enhance.data.store import Entry, Recordings
from enhance.errors import EnhanceError


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("the first is above the second: give lowest, highest")
    return limits


Share = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
Interferer = Literal["noise", "music", "babble", "coloured"]
Source = Literal["speech", "music", "noise"]
SILENT = 1e-4  # RMS under which a crop counts as silent, -80 dBFS


class MixingConfig(BaseModel):
    """Shares are probabilities per example; ranges are uniform, (lowest, highest)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    snr_db: Range = (-5.0, 20.0)
    level_db: Range = Field((-40.0, -15.0), description="RMS of the mixture, dBFS")
    clean: Share = Field(0.05, description="speech alone")
    noise_only: Share = Field(0.05, description="no speech at all")
    interferers: dict[Interferer, Annotated[float, Field(ge=0)]] = Field(
        {"noise": 0.55, "babble": 0.2, "music": 0.1, "coloured": 0.15},
        description="relative frequency of each kind",
    )
    second: Share = Field(0.35, description="a second interferer on top of the first")
    reverb: Share = Field(0.25, description="speech in a room")
    early_ms: float | None = Field(None, gt=0, description="reflections the target keeps; None keeps all")
    speed: Share = Field(0.0, description="music and recorded noise at another speed, and as much higher or lower")
    equalise: Share = Field(0.3, description="a mixture, and music that is a source, before it is mixed")
    band_limit: Share = 0.12
    clip: Share = 0.04
    codec: Share = 0.04
    silence: Share = Field(0.0, description="digital silence at the beginning or in between, of up to a second")
    sources: dict[Source, Share] | None = Field(
        None,
        description="targets in the place of clean speech, and how often each is there; then noise is interferers, and "
        "snr_db, clean, noise_only and early_ms do not apply",
    )
    relative_db: Range = Field((-10.0, 10.0), description="RMS of each of the sources, to one another")

    @model_validator(mode="after")
    def _no_source_is_noise_too(self) -> MixingConfig:
        if self.sources is not None:
            if not any(self.sources.values()):
                raise ValueError("sources: none of them is ever there")
            if both := set(self.sources) & set(self.interferers) - {"noise"}:
                raise ValueError(f"interferers: {', '.join(both)} is a source")
        return self


class Example(NamedTuple):
    """A mixture ``(time,)`` and its clean speech ``(time,)``, or its sources ``(sources, time)``, all float32."""

    mixture: np.ndarray
    target: np.ndarray


class Place(NamedTuple):
    """Where in a recording something begins, in samples."""

    entry: Entry
    start: int


def drawable(config: MixingConfig, kinds: Collection[str], split: str, folder: object) -> dict[str, float]:
    """The interferers of a data set that has these kinds of recordings in that split, with their weights.

    A kind that it lacks is not drawn. EnhanceError, naming ``folder``, if it has no speech (or music, where that is a
    source), or none is left.
    """
    if "speech" not in kinds:
        raise EnhanceError(f"{folder}: no speech in split {split!r}", "prepare it with more speakers")
    if "music" in (config.sources or ()) and "music" not in kinds:
        raise EnhanceError(f"{folder}: no music in split {split!r}", "prepare it with --music")
    known = {
        name: weight for name, weight in config.interferers.items() if name in ("babble", "coloured") or name in kinds
    }
    if not sum(known.values()):
        names = ", ".join(config.interferers)
        raise EnhanceError(f"{folder}: none of the interferers {names} in split {split!r}", "prepare it with some")
    return known


class Mixer:
    """Draws examples of ``frames`` samples from one split of a store."""

    def __init__(self, store: Recordings, split: str, config: MixingConfig, frames: int, seed: int) -> None:
        self.store, self.config, self.frames, self.seed = store, config, frames, seed
        self.rate = store.sample_rate
        self.clips = {kind: _by_item(store.select(kind, split)) for kind in ("speech", "noise", "music", "rir")}
        known = drawable(config, [kind for kind, items in self.clips.items() if items], split, store.folder)
        self.names = list(known)
        self.weights = np.array(list(known.values())) / sum(known.values())
        self.chances = {kind: _chances(items) for kind, items in self.clips.items()}

    def example(self, epoch: int, index: int, place: Place | None = None) -> Example:
        """The example of that key; its speech begins at ``place``, if one is given, unless there is silence."""
        config = self.config
        rng = np.random.default_rng((self.seed, epoch, index))
        content = rng.random()
        speech = self._reverberant_speech(rng, place)
        if content < config.noise_only:
            signals = np.stack((np.zeros_like(speech.target), self.interference(rng)))
        else:
            signals = np.stack((speech.target, speech.mixture - speech.target))
            if content >= config.noise_only + config.clean:
                signals[1] += at_snr(speech.mixture, self.interference(rng), rng.uniform(*config.snr_db))
        mixture, signals = self._damage(signals, rng)
        return Example(mixture, signals[0])

    def _reverberant_speech(self, rng: np.random.Generator, place: Place | None) -> Example:
        """Speech as it reaches the microphone, and the part of it that the target keeps."""
        dry = self.speech(rng, place)
        if rng.random() >= self.config.reverb or not self.clips["rir"]:
            return Example(dry, dry)
        response = from_direct_sound(self.store.read(self._draw("rir", rng)))
        kept = response
        if self.config.early_ms is not None:
            kept = response[: max(1, int(self.config.early_ms / 1000 * self.rate))]  # the direct sound at least
        return Example(augment.reverberate(dry, response), augment.reverberate(dry, kept))

    def speech(self, rng: np.random.Generator, place: Place | None = None) -> np.ndarray:
        """One speaker, ``(frames,)``: a stretch of a clip, and of further ones where it is too short."""
        for attempt in range(4):
            wave = self._stretch("speech", rng, None if attempt else place)
            if rms(wave) > 10 * SILENT:
                break
        return wave

    def interference(self, rng: np.random.Generator) -> np.ndarray:
        """One interferer or, sometimes, two at different levels; ``(frames,)``, RMS one unless silent."""
        wave = self._interferer(rng)
        if rng.random() < self.config.second:
            wave = wave + self._interferer(rng) * decibels_to_gain(rng.uniform(-12, 6))
        return wave / max(rms(wave), SILENT)

    def _interferer(self, rng: np.random.Generator) -> np.ndarray:
        name = rng.choice(self.names, p=self.weights)
        if name == "coloured":
            return augment.coloured_noise(self.frames, rng, self.rate)
        if name == "babble":
            return self.babble(rng)
        wave = self._played(name, rng)
        if rng.random() < 0.3:
            wave = augment.random_equaliser(wave, rng, self.rate)
        return wave / max(rms(wave), SILENT)

    def babble(self, rng: np.random.Generator) -> np.ndarray:
        """Three to ten speakers at different levels, mostly in a room; ``(frames,)``, RMS one unless silent."""
        total = np.zeros(self.frames, np.float32)
        for _ in range(rng.integers(3, 11)):
            voice = self._stretch("speech", rng)
            total += voice / max(rms(voice), SILENT) * decibels_to_gain(rng.uniform(-10, 0))
        if self.clips["rir"] and rng.random() < 0.7:
            total = augment.reverberate(total, from_direct_sound(self.store.read(self._draw("rir", rng))))
        return total / max(rms(total), SILENT)

    def _damage(self, signals: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Mixture and signals: filters on all alike, then level, then what is not linear on the mixture alone."""
        config = self.config
        if rng.random() < config.equalise:
            signals = augment.random_equaliser(signals, rng, self.rate)
        if rng.random() < config.band_limit:
            signals = augment.random_band_limit(signals, rng, self.rate)
        mixture = signals.sum(0)
        gain = decibels_to_gain(rng.uniform(*config.level_db)) / max(rms(mixture), SILENT)
        gain = min(gain, 0.99 / (np.abs(mixture).max() + augment.EPS))
        signals, mixture = signals * gain, mixture * gain
        if rng.random() < config.clip:
            mixture = augment.clip(mixture, rng)
        if rng.random() < config.codec:
            mixture = augment.codec(mixture, rng, self.rate)
        if config.silence and rng.random() < config.silence:
            waves = augment.fall_silent(np.stack((mixture, *signals)), rng, self.rate)
            mixture, signals = waves[0], waves[1:]
        return mixture.astype(np.float32), signals.astype(np.float32)

    def _draw(self, kind: str, rng: np.random.Generator) -> Entry:
        """A clip: first its speaker or recording, by the root of its duration, so that none dominates."""
        items = self.clips[kind]
        clips = items[rng.choice(len(items), p=self.chances[kind])]
        return clips[rng.integers(len(clips))]

    def _played(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        """``frames`` samples of music or recorded noise, at its own speed or another."""
        if not self.config.speed or rng.random() >= self.config.speed:  # a share of none draws nothing
            return self._stretch(kind, rng)
        faster, slower = augment.SPEEDS[rng.integers(len(augment.SPEEDS))]
        wave = self._stretch(kind, rng, frames=-(-self.frames * faster // slower))
        return augment.at_speed(wave, (faster, slower))[: self.frames]

    def _stretch(
        self, kind: str, rng: np.random.Generator, place: Place | None = None, frames: int | None = None
    ) -> np.ndarray:
        """``frames`` samples of one item, from ``place`` or anywhere; short clips are joined or repeated."""
        frames = frames or self.frames
        items = self.clips[kind]
        if place is None:
            clips, pieces = items[rng.choice(len(items), p=self.chances[kind])], []
        else:
            clips = next(clips for clips in items if _item(clips[0]) == _item(place.entry))
            pieces = [self.store.read(place.entry, place.start, frames)]
        missing = frames - sum(map(len, pieces))
        while missing > 0:
            clip = clips[rng.integers(len(clips))]
            start = int(rng.integers(max(1, clip.frames - missing + 1)))
            pieces.append(self.store.read(clip, start, missing))
            missing -= len(pieces[-1])
        return np.concatenate(pieces)


class SourceMixer(Mixer):
    """Examples whose targets are the configured sources, in their order; each is there or silent, one at least is."""

    def example(self, epoch: int, index: int, place: Place | None = None) -> Example:
        """The example of that key; its speech, if there is any, begins at ``place``, if one is given."""
        assert self.config.sources is not None
        rng = np.random.default_rng((self.seed, epoch, index))
        shares = np.array(list(self.config.sources.values()))
        while not (there := rng.random(len(shares)) < shares).any():
            pass
        signals = np.zeros((len(shares), self.frames), np.float32)
        for number, name in enumerate(self.config.sources):
            if there[number]:
                wave = self._source(name, rng, place)
                signals[number] = (
                    wave * decibels_to_gain(rng.uniform(*self.config.relative_db)) / max(rms(wave), SILENT)
                )
        return Example(*self._damage(signals, rng))

    def _source(self, name: Source, rng: np.random.Generator, place: Place | None) -> np.ndarray:
        if name == "speech":
            return self._reverberant_speech(rng, place).mixture
        if name == "noise":
            return self.interference(rng)
        wave, share = self._played(name, rng), self.config.equalise
        return augment.random_equaliser(wave, rng, self.rate) if share and rng.random() < share else wave


def new_mixer(store: Recordings, split: str, config: MixingConfig, frames: int, seed: int) -> Mixer:
    """The mixer for clean speech, or for several sources if the configuration has them."""
    return (Mixer if config.sources is None else SourceMixer)(store, split, config, frames, seed)


def at_snr(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """``noise``, scaled so that ``speech`` is ``snr_db`` above it in RMS; as it is where there is no speech."""
    level = rms(speech)
    return noise * (level / max(rms(noise), SILENT) / decibels_to_gain(snr_db)) if level > SILENT else noise


def _by_item(entries: list[Entry]) -> list[list[Entry]]:
    items: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        items.setdefault(_item(entry), []).append(entry)
    return list(items.values())


def _item(entry: Entry) -> tuple[str, str]:
    return entry.source, entry.item


def _chances(items: list[list[Entry]]) -> np.ndarray:
    weights = np.sqrt([sum(clip.frames for clip in clips) for clips in items])
    return weights / max(weights.sum(), 1)
