"""Two trainings in one folder: the second one is told so; a killed one keeps nobody out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from enhance.errors import EnhanceError
from enhance.training import lock

# A training whose loader has a worker: a fork, which lives on for some time after the training was killed.
TRAINING = """
import os, sys, time
from pathlib import Path
from enhance.training.lock import alone
with alone(Path(sys.argv[1])):
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(lock.fcntl is None, reason="no locks on this system")
def test_one_process_at_a_time_and_none_after_a_kill(tmp_path: Path, environment: dict[str, str]):
    folder = tmp_path / "runs" / "x"
    line = [sys.executable, "-c", TRAINING, str(folder)]
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    try:
        for _ in range(2):  # the first refusal must not have opened the door
            with pytest.raises(EnhanceError) as caught, lock.alone(folder):
                pass
            assert str(caught.value).startswith(f"{folder}: another process trains here: ")
        process.kill()
        process.wait()
        os.kill(worker, 0)  # is still there
        with lock.alone(folder):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        process.kill()
    with lock.alone(folder):
        pass


def test_without_locks_nobody_is_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "fcntl", None)
    with lock.alone(tmp_path), lock.alone(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(EnhanceError, match="cannot be written"), lock.alone(tmp_path / "file" / "run"):
        pass
