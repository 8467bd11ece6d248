"""Inputs and outputs that have a URL: in memory, and in an object store that speaks S3."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import objects
import pytest
from toys import noise

from enhance import audio
from enhance.errors import EnhanceError
from enhance.inference.remote import place
from enhance.inference.tasks import Task, plan

Content = dict[str, bytes]  # by the name of the file


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli, untrained: str) -> Content:
    """Three recordings ``noisy/*``, and what becomes of them on this machine: ``clean/*``."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a.wav", "b.flac", "deep/c.wav")):
        Path("noisy", name).parent.mkdir(parents=True, exist_ok=True)
        audio.write(Path("noisy", name), noise(0.5, 16000, seed=number), 16000)
    assert cli("denoise", "noisy", "-o", "clean", "-m", untrained)[0] == 0
    return {path.as_posix(): path.read_bytes() for path in sorted(Path().rglob("*.*")) if path.is_file()}


@pytest.fixture
def memory(corpus: Content) -> Iterator[fsspec.AbstractFileSystem]:
    """A file system in memory with the recordings at ``memory://here/noisy``."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    for name, content in corpus.items():
        if name.startswith("noisy/"):
            system.pipe_file(f"/here/{name}", content)
    yield system
    system.store.clear()


def stored(system: fsspec.AbstractFileSystem) -> Content:
    return {path.removeprefix("/here/"): system.cat_file(path) for path in system.find("/")}


def test_a_folder(cli, corpus: Content, memory, untrained: str):
    code, out, _ = cli("denoise", "memory://here/noisy/", "-o", "memory://here/clean/", "-m", untrained, "--json")
    assert code == 0
    assert stored(memory) == corpus
    record = json.loads(out.splitlines()[0])
    assert (record["source"], record["target"]) == ("memory://here/noisy/a.wav", "memory://here/clean/a.wav")
    assert (record["seconds"], record["error"]) == (0.5, "")
    code, _, errors = cli("denoise", "memory://here/noisy", "-o", "memory://here/clean", "-m", untrained)
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith("error: memory://here/clean/a.wav: exists: ")
    assert cli("denoise", "memory://here/noisy", "-o", "memory://here/clean", "-m", untrained, "-f")[0] == 0


def test_from_there_to_here_and_back(cli, corpus: Content, memory, untrained: str):
    assert cli("denoise", "memory://here/noisy", "-o", "fetched", "-m", untrained)[0] == 0
    fetched = {path.as_posix(): path.read_bytes() for path in Path("fetched").rglob("*.*")}
    clean = {name: content for name, content in corpus.items() if name.startswith("clean/")}
    assert fetched == {name.replace("clean", "fetched"): content for name, content in clean.items()}
    assert cli("denoise", "noisy/a.wav", "-o", "memory://here/x.wav", "-m", untrained, "--keep-noise", "--plot")[0] == 0
    found = stored(memory)
    assert {"x.noise.wav", "x.png", "x.wav"} <= found.keys()
    assert found["x.wav"] == corpus["clean/a.wav"]
    assert cli("denoise", "memory://here/noisy/a.wav", "noisy/b.flac", "-o", "both", "-m", untrained)[0] == 0
    assert sorted(path.name for path in Path("both").iterdir()) == ["a.wav", "b.flac"]


def test_a_folder_taken_apart(cli, corpus: Content, memory, separator: str):
    command = ("-m", separator, "--sources", "speech", "--residual", "--plot", "--prevent-clipping")
    assert cli("separate", "noisy", "-o", "parts", *command)[0] == 0
    code, out, _ = cli("separate", "memory://here/noisy/", "-o", "memory://here/parts/", *command, "--json")
    assert code == 0
    record = json.loads(out.splitlines()[0])
    assert (record["source"], record["target"]) == ("memory://here/noisy/a.wav", "memory://here/parts/a")
    assert record["parts"]["residual"] == "memory://here/parts/a/residual.wav"
    here = {path.as_posix(): path.read_bytes() for path in Path("parts").rglob("*.*")}
    there = {name: content for name, content in stored(memory).items() if name.startswith("parts/")}
    assert there.keys() == here.keys()
    assert len(there) == 9
    assert all(there[name] == content for name, content in here.items() if not name.endswith(".png"))
    code, _, errors = cli("separate", "memory://here/noisy", "-o", "memory://here/parts", *command)
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith("error: memory://here/parts/a/speech.wav: exists: ")


def test_a_refused_output_takes_back_only_what_is_new(cli, memory, untrained: str, monkeypatch):
    command = ("denoise", "noisy/a.wav", "-o", "memory://here/x.wav", "-m", untrained, "--keep-noise")
    put = type(memory).put_file

    def refuse(self, near: str, far: str, **options):
        if far.endswith("x.wav"):
            raise PermissionError("no more room")
        return put(self, near, far, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(memory), "put_file", refuse)
        assert cli(*command)[0] == 2
    assert not [name for name in stored(memory) if name.startswith("x.")]
    assert cli(*command)[0] == 0
    monkeypatch.setattr(type(memory), "put_file", refuse)
    assert cli(*command, "--force")[0] == 2
    assert {"x.wav", "x.noise.wav"} <= stored(memory).keys()


def test_what_is_to_be_done(memory):
    def names(*inputs: str, output: str | None = None) -> list[tuple[str, str]]:
        return [(str(task.source), str(task.target)) for task in plan(inputs, output)]

    here = "memory://here/noisy"
    assert names(f"{here}/a.wav") == [(f"{here}/a.wav", f"{here}/a.clean.wav")]
    assert names(f"{here}/*.wav", output="out/") == [(f"{here}/a.wav", "out/a.wav")]
    assert names(f"{here}/**/*.wav", output="out/")[1] == (f"{here}/deep/c.wav", "out/c.wav")
    memory.pipe_file("/here/noisy/clean/a.wav", b"")
    memory.pipe_file("/here/noisy/.hidden/a.wav", b"")
    assert len(names(here, output=f"{here}/new")) == 4
    assert names(here, output=f"{here}/clean")[1:] == [
        (f"{here}/b.flac", f"{here}/clean/b.flac"),
        (f"{here}/deep/c.wav", f"{here}/clean/deep/c.wav"),
    ]
    task = pickle.loads(pickle.dumps(Task(place(f"{here}/a.wav"), place(f"{here}/b.wav"))))  # to another process
    assert task.source.exists()
    assert not task.target.exists()


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_folder_of_a_web_server(cli, corpus: Content, untrained: str, monkeypatch, ending: str):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:  # of the folder that we are in
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/noisy{ending}"
        code, _, errors = cli("denoise", address, "-o", "from-the-web", "-m", untrained)
        server.shutdown()
    assert code == 0, errors
    assert sorted(path.name for path in Path("from-the-web").rglob("*.*")) == ["a.wav", "b.flac", "c.wav"]


