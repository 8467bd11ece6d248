"""What the compact model's options change, and what they must not."""

from __future__ import annotations

import pytest
import torch

from enhance.models.compact import CompactUNet

SMALL = {"widths": [4, 6, 8], "hidden": 8, "blocks": 2}
OPTIONS = [{"hop": 128}, {"hop": 64}, {"n_fft": 640}, {"recurrence": "mingru"}, {"hop": 128, "recurrence": "mingru"}]


@pytest.mark.parametrize("options", OPTIONS)
def test_an_untrained_model_leaves_its_input_alone(options):
    """Which also says that analysis and synthesis undo each other, whatever the hop."""
    wave = torch.randn(2, 1, 3001, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(CompactUNet(**SMALL, **options).eval()(wave)[:, 0], wave, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_stream_is_the_whole_later(options, settle):
    torch.manual_seed(1)
    model = settle(CompactUNet(**SMALL, **options))
    hop = options.get("hop", options.get("n_fft", 512) // 2)
    assert (model.block, model.latency) == (hop, options.get("n_fft", 512) - hop)
    wave = 0.1 * torch.randn(2, 1, 20 * model.block, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = model(wave)
        pieces, state = [], None
        for chunk in torch.nn.functional.pad(wave, (0, 10 * model.block)).split(3 * model.block, dim=-1):
            estimates, state = model.stream(chunk, state)
            pieces.append(estimates)
    streamed = torch.cat(pieces, dim=-1)[..., model.latency :][..., : wave.shape[-1]]
    torch.testing.assert_close(streamed, whole, atol=1e-5, rtol=0)
