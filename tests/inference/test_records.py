"""A line of JSON a file, and reruns that do what is missing or changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import noise

from enhance import audio
from enhance.inference.records import Records
from enhance.inference.tasks import Result, Settings


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        (tmp_path / "in").mkdir(exist_ok=True)
        audio.write(tmp_path / f"in/{number}.wav", noise(0.5, 16000, seed=number), 16000)
    return tmp_path


def done(records: Path) -> list[str]:
    """Names of the inputs, a line each."""
    return [Path(json.loads(line)["source"]).name for line in records.read_text().splitlines()]


def test_a_rerun_does_what_is_missing_or_changed(cli, corpus: Path, untrained: str):
    records = corpus / "done.jsonl"
    command = ("denoise", "in", "-o", "out", "-m", untrained, "--records", records)
    assert cli(*command).code == 0
    first = json.loads(records.read_text().splitlines()[0])
    assert (first["source"], first["target"], first["seconds"], first["error"]) == ("in/0.wav", "out/0.wav", 0.5, "")
    assert first["size"] == Path("in/0.wav").stat().st_size
    assert cli(*command) == (0, "", "3 files were done before\n")
    Path("out/0.wav").unlink()
    audio.write("in/1.wav", noise(0.7, 16000), 16000)
    audio.write("in/3.wav", noise(0.5, 16000), 16000)
    assert cli(*command).code == 0
    assert done(records)[3:] == ["0.wav", "1.wav", "3.wav"]
    assert audio.info("out/1.wav").frames == 11200
    assert cli(*command, "--strength", "0.5").code == 0
    assert done(records)[6:] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert cli(*command, "--strength", "0.5", "--linked").code == 0
    assert done(records)[10:] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert cli(*command, "--strength", "0.5", "--linked") == (0, "", "4 files were done before\n")
    for others in (("--listen", "1"), ("--track", "1")):
        assert cli(*command, *others).code == 0
        assert cli(*command, *others) == (0, "", "4 files were done before\n")
    assert len(done(records)) == 14 + 8


def test_what_failed_is_recorded_and_tried_again(cli, corpus: Path, untrained: str):
    records = corpus / "done.jsonl"
    Path("in/1.wav").write_text("no sound")
    command = ("denoise", "in", "-o", "out", "-m", untrained, "--records", records)
    code, _, errors = cli(*command)
    assert code == 1
    assert errors.endswith("1 of 3 files failed\n")
    assert sorted(done(records)) == ["0.wav", "1.wav", "2.wav"]
    records.write_bytes(records.read_bytes() + b'{"source": "in/2.w')  # a kill in the middle of a line
    assert cli(*command).code == 1
    assert done(records)[3:] == ["1.wav"]


def test_a_rerun_replaces_only_what_an_earlier_one_wrote(cli, corpus: Path, untrained: str):
    records = corpus / "done.jsonl"
    command = ("denoise", "in", "-o", "out", "-m", untrained, "--records", records)
    assert cli(*command, "--keep-noise").code == 0
    audio.write("in/3.wav", noise(0.5, 16000), 16000)
    Path("out/3.wav").write_text("somebody's")
    code, _, errors = cli(*command, "--keep-noise")
    assert (code, Path("out/3.wav").read_text()) == (2, "somebody's")
    assert errors == "error: out/3.wav: exists: choose another name with -o, or add --force or --skip-existing\n"
    assert cli(*command, "--keep-noise", "--force").code == 0
    assert done(records)[3:] == ["3.wav"]
    assert cli(*command, "--keep-noise", "--strength", "0.5").code == 0  # which replaces both of each
    assert done(records)[4:] == ["0.wav", "1.wav", "2.wav", "3.wav"]


def test_a_run_without_records_is_gone_on_with(cli, corpus: Path, untrained: str):
    assert cli("denoise", "in/1.wav", "-o", "out/", "-m", untrained, "-s", "0").code == 0
    first = Path("out/1.wav").read_bytes()
    command = ("denoise", "in", "-o", "out", "-m", untrained)
    code, _, errors = cli(*command)
    assert (code, errors.endswith("or add --force or --skip-existing\n")) == (2, True)
    assert len(list(Path("out").iterdir())) == 1
    code, _, errors = cli(*command, "--skip-existing")
    assert (code, errors.splitlines()[-1]) == (0, "1 file exists and is left out")
    assert Path("out/1.wav").read_bytes() == first
    assert cli(*command[:3], "nope/../out", *command[4:], "--skip-existing", "--json") == (
        0, "", "3 files exist and are left out\n"
    )  # fmt: skip


def test_what_was_finished_but_not_recorded_is_left_out(cli, corpus: Path, untrained: str):
    records = corpus / "done.jsonl"
    command = ("denoise", "in", "-o", "out", "-m", untrained, "--records", records)
    assert cli(*command).code == 0
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(b"".join(lines[:2]))
    assert cli(*command).code == 2
    assert cli(*command, "--skip-existing") == (
        0, "", "2 files were done before\n1 file exists and is left out\n"
    )  # fmt: skip
    for number in (1, 2):  # the one that there is a record of is done again
        audio.write(f"in/{number}.wav", noise(0.7, 16000), 16000)
    Path("in/text.wav").write_text("no sound")
    assert cli(*command, "--skip-existing").code == 1
    assert sorted(done(records)[2:]) == ["1.wav", "text.wav"]
    assert audio.info("out/1.wav").frames == 11200
    assert audio.info("out/2.wav").frames == 8000


def test_where_only_some_outputs_exist_nothing_is_overwritten(cli, corpus: Path, untrained: str):
    records, mine = corpus / "done.jsonl", Path("out/1.noise.wav")
    mine.parent.mkdir()
    mine.write_text("mine")
    command = ("denoise", "in", "-o", "out", "-m", untrained, "--keep-noise", "--skip-existing", "--records", records)
    code, _, errors = cli(*command)
    assert (code, mine.read_text(), Path("out/1.wav").exists()) == (1, "mine", False)
    what = "out/1.noise.wav: there already, while other outputs of in/1.wav are to be made"
    assert f"error: {what}: remove it, or take --force in place of --skip-existing\n1 of 3 files failed" in errors
    mine.unlink()
    assert cli(*command).code == 0
    assert done(records) == ["0.wav", "2.wav", "1.wav", "1.wav"]
    assert cli(*command) == (0, "", "3 files were done before\n")


def test_refused_before_the_work(cli, corpus: Path, untrained: str):
    records = corpus / "done.jsonl"
    Path("out").mkdir()
    Path("out/1.wav").write_text("somebody's")
    command = ("denoise", "in", "-o", "out", "-m", untrained, "--records", records)
    for _ in range(2):  # a run that did nothing leaves no records that would allow the next to overwrite
        assert "out/1.wav: exists" in cli(*command).err
        assert not records.exists()
    for wrong in ("{}\n", "0" * (1 << 21)):
        records.write_text(wrong)
        assert cli(*command) == (
            2, "", f"error: {records}: line 1 is none that --records wrote: give another --records\n"
        )  # fmt: skip
    for wrong in ("in", "/dev/full"):
        code, _, errors = cli(*command[:-1], wrong)
        assert (code, errors) == (2, f"error: {wrong}: is a folder or a device: give another --records\n")


def test_other_files_are_not_taken_for_records(cli, corpus: Path, untrained: str):
    """Without a newline at its end a line looks cut off, but a record begins otherwise."""
    precious = corpus / "precious.json"
    precious.write_text('{"my": "settings"}')
    command = ("denoise", "in/0.wav", "-o", "x.wav", "-m", untrained, "--records")
    assert "line 1 is none that --records wrote" in cli(*command, precious).err
    assert precious.read_text() == '{"my": "settings"}'
    assert "--records x.wav: is an input or an output as well" in cli(*command, "x.wav").err
    assert not Path("x.wav").exists()


def test_names_are_those_of_the_folder_they_were_given_in(cli, corpus: Path, untrained: str, monkeypatch):
    command = ("denoise", "in", "-o", "out", "-m", untrained, "--records", corpus / "done.jsonl")
    assert cli(*command).code == 0
    shutil.copytree("in", "elsewhere/in")
    Path("elsewhere/out").mkdir()
    Path("elsewhere/out/1.wav").write_text("somebody's")
    monkeypatch.chdir("elsewhere")
    code, _, errors = cli(*command)
    assert (code, "out/1.wav: exists" in errors, Path("out/1.wav").read_text()) == (2, True, "somebody's")
    monkeypatch.chdir("..")
    assert cli(*command, "--json") == (0, "", "3 files were done before\n")


def test_two_runs_may_go_on_with_the_same_records(corpus: Path, untrained: str):
    path = corpus / "done.jsonl"
    path.write_bytes(b'{"source": "cut o')
    one, other = Records(path, Settings(untrained)), Records(path, Settings(untrained))
    one.begin()
    one.write(Result(Path("a.wav"), Path("b.wav")), {"source": "a.wav", "target": "b.wav", "error": ""})
    other.begin()
    assert done(path) == ["a.wav"]


@pytest.mark.slow
def test_what_is_done_is_recorded_where_nobody_reads_stdout(corpus: Path, untrained: str, environment: dict[str, str]):
    line = f"{sys.executable} -m enhance.cli denoise in/0.wav -o x.wav -m {untrained} --records r --json | head -c 0"
    subprocess.run(["bash", "-c", line], env=environment, stderr=subprocess.DEVNULL, check=False, timeout=120)
    assert Path("x.wav").exists()
    assert done(Path("r")) == ["0.wav"]


LISTING = """
import os, sys, tracemalloc
from pathlib import Path
from enhance.inference import tasks
from enhance.inference.records import Records

