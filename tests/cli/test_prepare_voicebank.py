"""``enhance prepare`` with a recipe: from a server to files for training and bench, killed at any moment."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import Run
from kills import moments
from voicebank_toys import TEST, TRAIN, Server, archives, recipe, serving, write_folders

from enhance.data.pair_store import PairStore
from enhance.data.store import Store

Cli = Callable[..., Run]
KILLS = 10


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return archives(write_folders(tmp_path_factory.mktemp("original")))


@pytest.fixture
def server(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(files) as server:
        yield server


@pytest.fixture
def small(files: dict[str, bytes], server: Server, tmp_path: Path) -> Path:
    """The recipe, whose archives are on the server."""
    return recipe(tmp_path / "voicebank", files, server.address)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_recipe_is_downloaded_and_prepared(cli: Cli, small, server, tmp_path):
    server.plan = ["breaks", "well", "ignores ranges, breaks", "well", "damages"]
    run = cli("prepare", small, "--data", tmp_path / "data", "--jobs", 1)
    assert (run.code, run.out) == (0, "")
    assert "clean_testset_wav.zip: broke off after" in run.err
    assert "test: 3 pairs, 0.00 h" in run.err
    assert "train 3 pairs, 0.00 h; valid 3 pairs, 0.00 h; fingerprint" in run.err
    assert [pair.id for pair in PairStore(tmp_path / "data" / "pairs").pairs] == sorted(TRAIN)
    before = tree(tmp_path / "data")
    assert {name.rpartition("/")[0] for name in before} == {"archives", "pairs", "test", "test/noisy", "test/clean"}
    asked = len(server.requests)
    assert cli("prepare", small, "--data", tmp_path / "data").code == 0
    assert len(server.requests) == asked
    assert tree(tmp_path / "data") == before


def test_the_mirror_takes_the_place_of_the_addresses(cli: Cli, files, server, tmp_path, monkeypatch):
    elsewhere = recipe(tmp_path / "elsewhere", files)  # where nobody answers
    monkeypatch.setenv("ENHANCE_MIRROR", server.address)
    assert cli("prepare", elsewhere, "--data", tmp_path / "data", "-j", 1).code == 0
    assert len(server.requests) == len(files)


def test_a_wrong_archive_is_one_line_and_nothing_is_prepared(cli: Cli, small, server, tmp_path):
    server.files = {**server.files, "noisy_trainset_28spk_wav.zip": b"<html>Are you human?</html>"}
    run = cli("prepare", small, "--data", tmp_path / "data", "-j", 1)
    error = run.err.splitlines()[-1]
    assert run.code == 2
    assert error.startswith("error: noisy_trainset_28spk_wav.zip: cannot be downloaded (http://127.0.0.1:")
    assert not (tmp_path / "data" / "pairs").exists()
    assert not list((tmp_path / "data" / "archives").glob("*.part*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "prepared into which folder?: give one --data DIR"),
        (["--data", "a", "--data", "b"], "prepared into which folder?"),
        (["--data", "a", "--speech", "b"], "a recipe says itself what its data are"),
        (["--data", "a", "--sample-rate", "8000"], "a recipe says itself what its data are"),
        (["--data", "a", "--rooms", "3"], "has no rooms"),
        (["--data", "a", "--from", "nowhere"], "--from nowhere: no such folder"),
    ],
)
def test_wrong_use_is_one_line(cli: Cli, small, server, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    run = cli("prepare", small, *arguments)
    assert run.code == 2
    assert message in run.err
    assert run.err.count("\n") == 1
    assert server.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["voicebank"]


@pytest.mark.parametrize("option", ["--from", "--mirror"])
def test_options_of_recipes_are_for_recipes(cli: Cli, tmp_path, option):
    run = cli("prepare", tmp_path / "data", option, tmp_path, "--speech", tmp_path)
    assert run.code == 2
    assert f"{option} {tmp_path}: {tmp_path / 'data'} has no data.toml" in run.err


def test_folders_are_prepared_as_ever(cli: Cli, audio_folders, tmp_path):
    folders = ("--speech", audio_folders["speech"], "--noise", audio_folders["noise"])
    run = cli("prepare", tmp_path / "data", *folders, "--rooms", 0, "--sample-rate", 8000, "-j", 1)
    assert run.code == 0
    store = Store(tmp_path / "data")
    assert store.sample_rate == 8000
    assert (len(store.select("speech", "train") + store.select("speech", "valid")), len(store.entries)) == (12, 16)
    assert "is there already" in cli("prepare", tmp_path / "data", *folders).err


def start(environment: dict[str, str], *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "enhance.cli", "prepare", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_at_any_moment_a_rerun_gives_the_same_files(environment, small, server, files, tmp_path, jobs):
    server.pause = 0.002
    undisturbed, data = tmp_path / "undisturbed", tmp_path / "data"
    process = start(environment, small, "--data", undisturbed, "--jobs", jobs)
    *_, most = moments(lambda: process.poll() is None, undisturbed)
    assert process.returncode == 0
    expected = tree(undisturbed)
    rng, killed, places = random.Random(jobs), 0, set()
    for _ in range(KILLS // 2):
        process = start(environment, small, "--data", data, "--jobs", jobs)
        moment = rng.randint(1, most)
        for count in moments(lambda process=process: process.poll() is None, data):
            if count >= moment:
                process.send_signal(signal.SIGKILL)
                break
        if process.wait(30) == -signal.SIGKILL:
            killed += 1
            places.add(frozenset(path.name for path in data.iterdir()) if data.exists() else None)
        else:  # it was done before that moment
            assert tree(data) == expected
            shutil.rmtree(data)
    assert killed >= 3
    assert len(places) >= 2  # not always in the same step
    assert start(environment, small, "--data", data, "--jobs", jobs).wait(60) == 0
    assert tree(data) == expected
    assert {path.name for path in data.iterdir()} == {"archives", "pairs", "test"}


@pytest.mark.slow
def test_what_is_done_is_not_done_again(environment, small, server, tmp_path):
    """Killed between the two halves: the rerun asks only for what was missing."""
    server.pause = 0.002
    process = start(environment, small, "--data", tmp_path / "data", "--jobs", 1)
    for _ in moments(lambda: process.poll() is None, tmp_path / "data"):
        if (tmp_path / "data" / "archives" / "clean_trainset_28spk_wav.zip.part").exists():
            process.kill()
            break
    process.wait(30)
    time.sleep(0.1)
    test = {path: path.stat().st_mtime_ns for path in (tmp_path / "data" / "test").rglob("*")}
    assert len(test) == 2 * len(TEST) + 4
    server.requests.clear()
    assert start(environment, small, "--data", tmp_path / "data", "--jobs", 1).wait(60) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data" / "test").rglob("*")} == test
    assert {path for path, _ in server.requests} == {f"/{kind}_trainset_28spk_wav.zip" for kind in ("clean", "noisy")}


@pytest.mark.slow
def test_a_worker_does_not_outlive_a_killed_command(environment, tmp_path):
    source = write_folders(tmp_path / "from")
    long = np.zeros(48000 * 400, np.int16)
    for path in source.rglob("p232_001.wav"):
        soundfile.write(path, long, 48000)
    small = recipe(tmp_path / "voicebank", archives(source))
    process = start(environment, small, "--data", tmp_path / "data", "--from", source, "--jobs", 2)
    while not (workers := children(process.pid)):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait(30)
    for _ in range(300):
        if not [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
            return
        time.sleep(0.1)
    raise AssertionError("still there")


def children(process: int) -> list[str]:
    """Worker processes of that one; Linux."""
    path = Path(f"/proc/{process}/task/{process}/children")
    if not path.exists():
        pytest.skip("needs /proc")
    found = path.read_text().split()
    return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