def test_a_file_of_a_web_server_has_its_own_name_here_and_stays_there(
    cli, corpus: Content, untrained: str, monkeypatch
):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    Path("my talk.wav").write_bytes(corpus["noisy/a.wav"])
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/my%20talk.wav?signature=1&part=2"
        code, _, errors = cli("denoise", address, "-o", "web/", "-m", untrained)
        alone, _, refusal = cli("denoise", address, "-m", untrained)
        server.shutdown()
    assert code == 0, errors
    assert [path.name for path in Path("web").iterdir()] == ["my talk.wav"]
    assert Path("web/my talk.wav").read_bytes() == corpus["clean/a.wav"]
    assert alone == 2
    assert "nothing can be written there: say with -o where the result is to go" in refusal


def test_a_bad_one_is_recorded_under_its_url(cli, corpus: Content, memory, untrained: str):
    memory.pipe_file("/here/noisy/bad.wav", b"no sound")
    code, out, errors = cli("denoise", "memory://here/noisy", "-o", "memory://here/clean", "-m", untrained, "--json")
    assert code == 1
    record = next(record for record in map(json.loads, out.splitlines()) if record["error"])
    assert record["error"].startswith("memory://here/noisy/bad.wav: not an audio file")
    assert errors.endswith("1 of 4 files failed\n")
    memory.rm_file("/here/noisy/bad.wav")
    assert stored(memory) == corpus


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["memory://here/nope.wav"], "memory://here/nope.wav: no such file"),
        (["memory://here/*.ogg", "-o", "out"], "memory://here/*.ogg: no file matches"),
        (["memory://here/noisy/a.wav", "-o", "memory://here/noisy/a.wav"], "is an input as well as an output"),
        (["noisy/a.wav", "-o", "what://here/a.wav"], "what://here/a.wav: Unsupported filesystem: 'what': take s3://"),
        (["gs://bucket/noisy", "-o", "out"], "gs://bucket/noisy: Please install gcsfs"),
    ],
)
def test_refused_before_the_work(cli, memory, untrained: str, arguments: list[str], message: str):
    before = stored(memory)
    code, _, errors = cli("denoise", *arguments, "-m", untrained)
    assert (code, errors.count("\n")) == (2, 1)
    assert message in errors
    assert stored(memory) == before


