"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from enhance.errors import EnhanceError
from enhance.files import MACHINE, no_empty_folder, remove_stale, replacing


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_target_as_it_was(tmp_path: Path, error: type[BaseException]):
    target = tmp_path / "a.wav"
    target.write_text("before")

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert target.read_text() == "before"


def test_the_target_is_untouched_until_the_writer_is_done(tmp_path: Path):
    target = tmp_path / "new folder" / "file.bin"
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == target.parent  # on the same disk, or the renaming is no single step
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_what_the_system_refuses_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnhanceError, match="cannot be written"), replacing(tmp_path / "file" / "a.wav"):
        pass


def test_stale_temporary_files_of_dead_processes_are_removed(tmp_path: Path):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    dead, other = (tmp_path / f".{name}.wav.{MACHINE}.{child.pid}.part.wav" for name in "ab")
    alive, elsewhere = (tmp_path / f".a.wav.{machine}.1.part.wav" for machine in (MACHINE, "0123abcd"))
    for path in (dead, other, alive, elsewhere):
        path.write_text("half")
    remove_stale([tmp_path / "a.wav"])
    assert not dead.exists()
    assert all(path.exists() for path in (other, alive, elsewhere))
    remove_stale([tmp_path / "a.wav"], everyone=True)
    assert [path.name for path in tmp_path.iterdir()] == [other.name]


@pytest.mark.parametrize("name", ["x" * 247 + ".wav", "録音" * 41 + ".wav"])
def test_names_as_long_as_there_can_be(tmp_path: Path, name: str):
    """Their temporary names have no room for them, but are found again."""
    target = tmp_path / name
    with replacing(target) as temporary:
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    left = temporary.with_name(temporary.name.replace(str(os.getpid()), str(child.pid)))
    left.write_text("half")
    remove_stale([target])
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failure_leaves_no_empty_folder_and_no_other_is_touched(tmp_path: Path):
    def fail(folder: Path, left: bool) -> None:
        def work() -> None:
            with no_empty_folder(folder):
                folder.mkdir(parents=True, exist_ok=True)
                if left:
                    (folder / "a.wav").touch()
                raise RuntimeError

        with pytest.raises(RuntimeError):
            work()

    fail(tmp_path / "new" / "track", left=False)
    assert not (tmp_path / "new").exists()
    fail(tmp_path / "new" / "track", left=True)
    assert (tmp_path / "new" / "track" / "a.wav").exists()
    (tmp_path / "old").mkdir()
    fail(tmp_path / "old", left=False)
    assert (tmp_path / "old").exists()
    fail(tmp_path / "old" / "track", left=False)
    assert list((tmp_path / "old").iterdir()) == []
    with no_empty_folder(tmp_path / "fine"):
        (tmp_path / "fine").mkdir()
    assert (tmp_path / "fine").exists()
