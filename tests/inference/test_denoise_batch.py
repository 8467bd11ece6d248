"""Many files and many processes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from toys import noise

from enhance import audio
from enhance.errors import EnhanceError
from enhance.inference.batch import check, run
from enhance.inference.tasks import Settings, Task


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    for number in range(4):
        audio.write(tmp_path / f"{number}.wav", noise(1, 16000, seed=number), 16000)
    (tmp_path / "2.wav").write_text("no sound at all")
    return [Task(tmp_path / f"{number}.wav", tmp_path / "out" / f"{number}.wav") for number in range(4)]


def test_check_finds_what_cannot_be_done(tasks: list[Task], untrained: str):
    failed, seconds = check(tasks, Settings(untrained))
    assert [result.source.name for result in failed] == ["2.wav"]
    assert seconds == 3.0


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_does_not_stop_the_others(tasks: list[Task], untrained: str, jobs: int):
    seconds = []
    results = {result.source.name: result for result in run(tasks, Settings(untrained), jobs, seconds.append)}
    assert sorted(results) == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert [name for name, result in results.items() if result.error] == ["2.wav"]
    assert sum(seconds) == pytest.approx(3.0)
    for name in ("0.wav", "1.wav", "3.wav"):
        before, after = (audio.read(tasks[0].source.parent / folder / name)[0] for folder in ("", "out"))
        assert np.abs(before - after).max() < 1e-4
    assert sorted(path.name for path in tasks[0].target.parent.iterdir()) == ["0.wav", "1.wav", "3.wav"]


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_file_alone(tmp_path: Path, untrained: str):
    audio.write(tmp_path / "long.wav", noise(300, 16000), 16000)
    audio.write(tmp_path / "short.wav", noise(1, 16000), 16000)
    tasks = [Task(tmp_path / f"{name}.wav", tmp_path / "out" / f"{name}.wav") for name in ("long", "short")]

    def kill(seconds: float) -> None:
        for path in (tmp_path / "out").glob(".long.wav.*.part.wav"):
            with contextlib.suppress(ProcessLookupError):  # it is dead already: its last messages still come
                os.kill(int(path.name.split(".")[-3]), signal.SIGKILL)

    results = {result.source.stem: result for result in run(tasks, Settings(untrained), 2, kill)}
    assert "its process died (exit code -9)" in results["long"].error
    assert results["short"].error == ""
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["short.wav"]


@pytest.mark.slow
def test_what_was_done_at_an_interruption_is_told(tmp_path: Path, untrained: str):
    for number in range(6):
        audio.write(tmp_path / f"{number}.wav", noise(5, 16000), 16000)
    tasks = [Task(tmp_path / f"{number}.wav", tmp_path / "out" / f"{number}.wav") for number in range(6)]
    told = []

    def interrupt(seconds: float) -> None:
        if len(told) == 2:  # both are in the middle of the next file, or done with it
            time.sleep(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        told.extend(result.target.name for result in run(tasks, Settings(untrained), 2, interrupt))
    assert len(told) > 2
    assert sorted(told) == sorted(path.name for path in (tmp_path / "out").iterdir())


def test_unknown_models_and_devices_are_refused_before_the_work(tasks: list[Task], untrained: str):
    for settings, message in (
        (Settings("nope"), "unknown model 'nope'"),
        (Settings(untrained, strength=2), "strength 2"),
        (Settings(untrained, device="abacus"), "--device abacus: unknown"),
    ):
        with pytest.raises(EnhanceError, match=message):
            check(tasks, settings)
