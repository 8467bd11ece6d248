"""What every preset promises: see the text of `enhance.models`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from enhance.errors import EnhanceError
from enhance.models import REGISTRY, Model, checkpoint, constructor_arguments, create, model_class, presets
from enhance.nn.masks import ubd

SLOW = ("hybrid-l",)
# Their size is checked as they are, all else on one with fewer channels and, of the hybrid, a shorter reach.
THIN: dict[str, dict[str, Any]] = {
    "large-dcunet-20": {"widths": (12, 12, 24, 24, 24, 24, 24, 24, 24, 32)},
    "hybrid": {
        "compact": {"widths": [8, 12, 16], "hidden": 16, "blocks": 2},
        "waveform": {"widths": [8, 12, 16], "dilations": [[1], [1], [1, 2, 4]], "strides": (4, 2, 2)},
    },
}
PRESETS = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in presets()]
STREAMING = [name for name in presets() if hasattr(model_class(presets()[name][0]), "stream")]
FINITE = [preset for preset in PRESETS if preset.values[0] not in STREAMING]
LENGTHS = (1, 2, 255, 256, 257, 4095, 4097)


def noise(*shape: int, seed: int = 0, level: float = 0.1) -> Tensor:
    return level * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def arguments(preset: str) -> dict[str, Any]:
    return constructor_arguments(preset, **THIN.get(preset, {}))


def made(preset: str) -> Any:
    return create(preset, **THIN.get(preset, {}))


@pytest.fixture(scope="module", params=PRESETS)
def preset(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(preset, settle) -> nn.Module:
    """The preset in evaluation mode, with parameters and statistics that leave nothing trivial."""
    torch.manual_seed(0)
    return settle(made(preset))


@pytest.fixture(autouse=True)
def no_gradient():
    with torch.no_grad():
        yield


# Names


def test_presets_belong_to_registered_classes():
    assert presets()
    for name, arguments in presets().values():
        assert isinstance(model_class(name)(**arguments), Model)


def test_unknown_preset_names_the_nearest():
    with pytest.raises(EnhanceError, match="unknown model 'dcunet-2': did you mean 'dcunet-20'"):
        create("dcunet-2")
    with pytest.raises(EnhanceError, match="unknown model 'zzz': `enhance models` lists"):
        create("zzz")


def test_unknown_class_and_unknown_argument():
    with pytest.raises(EnhanceError, match=f"unknown model class 'None': known are {', '.join(REGISTRY)}"):
        model_class("None")
    with pytest.raises(EnhanceError, match=r"model 'dcunet-10': .*wdith"):
        create("dcunet-10", wdith=3)


def test_one_argument_in_a_table_changes_only_itself():
    model: Any = create("hybrid-dcunet", spectrogram={"mask": "ubd"})
    same: Any = create("hybrid-dcunet")
    assert model.parts["spectrogram"].mask_function is ubd
    shapes = [{name: tensor.shape for name, tensor in each.state_dict().items()} for each in (model, same)]
    assert shapes[0] == shapes[1]
    given = constructor_arguments("hybrid-dcunet", spectrogram={"mask": "ubd"})
    assert given["spectrogram"].pop("mask") == "ubd"
    assert given == presets()["hybrid-dcunet"][1]  # which is as it was
    hybrid: Any = create("hybrid", compact={"floor": 0.0}, waveform={"widths": [8, 12, 16]})
    net = hybrid.spectrogram.net
    assert (net.floor, net.lookahead, net.hidden, len(net.blocks)) == (0.0, 12, 128, 6)
    assert [layer.weight.shape[0] for layer in hybrid.waveform.down] == [8, 12, 16]


def test_the_thin_hybrid_looks_ahead_and_leaves_noise_as_the_preset_does():
    net = made("hybrid").spectrogram.net
    assert (net.lookahead, net.floor) == (12, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("preset", THIN)
def test_what_is_thin_below_runs_as_it_is(preset):
    assert create(preset).eval()(noise(1, 1, 3000)).shape == (1, 1, 1, 3000)


# Every preset


def test_attributes(model):
    assert model.sample_rate > 0
    assert model.sources
    assert model.channels >= 1
    assert hasattr(model, "context") != hasattr(model, "stream")


def test_any_length(model):
    for length in LENGTHS:
        estimate = model(noise(2, model.channels, length))
        assert estimate.shape == (2, len(model.sources), model.channels, length)
        assert estimate.dtype == torch.float32
        assert torch.isfinite(estimate).all()


def test_any_length_in_training(preset):
    model = made(preset)
    for length in (1, 257):
        assert torch.isfinite(model(noise(2, model.channels, length))).all()


def test_silence_in_silence_out(model):
    estimate = model(torch.zeros(1, model.channels, 6000))
    assert estimate.abs().max() < 1e-4  # -80 dB of full scale


def test_sound_in_sound_out(model):
    """The other side of the silence test, and of every test below that compares two estimates."""
    assert model(noise(1, model.channels, 6000)).square().mean().sqrt() > 1e-3


def test_batch_independence(model):
    a, b = noise(1, model.channels, 3000, seed=1), noise(1, model.channels, 3000, seed=2, level=1.0)
    both = model(torch.cat([a, b]))
    torch.testing.assert_close(both[:1], model(a), rtol=0, atol=1e-5)
    torch.testing.assert_close(both[1:], model(b), rtol=0, atol=1e-5)


def test_channel_independence(model):
    if model.channels > 1:
        pytest.skip("its channels are joint")
    wave = noise(1, 3, 3000)
    estimate = model(wave)
    for channel in range(3):
        alone = model(wave[:, channel : channel + 1])
        torch.testing.assert_close(estimate[:, :, channel : channel + 1], alone, rtol=0, atol=1e-5)


def test_same_input_same_bytes(model):
    wave = noise(1, model.channels, 5000)
    assert torch.equal(model(wave), model(wave))


def test_all_parameters_receive_gradient(preset, settle):
    model = settle(made(preset)).train()
    with torch.enable_grad():
        model(noise(2, model.channels, 5000)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_save_and_load(model, preset, tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, model, arguments(preset), {})
    loaded = checkpoint.load_model(path)
    assert not loaded.training
    wave = noise(1, model.channels, 3001)
    assert torch.equal(loaded(wave), model(wave))


# Reach in time


@pytest.fixture(scope="module", params=FINITE)
def finite(request, settle) -> nn.Module:
    """The presets with a finite context."""
    torch.manual_seed(0)
    return settle(made(request.param))


@pytest.fixture(scope="module")
def long_wave(finite) -> Tensor:
    left, right = finite.context
    return noise(1, finite.channels, left + right + 12345)


@pytest.fixture(scope="module")
def whole(finite, long_wave) -> Tensor:
    with torch.no_grad():
        return finite(long_wave)


def test_nothing_outside_the_context_matters(finite, long_wave, whole):
    left, right = finite.context
    changed = long_wave.clone()
    middle = right + 6000
    changed[..., middle] += 1.0
    difference = (finite(changed) - whole).abs().amax((0, 1, 2))  # (T,)
    # What lies `right` before the change, or `left` after it, is reached by it; nothing beyond is.
    assert difference[: middle - right].max() <= 1e-6
    assert difference[middle + left + 1 :].max() <= 1e-6
    assert difference[middle - right // 2 : middle].max() > 1e-6
    assert difference[middle + 1 : middle + left // 2].max() > 1e-6


def test_chunks_equal_the_whole(finite, long_wave, whole):
    """In two chunks, by the rules of `context` and `align`."""
    left, right = finite.context
    align = getattr(finite, "align", 1)
    length = long_wave.shape[-1]
    middle = length - right - 1000  # the first chunk ends inside the signal
    first = finite(long_wave[..., : middle + right])[..., :middle]
    begin = (middle - left) // align * align
    second = finite(long_wave[..., begin:])[..., middle - begin :]
    torch.testing.assert_close(torch.cat([first, second], dim=-1), whole, rtol=0, atol=1e-5)


@pytest.fixture(scope="module", params=STREAMING)
def streaming(request, settle) -> nn.Module:
    """The presets that carry a state, which begins empty: what they hear before is tested with inference."""
    torch.manual_seed(0)
    model = settle(made(request.param))
    model.listen = 0.0
    return model


def in_blocks(model: nn.Module, wave: Tensor, blocks: list[int]) -> Tensor:
    """The stream's estimates of a whole signal, its delay removed; ``blocks`` are chunk sizes in blocks."""
    length = wave.shape[-1]
    total = model.block * sum(blocks)
    assert total >= length + model.latency
    padded = nn.functional.pad(wave, (0, total - length))
    state, parts = None, []
    for chunk in padded.split([n * model.block for n in blocks], dim=-1):
        part, state = model.stream(chunk, state)
        assert part.shape == (wave.shape[0], len(model.sources), *chunk.shape[1:])
        parts.append(part)
    return torch.cat(parts, dim=-1)[..., model.latency : model.latency + length]


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 16001), splits=st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_stream_equals_the_whole(streaming, length, splits):
    """Whatever the chunks are, in blocks; the drawn ones are repeated until the signal has passed."""
    wave = noise(2, streaming.channels, length)
    needed = math.ceil((length + streaming.latency) / streaming.block)
    blocks = splits * math.ceil(needed / sum(splits))
    torch.testing.assert_close(in_blocks(streaming, wave, blocks), streaming(wave), rtol=0, atol=1e-5)