# An object store


@pytest.fixture
def store(corpus: Content, monkeypatch: pytest.MonkeyPatch) -> Iterator[objects.Store]:
    """One with the recordings at ``s3://speech/noisy``."""
    variables = {
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    }
    with objects.serving() as store:
        for name, value in {**variables, "AWS_ENDPOINT_URL": store.address}.items():
            monkeypatch.setenv(name, value)
        store.objects.update({f"speech/{name}": corpus[name] for name in corpus if name.startswith("noisy/")})
        forget()
        yield store
        forget()


def forget() -> None:
    """What a new process does not know: connections and listings."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_bucket(cli, corpus: Content, store: objects.Store, untrained: str):
    """Every object is written once, under its own name; a rerun does what is missing or changed."""
    command = ("denoise", "s3://speech/noisy/", "-o", "s3://speech/clean/", "-m", untrained, "--records", "done.jsonl")
    assert cli(*command).code == 0
    assert store.objects == {f"speech/{name}": content for name, content in corpus.items()}
    assert store.written == ["speech/clean/a.wav", "speech/clean/b.flac", "speech/clean/deep/c.wav"]
    forget()
    assert cli(*command) == (0, "", "3 files were done before\n")
    del store.objects["speech/clean/a.wav"]
    store.objects["speech/noisy/b.flac"] += bytes(100)
    forget()
    assert cli(*command).code == 0
    assert store.written[3:] == ["speech/clean/a.wav", "speech/clean/b.flac"]


def test_a_bucket_that_refuses(cli, store: objects.Store, untrained: str):
    code, _, errors = cli("denoise", "s3://secret/noisy/", "-o", "out", "-m", untrained)
    hint = "access is refused (AccessDenied): check the credentials and what they allow\n"
    assert (code, errors) == (2, f"error: s3://secret/noisy: {hint}")
    code, _, errors = cli("denoise", "s3://nowhere/noisy/", "-o", "out", "-m", untrained)
    assert (code, errors) == (2, "error: s3://nowhere/noisy: no such file: check the name\n")
    store.room = 3
    code, _, errors = cli("denoise", "noisy", "-o", "s3://speech/clean", "-m", untrained, "--keep-noise")
    assert code == 1
    assert f"error: s3://speech/clean/b.flac: {hint}" in errors
    assert errors.endswith("2 of 3 files failed\n")
    clean = sorted(name for name in store.objects if "clean" in name)
    assert clean == ["speech/clean/a.noise.wav", "speech/clean/a.wav"]  # of the others nothing, noise neither


def test_nobody_serves(store: objects.Store):
    store.server_close()
    with pytest.raises(EnhanceError, match=r"s3://speech/noisy: Could not connect to the endpoint URL.*connection"):
        next(plan(["s3://speech/noisy"], "out"))
