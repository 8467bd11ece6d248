"""The same work on Ray: workers die, files are bad, nothing is lost, doubled or half-written."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toys import noise

from enhance import audio
from enhance.files import temporary_name
from enhance.inference import ray_engine
from enhance.inference.blend import write_blend
from enhance.inference.ray_engine import ATTEMPTS, Cluster, spread
from enhance.inference.tasks import Result, SeparationTask, Settings, Task

LONGEST = 200.0  # seconds that anything here may take


# The order of the work, on a cluster that is none


class Pretended:
    """A cluster that does one task at a time, the last first; ``fatal`` ones kill their worker that many times."""

    def __init__(self, room: int, fatal: dict[str, int] | None = None) -> None:
        self.size, self.fatal = room, dict(fatal or {})
        self.numbers = itertools.count()
        self.tasks: dict[int, Task] = {}
        self.most = 0
        self.stopped: list[Any] = []

    def room(self) -> int:
        return self.size

    def submit(self, task: Task) -> int:
        self.tasks[number := next(self.numbers)] = task
        self.most = max(self.most, len(self.tasks))
        return number

    def wait(self, submitted: list[int]) -> int:
        return submitted[-1]

    def result(self, done: int, task: Task) -> Result | None:
        assert self.tasks.pop(done) is task
        if self.fatal.get(task.source.name, 0):
            self.fatal[task.source.name] -= 1
            temporary_name(task.target).write_text("half")
            return None
        return Result(task.source, task.target, seconds=2.0)

    def finished(self, submitted: list[int]) -> list[int]:
        return submitted[1:]

    def stop(self, submitted: list[Any]) -> None:
        self.stopped += submitted


def listed(folder: Path, count: int, taken: list[int]) -> Iterator[Task]:
    for number in range(count):
        taken.append(number)
        yield Task(Path(f"{number}.wav"), folder / f"{number}.wav")


def test_tasks_are_taken_when_there_is_room(tmp_path: Path):
    taken, seconds, cluster = [], [], Pretended(room=4)
    stream = spread(listed(tmp_path, 100, taken), cluster, seconds.append)
    for done in range(1, 51):
        next(stream)
        assert len(taken) == done + 3  # one is done, and three are on the way
    assert len({str(result.source) for result in stream}) == 50
    assert (cluster.most, len(seconds), sum(seconds)) == (4, 100, 200.0)
    cluster = Pretended(room=4)
    stream = spread(listed(tmp_path, 100, []), cluster, seconds.append)
    next(stream)
    stream.close()
    assert sorted(cluster.stopped) == [0, 1, 2]


def test_what_was_done_at_an_interruption_is_told(tmp_path: Path):
    cluster = Pretended(room=4)
    stream = spread(listed(tmp_path, 100, []), cluster, lambda seconds: None)
    told = [next(stream)]
    told += [stream.throw(KeyboardInterrupt), next(stream)]
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert sorted(result.source.name for result in told) == ["1.wav", "2.wav", "3.wav"]
    assert cluster.stopped == [0]


def test_a_file_whose_worker_dies_is_tried_three_times(tmp_path: Path):
    cluster = Pretended(3, {"1.wav": 2, "2.wav": 3})
    results = [*spread(listed(tmp_path, 4, []), cluster, lambda seconds: None)]
    assert sorted(result.source.name for result in results) == [f"{number}.wav" for number in range(4)]
    assert [result.error for result in results if result.error] == [
        "2.wav: its process died 3 times: is there enough memory?"
    ]
    assert next(cluster.numbers) == 4 + 2 + 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failed", [False, True])
def test_workers_get_whole_names_and_results_have_those_that_were_given(tmp_path, monkeypatch, failed: bool):
    """Workers have a working folder of their own."""
    monkeypatch.chdir(tmp_path)
    handed: list[Any] = []
    remote = SimpleNamespace(remote=lambda task, settings: handed.append((task, settings)))
    ray = SimpleNamespace(remote=lambda **options: lambda function: remote, get=lambda done: done)
    Path("b.toml").touch()
    cluster = Cluster(ray, Settings("b.toml", blend=True), None)
    parts = {"x": Path("out/a/x.wav"), "y": Path("out/a/y.wav")}
    task = SeparationTask(Path("in/a.wav"), Path("out/a"), parts, Path("out/a/spectrograms.png"))
    cluster.submit(task)
    [(whole, settings)] = handed
    assert {str(path) for path in (whole.source, whole.target, *whole.outputs)} == {
        str(tmp_path / path) for path in (task.source, task.target, *task.outputs)
    }
    assert list(whole.parts) == ["x", "y"]
    assert (settings.model, settings.blend) == (str(tmp_path / "b.toml"), True)
    if failed:
        done = Result(whole.source, whole.target, error="no")
        assert cluster.result(done, task) == Result(task.source, task.target, error="no")
    else:
        done = Result(whole.source, whole.target, plot=whole.plot, parts=whole.parts)
        assert cluster.result(done, task) == Result(task.source, task.target, plot=task.plot, parts=parts)


# What is found before the work


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--address", "auto"], "--address is that of a Ray cluster: add --engine ray"),
        (["--engine", "slurm"], "--engine slurm: unknown: take local or ray"),
        (["--engine", "ray", "--device", "cuda"], "--device cuda: on Ray the processors do it"),
        (["--engine", "ray", "--address", "here"], "--address here: not HOST:PORT"),
        (["--engine", "ray", "--address", "here:70000"], "--address here:70000: not HOST:PORT"),
        (["--engine", "ray", "--address", "127.0.0.1:9"], "--address 127.0.0.1:9: nobody answers (Connection refused)"),
    ],
)
def test_refused_before_the_work(cli, tmp_path: Path, options: list[str], message: str):
    audio.write(tmp_path / "a.wav", noise(1, 16000), 16000)
    for command in (("denoise",), ("separate", "-o", tmp_path / "out")):
        code, out, errors = cli(*command, tmp_path / "a.wav", *options)
        assert (code, out, errors.count("\n")) == (2, "", 1)
        assert message in errors
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize(
    ("says", "message"), [(b"", "nobody answers (timed out)"), (b"HTTP/1.1 400 Bad Request", "other than Ray answers")]
)
def test_an_address_where_ray_is_not(cli, monkeypatch: pytest.MonkeyPatch, says: bytes, message: str):
    monkeypatch.setattr(ray_engine, "ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(says)
            with connection, contextlib.suppress(ConnectionError):
                while connection.recv(100):
                    pass

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        code, _, errors = cli("denoise", "a.wav", "--engine", "ray", "--address", address)
        thread.join(LONGEST)
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith(f"error: --address {address}: ")
    assert message in errors


def test_without_ray(cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, errors = cli("denoise", "a.wav", "--engine", "ray")
    assert (code, errors) == (2, "error: --engine ray needs the package ray: pip install ray\n")


# A real cluster

START = """
import ray, sys
context = ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
print(context.address_info["address"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Iterator[str]:
    """The address of a Ray cluster of two workers."""
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}.items():
        monkeypatch.setenv(name, value)
        environment[name] = value
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", START], env=environment, **pipes)
    killer = threading.Timer(LONGEST, process.kill)
    killer.start()
    try:
        address = process.stdout.readline().strip()
        killer.cancel()
        yield address
        process.stdin.close()
        process.wait(LONGEST)
    finally:
        killer.cancel()
        process.kill()  # which does nothing to one that is done
        process.wait(LONGEST)


@contextlib.contextmanager
def killing(folder: Path, victims: dict[str, int]) -> Iterator[list[str]]:
    """SIGKILL for the process that writes a file, in the middle of it, that many times; their names as they die."""
    killed: list[str] = []
    over = threading.Event()

    def watch() -> None:
        seen: set[Path] = set()
        while not over.wait(0.01):
            for path in folder.glob(".*.part.wav"):
                name, process = path.name[1:].split(".")[0], int(path.name.split(".")[-3])
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    if path not in seen and killed.count(name) < victims.get(name, 0) and path.stat().st_size > 200_000:
                        os.kill(process, signal.SIGKILL)
                        seen.add(path)
                        killed.append(name)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join(LONGEST)


@pytest.mark.slow
def test_workers_that_are_killed(cli, tmp_path: Path, monkeypatch, untrained: str, cluster: str):
    """Outputs are those of a run without Ray, byte for byte; a file that always kills its worker fails alone."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for number, (name, seconds) in enumerate({"a": 1, "b": 2, "always": 30, "once": 30, "z": 1}.items()):
        audio.write(f"in/{name}.wav", noise(seconds, 16000, seed=number), 16000)
    audio.write("in/hole.wav", noise(1, 16000) * float("nan"), 16000, "FLOAT")
    assert cli("denoise", "in", "-o", "undisturbed", "-m", untrained)[0] == 1
    command = ("denoise", "in", "-o", "out", "-m", untrained, "--records", "done.jsonl", "--json")
    on_ray = ("--engine", "ray", "--address", cluster)

    with killing(Path("out"), {"always": 9, "once": 1}) as killed:
        code, out, errors = cli(*command, *on_ray)
    assert sorted(killed) == ["always"] * ATTEMPTS + ["once"]
    assert code == 1
    assert errors.endswith("2 of 6 files failed\n")
    assert "Ray" not in errors
    records = [json.loads(line) for line in out.splitlines()]
    assert sorted(record["source"] for record in records) == sorted(map(str, Path("in").iterdir()))
    failed = {record["source"]: record["error"] for record in records if record["error"]}
    assert failed["in/always.wav"] == "in/always.wav: its process died 3 times: is there enough memory?"
    assert failed["in/hole.wav"].endswith(
        "in/hole.wav: sample 0 (at 0.000 s) is NaN or infinite: repair or export the file again"
    )
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.wav", "b.wav", "once.wav", "z.wav"]

    Path("in/hole.wav").unlink()
    code, out, errors = cli(*command)  # what is left, without Ray
    assert (code, json.loads(out)["source"]) == (0, "in/always.wav")
    assert errors.endswith("4 files were done before\n")
    names = sorted(path.name for path in Path("undisturbed").iterdir())
    assert sorted(path.name for path in Path("out").iterdir()) == names
    for name in names:
        assert Path("out", name).read_bytes() == Path("undisturbed", name).read_bytes()
    assert cli(*command, *on_ray) == (0, "", "5 files were done before\n")


@pytest.mark.slow
def test_recordings_are_taken_apart(cli, tmp_path: Path, monkeypatch, separator: str, cluster: str):
    """Parts are those of a run without Ray, byte for byte, also of a blend; a bad file fails alone."""
    monkeypatch.chdir(tmp_path)
    Path("in/deep").mkdir(parents=True)
    audio.write("in/deep/a.flac", noise(1, 44100, 2), 44100)
    audio.write("in/b.wav", noise(1, 16000), 16000)
    audio.write("in/hole.wav", noise(1, 16000) * float("nan"), 16000, "FLOAT")
    write_blend(Path("b.toml"), {"one": separator}, {"speech": {"one": 1.0}, "music": {"one": 1.0}})
    options = ("--blend", "b.toml", "--residual", "--json")
    assert cli("separate", "in", "-o", "undisturbed", *options)[0] == 1
    on_ray = ("--engine", "ray", "--address", cluster, "--records", "done.jsonl")

    code, out, errors = cli("separate", "in", "-o", "out", *options, *on_ray)
    assert (code, errors.splitlines()[-1]) == (1, "1 of 3 files failed")
    records = {record["source"]: record for record in map(json.loads, out.splitlines())}
    assert sorted(records) == ["in/b.wav", "in/deep/a.flac", "in/hole.wav"]
    assert records["in/b.wav"]["parts"] == {name: f"out/b/{name}.wav" for name in ("speech", "music", "residual")}
    assert "sample 0 (at 0.000 s) is NaN or infinite" in records["in/hole.wav"]["error"]
    names = sorted(path.relative_to("undisturbed") for path in Path("undisturbed").rglob("*.*"))
    assert len(names) == 6
    assert sorted(path.relative_to("out") for path in Path("out").rglob("*.*")) == names
    for name in names:
        assert Path("out", name).read_bytes() == Path("undisturbed", name).read_bytes()
    Path("in/hole.wav").unlink()
    assert cli("separate", "in", "-o", "out", *options, *on_ray) == (0, "", "2 files were done before\n")


@pytest.mark.slow
def test_interrupted_it_cleans_up(tmp_path: Path, untrained: str, environment: dict[str, str]):
    """On a cluster that the command starts itself, which ends with it."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        audio.write(tmp_path / f"in/{name}.wav", noise(600, 16000), 16000)
    command = [sys.executable, "-m", "enhance.cli", "denoise", "in", "-o", "out", "-m", untrained, "--engine", "ray"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**environment, "RAY_AUTH_MODE": "disabled"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait(lambda: any(path.stat().st_size > 200_000 for path in (tmp_path / "out").glob(".*.part.wav")))
        os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches all of the group
        _, errors = process.communicate(timeout=LONGEST)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert list((tmp_path / "out").iterdir()) == []


def wait(condition: Callable[[], bool]) -> None:
    """Until it holds."""
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