def test_stream_leaves_its_state_alone(streaming):
    """A state may be kept, and the stream taken up from it again."""
    wave = noise(1, streaming.channels, 5 * streaming.block)
    first, second = wave.split([4 * streaming.block, streaming.block], dim=-1)
    _, state = streaming.stream(first, None)
    once, _ = streaming.stream(second, state)
    again, _ = streaming.stream(second, state)
    assert torch.equal(once, again)


def test_stream_looks_ahead_no_further_than_declared(streaming):
    """Output is out as soon as its block of input is in: what comes later has no part in it."""
    first = streaming.latency + 20 * streaming.block
    wave = noise(1, streaming.channels, first + 20 * streaming.block)
    for change in (first, first + 1, first + streaming.block - 1):
        changed = wave.clone()
        changed[..., change:] = noise(1, streaming.channels, wave.shape[-1] - change, seed=1)
        difference = (streaming(changed) - streaming(wave)).abs().amax((0, 1, 2))  # (T,)
        assert difference[: change - streaming.latency - streaming.block + 1].max() == 0
        assert difference[change:].max() > 1e-3


def test_stream_remembers(streaming):
    """What the state is for: something long past is still heard."""
    wave = noise(1, streaming.channels, 40 * streaming.block)
    changed = wave.clone()
    changed[..., : streaming.block] = 0
    assert (streaming(changed) - streaming(wave))[..., 4 * streaming.block :].abs().max() > 1e-6


# Learning


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    projection = (estimate * target).sum() / target.square().sum() * target
    return 10 * torch.log10(projection.square().sum() / (estimate - projection).square().sum())


def test_overfits_one_pair(preset):
    """A tone complex in white noise at 0 dB: a few dozen steps gain 6 dB of SI-SDR."""
    torch.manual_seed(0)
    model = made(preset)
    time = torch.arange(4096) / model.sample_rate
    clean = sum(torch.sin(2 * math.pi * f * time) for f in (250, 500, 1000))[None, None]
    clean = 0.1 * (clean / clean.square().mean().sqrt()).expand(1, model.channels, -1)  # (1, C, T)
    noisy = clean + noise(1, model.channels, 4096)
    before = si_sdr(noisy, clean)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    best = before
    for _ in range(60):
        with torch.enable_grad():
            score = si_sdr(model(noisy)[:, 0], clean)
            (-score).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        best = max(best, score.detach())
        if best > before + 6:
            break
    assert best > before + 6
