"""``enhance prepare`` of one's own folders, killed at ten moments: a rerun gives the files of an undisturbed run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run
from kills import command, kill_at_random, undisturbed

from enhance.data.shards import ShardSet
from enhance.data.store import Store

Cli = Callable[..., Run]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def options(folders: dict[str, Path]) -> list[object]:
    return ["--speech", folders["speech"], "--noise", folders["noise"], "--rooms", 0, "--jobs", 1]


def test_shards_hold_what_a_store_holds(cli: Cli, audio_folders, tmp_path):
    lines = []
    for name, more in (("store", []), ("shards", ["--shards"])):
        run = cli("prepare", tmp_path / name, *options(audio_folders), *more)
        assert run.code == 0, run.err
        lines.append([line for line in run.err.splitlines() if " h" in line and "fingerprint" not in line])
    assert lines[0] == lines[1]  # hours of each kind and split
    store, shards = Store(tmp_path / "store"), ShardSet(tmp_path / "shards")
    waves = [sorted(found.read(entry).tobytes() for entry in found.entries)
             for found in (store, shards.read(shards.shards))]  # fmt: skip
    assert waves[0] == waves[1]
    assert "is there already" in cli("prepare", tmp_path / "shards", *options(audio_folders)).err


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--shards"]], ids=["store", "shards"])
def test_killed_at_ten_moments_a_rerun_gives_the_same_files(audio_folders, tmp_path, more):
    whole, parts = tmp_path / "whole" / "data", tmp_path / "parts" / "data"
    arguments = [*options(audio_folders), *more]
    most = undisturbed(command("prepare", whole, *arguments), whole.parent)
    assert most >= 4
    expected = tree(whole.parent)

    def finished() -> None:
        assert tree(parts.parent) == expected
        shutil.rmtree(parts.parent)

    def start():
        if parts.exists():  # the last one was killed when all was done: a rerun would say so
            finished()
        return command("prepare", parts, *arguments)

    kill_at_random(start, parts.parent, most, 2, finished)
    undisturbed(start(), parts.parent)
    assert tree(parts.parent) == expected
