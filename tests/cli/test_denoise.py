"""``enhance denoise`` as a person types it: results, messages, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toys import noise

from enhance import audio

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def noisy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    audio.write("noisy.wav", noise(1, 44100, 2), 44100)
    return Path("noisy.wav")


def names() -> list[str]:
    """Of all files here."""
    return sorted(path.name for path in Path().iterdir())


def test_the_default_model_is_the_packages(cli: Cli):
    from enhance.cli.denoise import DEFAULT_MODEL
    from enhance.models.checkpoint import DEFAULT

    assert DEFAULT_MODEL == DEFAULT


def test_one_file(cli: Cli, noisy: Path, untrained: str):
    code, out, err = cli("denoise", noisy, "-o", "clean.wav", "-m", untrained)
    assert (code, out) == (0, "")
    assert err.startswith("noisy.wav -> clean.wav: 1.0 s in ")
    assert err.count("\n") == 1
    assert soundfile.info("clean.wav").frames == 44100
    assert names() == ["clean.wav", "noisy.wav"]


def test_beside_the_input_by_default_with_noise_and_plot(cli: Cli, noisy: Path, untrained: str):
    assert cli("denoise", noisy, "-m", untrained, "--keep-noise", "--plot")[0] == 0
    assert names() == ["noisy.clean.noise.wav", "noisy.clean.png", "noisy.clean.wav", "noisy.wav"]


def test_json(cli: Cli, noisy: Path, untrained: str):
    code, out, _ = cli("denoise", noisy, "-o", "clean.wav", "-m", untrained, "--json")
    record = json.loads(out)
    assert code == 0
    assert (record["source"], record["target"], record["error"]) == ("noisy.wav", "clean.wav", "")
    assert (record["seconds"], record["sample_rate"], record["channels"], record["clipped"]) == (
        1.0,
        44100,
        2,
        0,
    )
    assert record["rtf"] == pytest.approx(record["elapsed"] / 1.0)
    assert "noise" not in record


def test_strength_zero_is_the_input(cli: Cli, noisy: Path, untrained: str):
    assert cli("denoise", noisy, "-o", "same.wav", "-m", untrained, "-s", "0")[0] == 0
    np.testing.assert_array_equal(audio.read("same.wav")[0], audio.read(noisy)[0])


def test_a_folder_where_some_fail(cli: Cli, tmp_path: Path, untrained: str):
    (tmp_path / "in/deep").mkdir(parents=True)
    audio.write(tmp_path / "in/deep/good.flac", noise(1, 16000), 16000)
    audio.write(tmp_path / "in/hole.wav", np.full((1, 9), np.nan, dtype=np.float32), 16000, "FLOAT")
    (tmp_path / "in/text.wav").write_text("no sound")
    code, out, err = cli("denoise", tmp_path / "in", "-o", tmp_path / "out", "-m", untrained, "--json")
    assert code == 1
    records = [json.loads(line) for line in out.splitlines()]
    assert {Path(record["source"]).name: bool(record["error"]) for record in records} == {
        "text.wav": True,
        "good.flac": False,
        "hole.wav": True,
    }
    assert "text.wav: not an audio file" in err
    assert "hole.wav: sample 0 (at 0.000 s) is NaN or infinite" in err
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["good.flac"]


def make_bad_inputs() -> None:
    Path("text.wav").write_text("This is not a sound.")
    soundfile.write("none.wav", np.zeros((0, 1)), 16000)
    audio.write("nan.wav", np.array([[0, 0.5, np.nan, 0]], dtype=np.float32), 16000, "FLOAT")
    audio.write("inf.wav", np.array([[0, np.inf]], dtype=np.float32), 16000, "FLOAT")
    Path("exists.wav").write_text("")
    Path("folder").mkdir()
    Path("other.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    Path("junk.safetensors").write_bytes(b"junk")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.wav"], "error: missing.wav: no such file: check the name"),
        (["folder", "-o", "out"], "error: folder: no audio files in this folder"),
        (["text.wav"], "error: text.wav: not an audio file"),
        (["none.wav"], "error: none.wav: holds no samples"),
        (["nan.wav"], "error: nan.wav: sample 2 (at 0.000 s) is NaN or infinite"),
        (["inf.wav"], "error: inf.wav: sample 1 (at 0.000 s) is NaN or infinite"),
        (["noisy.wav", "-o", "exists.wav/out.wav"], "exists.wav: cannot write there (Not a directory)"),
        (["noisy.wav", "-o", "noisy.wav"], "error: noisy.wav: is an input as well as an output"),
        (["noisy.wav", "-o", "exists.wav"], "error: exists.wav: exists: "),
        (["noisy.wav", "-o", "A/../noisy.wav"], "error: A/../noisy.wav: is an input as well as an output"),
        (["noisy.wav", "-o", "nope/../exists.wav"], "error: nope/../exists.wav: exists: "),
        (["noisy.wav", "-f", "--skip-existing"], "error: --force and --skip-existing: give one of them"),
        (["noisy.wav", "-o", "x.wav", "--format", "flac"], "error: x.wav: does not end in .flac, as --format says: "),
        (["noisy.wav", "--format", "a/b"], "error: --format a/b: is no ending: give wav, flac, mp3"),
        (["noisy.wav", "--format", "xyz"], "error: noisy.clean.xyz: .xyz is not a format that can be written"),
        (["noisy.wav", "-o", "out.xyz"], "error: out.xyz: .xyz is not a format that can be written"),
        (["noisy.wav", "-m", "dcunet-z"], "error: unknown model 'dcunet-z'"),
        (["noisy.wav", "-m", "junk.safetensors"], "error: junk.safetensors: not a checkpoint"),
        (
            ["noisy.wav", "-m", "other.safetensors"],
            "error: other.safetensors: safetensors, but not a checkpoint",
        ),
        (["noisy.wav", "-s", "1.5"], "error: strength 1.5: give a number from 0"),
        (["noisy.wav", "--device", "abacus"], "error: --device abacus: unknown"),
    ],
)
def test_each_bad_input_is_one_line_and_nothing_is_done(
    cli: Cli, noisy: Path, untrained: str, arguments: list[str], message: str
):
    make_bad_inputs()
    before = names()
    code, out, err = cli("denoise", *arguments, *([] if "-m" in arguments else ["-m", untrained]))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert names() == before


def test_a_folder_in_another_format(cli: Cli, tmp_path: Path, untrained: str):
    audio.write(tmp_path / "in/deep/a.wav", noise(0.5, 16000), 16000)
    arguments = ("denoise", tmp_path / "in", "-o", tmp_path / "out", "-m", untrained, "--format", ".FLAC")
    assert cli(*arguments, "--keep-noise")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out/deep").iterdir()) == ["a.flac", "a.noise.flac"]
    assert soundfile.info(tmp_path / "out/deep/a.flac").format == "FLAC"


def test_force_overwrites(cli: Cli, noisy: Path, untrained: str):
    Path("exists.wav").write_text("")
    assert cli("denoise", noisy, "-o", "exists.wav", "--force", "-m", untrained)[0] == 0
    assert soundfile.info("exists.wav").frames == 44100


def test_cuda_where_there_is_none(cli: Cli, noisy: Path, untrained: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, err = cli("denoise", noisy, "--device", "cuda", "-m", untrained)
    assert (code, err) == (2, "error: --device cuda: there is none on this machine: take cpu or auto\n")


def test_without_ffmpeg(cli: Cli, noisy: Path, untrained: str, no_ffmpeg: None):
    Path("talk.mp4").write_bytes(bytes(100))
    for arguments, message in (
        (["talk.mp4"], "error: talk.mp4: reading it needs ffmpeg: install"),
        (["noisy.wav", "-o", "x.m4a"], "error: x.m4a: writing 2 channels at 44100 Hz as m4a"),
    ):
        code, _, err = cli("denoise", *arguments, "-m", untrained)
        assert code == 2
        assert err.startswith(message)


def test_a_file_that_is_cut_off_is_done_with_a_warning(cli: Cli, noisy: Path, untrained: str):
    data = noisy.read_bytes()
    Path("cut.wav").write_bytes(data[: len(data) // 2])
    code, _, err = cli("denoise", "cut.wav", "-m", untrained)
    assert code == 0
    assert err.startswith("warning: cut.wav: cut off, the header promises 1.00 s; used the 0.50 s that are there\n")
    assert soundfile.info("cut.clean.wav").frames == soundfile.info("cut.wav").frames


def test_a_video(cli: Cli, tmp_path: Path, untrained: str, ffmpeg: str):
    subprocess.run(
        [
            ffmpeg,
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=duration=1:size=64x48:rate=5",
            "-f",
            "lavfi",
            "-i",
            "sine=duration=1",
            "-c:v",
            "mpeg4",
            str(tmp_path / "talk.mp4"),
        ],
        check=True,
    )
    assert cli("denoise", tmp_path / "talk.mp4", "-o", tmp_path / "talk-clean.mp4", "-m", untrained)[0] == 0
    info = audio.info(tmp_path / "talk-clean.mp4")
    assert info.video
    assert info.seconds == pytest.approx(1, abs=0.05)


def test_help_is_quick(environment: dict[str, str]):
    """Nothing heavy is imported, hence 0.3 s; the clock of a busy machine is asserted more loosely."""
    code = (
        "import sys; sys.argv = ['enhance', 'denoise', '--help']; from enhance.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'soundfile', 'matplotlib', 'soxr'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert time.perf_counter() - began < 5


@pytest.mark.slow
def test_a_name_that_is_not_utf_8(tmp_path: Path, untrained: str, environment: dict[str, str]):
    name = os.fsdecode(b"\xff.wav")
    audio.write(tmp_path / "in" / "a.wav", noise(0.1, 16000), 16000)
    (tmp_path / "in" / "a.wav").rename(tmp_path / "in" / name)
    command = [sys.executable, "-m", "enhance.cli", "denoise", "in", "-o", "out", "-m", untrained, "--json"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert [os.fsencode(path.name) for path in (tmp_path / "out").iterdir()] == [b"\xff.wav"]
