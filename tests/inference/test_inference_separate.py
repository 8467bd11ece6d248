"""Separation of signals and files: sums, shares of the upper band, chunks, formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Fir, Shares, difference_db, noise

import enhance
from enhance import audio
from enhance.errors import EnhanceError
from enhance.inference import chunks
from enhance.inference.files import separate_file
from enhance.inference.separate import choose_parts, separated
from enhance.inference.tasks import Result, SeparationTask, Settings
from enhance.models.checkpoint import load_model

CPU = torch.device("cpu")


def parts_of(wave: np.ndarray, rate: int, model: torch.nn.Module, names: list[str], block: int = 20000) -> np.ndarray:
    """``(channels, time)`` to ``(parts, channels, time)``."""
    blocks = [wave[:, start : start + block] for start in range(0, wave.shape[1], block)]
    pairs = list(separated(blocks, model.eval(), rate, len(wave), CPU, names))
    np.testing.assert_array_equal(np.concatenate([before for before, _ in pairs], axis=1), wave)
    parts = np.concatenate([after for _, after in pairs], axis=1)
    return parts.reshape(len(names), len(wave), -1)


def split(
    source: Path,
    target: Path,
    names: list[str],
    model: torch.nn.Module,
    ending: str = "wav",
    plot: Path | None = None,
    **settings,
) -> Result:
    task = SeparationTask(source, target, {name: target / f"{name}.{ending}" for name in names}, plot)
    return separate_file(task, model, CPU, Settings("", **settings))


# Signals


@settings(max_examples=30, deadline=None)
@given(rate=st.sampled_from([8000, 16000, 44100]), frames=st.integers(1, 30000), block=st.integers(100, 20000))
def test_every_block_size_gives_every_frame_once(rate: int, frames: int, block: int):
    wave = noise(1, frames, 2)
    parts = parts_of(wave, rate, Shares({"a": 0.25, "b": 0.75}), ["b", "a"], block)
    assert parts.shape == (2, 2, frames)
    np.testing.assert_allclose(parts.sum(0), wave, atol=1e-5)
    if rate == 16000:
        np.testing.assert_allclose(parts[1], 0.25 * wave, atol=1e-6)


def test_the_upper_band_goes_where_the_lower_one_went():
    wave = noise(2, 48000, 2)
    parts = parts_of(wave, 48000, Shares({"all": 1.0, "nothing": 0.0}), ["all", "nothing"])
    assert difference_db(parts[0], wave) < -80
    assert np.abs(parts[1]).max() < 1e-5


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_a_consistent_model_sums_to_the_file_at_any_rate(separator: str, rate: int):
    wave = noise(1, rate, 2, level=0.3)
    parts = parts_of(wave, rate, load_model(separator), ["speech", "music", "noise"])
    np.testing.assert_allclose(parts.sum(0), wave, atol=1e-5)
    assert min(np.abs(one - other).max() for one, other in ((parts[0], parts[1]), (parts[1], parts[2]))) > 1e-3


@pytest.mark.parametrize("frames", [1, 255, 257, 30001])
def test_chunks_equal_the_whole(separator: str, frames: int):
    model, wave = load_model(separator), noise(1, frames, 2)
    runner = chunks.chunked(model, 2, CPU, seconds=0.5)
    parts = [runner.push(wave[:, start : start + 7001]) for start in range(0, frames, 7001)]
    with torch.no_grad():
        whole = model(torch.from_numpy(wave)[None])[0].numpy()  # (S, C, T)
    found = np.concatenate((*parts, runner.finish()), axis=1)
    np.testing.assert_allclose(found, whole.reshape(6, frames), atol=1e-5)


@pytest.mark.parametrize("frames", [1, 5000, 30001])
def test_chunks_with_context_equal_the_whole(frames: int):
    class Both(Fir):
        """A source and its opposite."""

        sources = ("a", "b")

        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            filtered = super().forward(mixture)
            return torch.cat((filtered, -filtered), dim=1)

    model, wave = Both().eval(), noise(1, frames, 2)
    runner = chunks.chunked(model, 2, CPU, seconds=0.3)
    parts = [runner.push(wave[:, start : start + 7001]) for start in range(0, frames, 7001)]
    with torch.no_grad():
        whole = model(torch.from_numpy(wave)[None])[0].numpy()
    found = np.concatenate((*parts, runner.finish()), axis=1)
    np.testing.assert_allclose(found, whole.reshape(4, frames), atol=1e-5)


def test_joint_channels_are_given_together():
    class Crossed(Shares):
        """The second source has the channels the other way round."""

        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            return torch.stack([mixture, mixture.flip(1)], dim=1)

    wave = noise(1, 16000, 2)
    parts = parts_of(wave, 16000, Crossed({"same": 1.0, "crossed": 1.0}, channels=2), ["crossed", "same"])
    np.testing.assert_array_equal(parts[0], wave[::-1])
    np.testing.assert_array_equal(parts[1], wave)


def test_the_residual_is_what_the_written_sources_leave():
    wave, model = noise(1, 16000), Shares({"a": 0.5, "b": 0.3, "c": 0.1})
    np.testing.assert_allclose(parts_of(wave, 16000, model, ["b", "residual"])[1], 0.7 * wave, atol=1e-6)
    np.testing.assert_allclose(parts_of(wave, 16000, model, ["a", "b", "c", "residual"])[3], 0.1 * wave, atol=1e-6)


def test_which_parts():
    model = Shares({"speech": 0.5, "music": 0.5})
    assert choose_parts(model, [], residual=False) == ["speech", "music"]
    assert choose_parts(model, ["music", "music"], residual=True) == ["music", "residual"]
    with pytest.raises(EnhanceError, match=r"--sources drums: the model has no such source: it gives speech, music"):
        choose_parts(model, ["drums"], residual=False)


def test_output_that_is_not_finite_is_refused():
    with pytest.raises(EnhanceError, match="the model's output is not finite"):
        parts_of(noise(1, 100), 16000, Shares({"a": np.nan}), ["a"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 2])
def test_the_python_api_keeps_shape_and_type_and_the_model(separator: str, dtype: type, channels: int | None):
    wave = noise(1, 44100, channels or 1).astype(dtype)
    wave = wave[0] if channels is None else wave
    model = load_model(separator).train()
    found = enhance.separate(wave, 44100, model, device="cpu")
    assert list(found) == ["speech", "music", "noise"]
    assert {(part.shape, part.dtype) for part in found.values()} == {(wave.shape, wave.dtype)}
    assert model.training
    np.testing.assert_allclose(sum(found.values()), wave, atol=1e-5)
    assert {part.shape for part in enhance.separate(wave[..., :0], 44100, model).values()} == {(*wave.shape[:-1], 0)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("channels", [None, 2])
def test_the_python_api_takes_tensors(dtype: torch.dtype, channels: int | None):
    wave = torch.from_numpy(noise(1, 44100, channels or 1)).to(dtype)
    wave = wave[0] if channels is None else wave
    model = Shares({"a": 0.25, "b": 0.75})
    of_array, nothing = (enhance.separate(each, 44100, model) for each in (wave.float().numpy(), wave[..., :0]))
    for name, part in enhance.separate(wave, 44100, model).items():
        assert (part.shape, part.dtype) == (wave.shape, dtype)
        np.testing.assert_allclose(part.float(), of_array[name], atol=1e-3 if dtype == torch.float16 else 0)
        assert (nothing[name].shape, nothing[name].dtype) == (wave[..., :0].shape, dtype)


@pytest.mark.parametrize("wiener", [False, True])
def test_mono_through_a_stereo_model_sums_to_the_recording(wiener: bool):
    wave = noise(1, 44100)
    model = Shares({"a": 0.25, "b": 0.75}, channels=2)
    found = enhance.separate(wave, 44100, model, "cpu", wiener)
    alone = enhance.separate(wave, 44100, Shares({"a": 0.25, "b": 0.75}), "cpu", wiener)
    for name in ("a", "b"):
        assert found[name].shape == wave.shape
        np.testing.assert_allclose(found[name], alone[name], atol=1e-6)
    np.testing.assert_allclose(found["a"] + found["b"], wave, atol=1e-5)


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros(100, np.int16), "samples of type int16: convert them to floats"),
        (torch.zeros(100, dtype=torch.int16), r"samples of type torch\.int16: convert them to floats"),
        (np.zeros((1, 2, 100)), r"shape \(1, 2, 100\): give one recording"),
        (np.full(100, np.nan), "the wave holds NaN or infinity"),
        (np.zeros((1000, 2)), r"the wave has 1000 channels of 2 samples: give \(channels, time\)"),
        (np.zeros((3, 100)), "the wave: has 3 channels, the model wants 2: mix it to 2 or to mono"),
    ],
)
def test_what_the_python_api_refuses(wave: np.ndarray | torch.Tensor, message: str):
    with pytest.raises(EnhanceError, match=message):
        enhance.separate(wave, 16000, Shares({"a": 1.0}, channels=2))


# Files


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_24")])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_rate_channels_length_and_depth_stay(tmp_path: Path, suffix: str, subtype: str, rate: int):
    source = tmp_path / f"a.{suffix}"
    soundfile.write(source, noise(0.5, rate, 2).T[:-7], rate, subtype)
    result = split(source, tmp_path / "out", ["a", "b"], Shares({"a": 0.5, "b": 0.5}), suffix)
    before = soundfile.info(source)
    assert (result.seconds, result.channels, result.sample_rate) == (before.frames / rate, 2, rate)
    total = np.zeros((2, before.frames))
    for name in ("a", "b"):
        after = soundfile.info(tmp_path / "out" / f"{name}.{suffix}")
        for field in ("frames", "samplerate", "channels", "format", "subtype"):
            assert getattr(after, field) == getattr(before, field), field
        total += audio.read(tmp_path / "out" / f"{name}.{suffix}")[0]
    step = 0 if subtype == "FLOAT" else 2.0 ** -(int(subtype[-2:]) - 1)
    np.testing.assert_allclose(total, audio.read(source)[0], atol=step + 1e-5)


def test_all_parts_are_lowered_alike(tmp_path: Path):
    wave = np.full((1, 4000), 0.5, dtype=np.float32)
    audio.write(tmp_path / "a.wav", wave, 16000, "PCM_16")
    model, target = Shares({"loud": 4.0, "low": 0.5}), tmp_path / "out"
    result = split(tmp_path / "a.wav", target, ["loud", "low"], model)
    assert result.clipped == 4000
    assert result.warnings == (
        f"{target / 'loud.wav'}: 4000 samples clipped at full scale; --prevent-clipping lowers all parts instead",
    )
    result = split(tmp_path / "a.wav", target, ["loud", "low"], model, prevent_clipping=True)
    assert (result.clipped, result.warnings) == (0, ())
    assert result.lowered_db == pytest.approx(6.02, abs=0.01)
    for name, level in (("loud", 1.0), ("low", 0.125)):
        np.testing.assert_allclose(audio.read(target / f"{name}.wav")[0], level, atol=1e-4)


def test_a_disk_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    audio.write(tmp_path / "a.wav", noise(25, 16000), 16000)
    written = audio.SoundFileWriter.write

    def full(self: audio.SoundFileWriter, wave: np.ndarray) -> None:
        if "b.wav" in self.path.name and self.frames:
            raise OSError("No space left on device")
        written(self, wave)

    monkeypatch.setattr(audio.SoundFileWriter, "write", full)
    with pytest.raises(EnhanceError, match=r"out/b\.wav: cannot be written \(No space left on device\)"):
        split(tmp_path / "a.wav", tmp_path / "out", ["a", "b"], Shares({"a": 0.5, "b": 0.5}))
    assert not (tmp_path / "out").exists()


def test_a_file_with_other_channels_than_the_model_wants(tmp_path: Path):
    audio.write(tmp_path / "a.wav", noise(1, 16000, 3), 16000)
    with pytest.raises(EnhanceError, match=r"a\.wav: has 3 channels, the model wants 2"):
        split(tmp_path / "a.wav", tmp_path / "out", ["a"], Shares({"a": 1.0}, channels=2))


def test_a_mono_file_through_a_stereo_model_gives_mono_files(tmp_path: Path):
    audio.write(tmp_path / "a.wav", noise(5, 16000), 16000, "FLOAT")
    split(tmp_path / "a.wav", tmp_path / "out", ["a", "residual"], Shares({"a": 0.25, "b": 0.75}, channels=2))
    for name, share in {"a": 0.25, "residual": 0.75}.items():
        found, _ = audio.read(tmp_path / "out" / f"{name}.wav")
        np.testing.assert_allclose(found, share * audio.read(tmp_path / "a.wav")[0], atol=1e-6)


# The picture


def panels(path: Path, count: int) -> list[np.ndarray]:
    """Their pixels, each ``(rows, columns)`` from 0 to 1, without the frames around them."""
    from matplotlib.image import imread

    grey = imread(path)[..., :3].mean(-1)
    columns = slice(400, 1000)  # within all of them
    white = (grey[:, columns] == 1).all(1)  # between them
    edges = np.flatnonzero(np.diff(np.concatenate(([True], white, [True]))))
    found = [grey[a + 4 : b - 8, columns] for a, b in edges.reshape(-1, 2) if b - a > 200]
    assert len(found) == count
    return found


def test_the_picture_has_the_mixture_and_each_part_on_one_scale(tmp_path: Path):
    time = np.arange(64000) / 16000
    tone = (0.5 * np.sin(2 * np.pi * 2000 * time) * (time > 2)).astype(np.float32)
    audio.write(tmp_path / "a $x_$.wav", tone[None], 16000)
    model, plot = Shares({"all": 1.0, "a $x_$": 0.003}), tmp_path / "out" / "spectrograms.png"
    result = split(tmp_path / "a $x_$.wav", tmp_path / "out", ["all", "a $x_$", "residual"], model, plot=plot)
    assert result.plot == plot
    mixture, everything, little, rest = panels(plot, 4)
    assert np.abs(mixture - everything).mean() < 0.01  # edges fall between pixels
    for panel in (mixture, little):  # 2 of 8 kHz, from the middle on
        loudest = panel[:, 450:].mean(1).argmax()
        assert loudest == pytest.approx(0.75 * len(panel), abs=0.03 * len(panel))
        assert panel[:, :150].max() < 0.05
    assert mixture.max() > little.max() + 0.2
    assert rest.max() < little.max()


def test_the_picture_of_silence_is_dark(tmp_path: Path):
    audio.write(tmp_path / "a.wav", np.zeros((2, 100), dtype=np.float32), 44100)
    split(tmp_path / "a.wav", tmp_path / "out", ["a"], Shares({"a": 1.0}), plot=tmp_path / "out" / "b.png")
    assert max(panel.max() for panel in panels(tmp_path / "out" / "b.png", 2)) < 0.05


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from matplotlib.figure import Figure

    def full(self: Figure, path: Path, **options: object) -> None:
        path.write_bytes(b"half a picture")
        raise OSError("No space left on device")

    audio.write(tmp_path / "a.wav", noise(1, 16000), 16000)
    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(EnhanceError, match=r"out/b\.png: cannot be written \(No space left on device\)"):
        split(tmp_path / "a.wav", tmp_path / "out", ["a"], Shares({"a": 1.0}), plot=tmp_path / "out" / "b.png")
    assert not (tmp_path / "out").exists()