def walk(folder, **_):
    for number in range(20):
        yield f"{folder}/speaker-{number:06}", [], [f"recording-{take:06}.flac" for take in range(1000)]

records = Records(Path("none"), tasks.Settings(sys.argv[1]))
real = Path.stat

def stat(path, **options):
    return os.stat_result([0o100644, 0, 0, 1, 0, 0, 9, 0, 0, 0]) if path.suffix == ".flac" else real(path, **options)

tasks.os.walk, Path.stat, Path.exists = walk, stat, lambda path: "out" not in path.parts
tracemalloc.start()
listed = 0
for task in records.missing(tasks.plan([sys.argv[2]], "out")):
    records.written[listed << 40] = listed << 41 | 1  # as the records of an earlier run
    records.stamps.pop(task.source)
    listed += 1
print(listed, tracemalloc.get_traced_memory()[1] / 1e6)
"""


@pytest.mark.slow
def test_a_million_files_need_little_memory(corpus: Path, untrained: str, environment: dict[str, str]):
    """A fiftieth of them, listed and compared with as many records; beside Python and PyTorch."""
    command = [sys.executable, "-c", LISTING, untrained, str(corpus / "in")]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
    listed, megabytes = found.stdout.split()
    assert int(listed) == 20_000
    assert float(megabytes) < 5  # 250 MB for a million


def test_a_rerun_of_a_separation(cli, corpus: Path, separator: str):
    records = corpus / "done.jsonl"
    command = ("separate", "in", "-o", "out", "-m", separator, "--sources", "speech", "--records", records)
    assert cli(*command).code == 0
    first = json.loads(records.read_text().splitlines()[0])
    assert (first["target"], first["parts"]) == ("out/0", {"speech": "out/0/speech.wav"})
    assert cli(*command) == (0, "", "3 files were done before\n")
    Path("out/0/speech.wav").unlink()
    audio.write("in/1.wav", noise(0.7, 16000), 16000)
    assert cli(*command).code == 0
    assert done(records)[3:] == ["0.wav", "1.wav"]
    assert audio.info("out/1/speech.wav").frames == 11200
    assert cli(*command, "--residual").code == 0  # other parts
    assert done(records)[5:] == ["0.wav", "1.wav", "2.wav"]
    assert cli(*command, "--residual", "--wiener").code == 0  # made in another way
    assert cli(*command, "--residual", "--independent").code == 0
    assert len(done(records)) == 14
    Path("out/2/music.wav").write_bytes(b"mine")
    code, _, errors = cli(*command, "--sources", "music")
    assert (code, errors.splitlines()[-1].split(": exists")[0]) == (2, "error: out/2/music.wav")
    assert Path("out/2/music.wav").read_bytes() == b"mine"


def test_other_weights_of_a_blend_are_noticed(cli, corpus: Path, separator: str):
    records, own = corpus / "done.jsonl", corpus / "own.safetensors"
    shutil.copy(separator, own)
    Path("blend.toml").write_text(
        '[models]\na = "own.safetensors"\n' + "".join(f"[weights.{name}]\na = 1.0\n" for name in ("speech", "music"))
    )
    command = ("separate", "in", "-o", "out", "--blend", "blend.toml", "--records", records)
    assert cli(*command).code == 0
    assert cli(*command) == (0, "", "3 files were done before\n")
    weights = load_file(own)
    with safe_open(own, framework="pt") as file:
        metadata = file.metadata()
    save_file({name: 0.9 * weight for name, weight in weights.items()}, own, metadata)
    assert cli(*command).code == 0
    assert len(done(records)) == 6
