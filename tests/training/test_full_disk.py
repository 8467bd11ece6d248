"""What a training writes on a disk that is full: one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from disks import small_disk

from enhance.errors import EnhanceError
from enhance.training import state as states
from enhance.training.log import Log


def test_the_state_is_as_it_was(tmp_path: Path):
    path = tmp_path / "state.pt"
    states.save(path, {"step": 1})
    with (
        pytest.raises(
            EnhanceError, match=r"state\.pt: cannot be written \(PyTorch could not write all of it\): is the"
        ),
        small_disk(50_000),
    ):
        states.save(path, {"weight": torch.zeros(100_000)})
    assert states.load(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_line_of_the_log(tmp_path: Path):
    with Log(tmp_path, "metrics.jsonl", True, {"train": 0, "valid": 0}) as log:
        log.write("train", 1, {"loss": 1.0})
        with (
            pytest.raises(
                EnhanceError, match=r"metrics\.jsonl: cannot be written \(File too large\): is the disk full"
            ),
            small_disk(10_000),
        ):
            log.write("train", 2, {"text": "x" * 20_000})
    with Log(tmp_path, "metrics.jsonl", True, {"train": 2, "valid": 0}):  # a line that was cut off is dropped
        assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").count("\n") == 1


def test_a_log_that_is_no_file(tmp_path: Path):
    (tmp_path / "metrics.jsonl").mkdir()
    with (
        pytest.raises(EnhanceError, match=r"metrics\.jsonl: cannot be written \(Is a directory\)"),
        Log(tmp_path, "metrics.jsonl", True, {"train": 0, "valid": 0}),
    ):
        pass
