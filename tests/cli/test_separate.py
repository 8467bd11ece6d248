"""``enhance separate`` as a person types it: names, messages, exit codes, interruption."""

from __future__ import annotations

import json
import signal
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
from enhance.files import MACHINE

Cli = Callable[..., tuple[int, str, str]]
DEADLINE = 60.0  # seconds


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    audio.write("film.wav", noise(1, 44100, 2), 44100)
    return Path("film.wav")


def files(folder: str = "out") -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def test_the_default_model_is_a_preset():
    from enhance.cli.separate import DEFAULT_MODEL
    from enhance.models import presets

    assert len(presets()[DEFAULT_MODEL][1]["sources"]) == 3


def test_one_file_a_source(cli: Cli, mixed: Path, separator: str):
    code, out, err = cli("separate", mixed, "-o", "out", "-m", separator)
    assert (code, out) == (0, "")
    assert err.startswith("film.wav -> out/film: 1.0 s in ")
    assert files() == ["film/music.wav", "film/noise.wav", "film/speech.wav"]
    total = sum(audio.read(f"out/film/{name}.wav")[0] for name in ("music", "noise", "speech"))
    np.testing.assert_allclose(total, audio.read(mixed)[0], atol=3 / 32768)


def test_a_level_far_from_what_models_know_is_said(cli: Cli, mixed: Path, separator: str):
    audio.write("quiet.wav", noise(0.1, 16000) * 1e-3, 16000)
    code, _, err = cli("separate", "quiet.wav", "-o", "out", "-m", separator)
    assert code == 0
    assert "warning: quiet.wav: its peak is -" in err
    assert "where models know little: raise its level" in err
    assert "its peak" not in cli("separate", mixed, "-o", "out", "-m", separator)[2]


def test_one_source_and_the_rest_in_another_format(cli: Cli, mixed: Path, separator: str):
    code, out, _ = cli(
        "separate",
        mixed,
        "-o",
        "out",
        "-m",
        separator,
        "--sources",
        "speech",
        "--residual",
        "--format",
        "flac",
        "--json",
    )
    record = json.loads(out)
    assert code == 0
    assert record["parts"] == {"speech": "out/film/speech.flac", "residual": "out/film/residual.flac"}
    assert (record["target"], record["seconds"], record["channels"], record["error"]) == ("out/film", 1.0, 2, "")
    assert files() == ["film/residual.flac", "film/speech.flac"]
    total = sum(audio.read(f"out/film/{name}.flac")[0] for name in ("residual", "speech"))
    np.testing.assert_allclose(total, audio.read(mixed)[0], atol=3 / 32768)


def test_a_denoiser_gives_its_one_source(cli: Cli, mixed: Path, untrained: str):
    assert cli("separate", mixed, "-o", "out", "-m", untrained)[0] == 0
    assert files() == ["film/speech.wav"]


@pytest.mark.parametrize("option", ["--wiener", "--independent"])
def test_the_sources_are_made_in_another_way(cli: Cli, mixed: Path, separator: str, option: str):
    arguments = ("separate", mixed, "-m", separator, "-o")
    assert cli(*arguments, "plain")[0] == cli(*arguments, "out", option)[0] == 0
    parts = {folder: [audio.read(f"{folder}/film/{name}")[0] for name in files("plain/film")]
             for folder in ("plain", "out")}  # fmt: skip
    np.testing.assert_allclose(sum(parts["out"]), audio.read(mixed)[0], atol=3 / 32768)
    assert min(np.abs(a - b).max() for a, b in zip(*parts.values(), strict=True)) > 1e-3
    assert files() == [f"film/{name}" for name in files("plain/film")]


def test_one_source_cannot_be_filtered(cli: Cli, mixed: Path, untrained: str):
    code, _, err = cli("separate", mixed, "-o", "out", "-m", untrained, "--wiener")
    assert (code, err) == (2, "error: --wiener: the model gives speech alone: take one that gives more sources\n")
    assert not Path("out").exists()


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_folder_where_one_fails(cli: Cli, tmp_path: Path, separator: str, jobs: str):
    (tmp_path / "in/deep").mkdir(parents=True)
    audio.write(tmp_path / "in/deep/good.flac", noise(1, 16000), 16000)
    audio.write(tmp_path / "in/other.wav", noise(0.5, 16000), 16000)
    (tmp_path / "in/text.wav").write_text("no sound")
    code, out, err = cli(
        "separate", tmp_path / "in", "-o", tmp_path / "out", "-m", separator, "--sources", "speech,noise", "--json",
        "-j", jobs,
    )  # fmt: skip
    assert code == 1
    records = {Path(row["source"]).name: row for row in map(json.loads, out.splitlines())}
    assert {name: bool(row["error"]) for name, row in records.items()} == {
        "text.wav": True, "good.flac": False, "other.wav": False,
    }  # fmt: skip
    assert "text.wav: not an audio file" in err
    assert files(str(tmp_path / "out")) == [
        "deep/good/noise.flac", "deep/good/speech.flac", "other/noise.wav", "other/speech.wav",
    ]  # fmt: skip


def test_a_video_gives_sounds(cli: Cli, mixed: Path, separator: str, ffmpeg: str):
    command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-i", str(mixed), "film.mp4"]
    subprocess.run(command, check=True, timeout=DEADLINE)
    assert cli("separate", "film.mp4", "-o", "out", "-m", separator, "--sources", "speech")[0] == 0
    assert files() == ["film/speech.wav"]
    assert soundfile.info("out/film/speech.wav").samplerate == 44100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.wav"], "error: missing.wav: no such file: check the name"),
        (["film.wav", "--sources", "vocals"], "error: --sources vocals: the model has no such source: it gives speech"),
        (["film.wav", "--format", "xyz"], "error: out/film/speech.xyz: .xyz is not a format that can be written"),
        (["film.wav", "-o", "film.wav"], "error: film.wav: is a file: give a folder with -o"),
        (["film.wav", "-m", "dcunet-z"], "error: unknown model 'dcunet-z'"),
        (["film.wav", "-m", "dcunet-20"], "error: model 'dcunet-20' has no shipped weights"),
        (
            ["film.wav", "-m", "a.toml"],
            "error: --model a.toml: is no checkpoint: if it is a blend, give it with --blend",
        ),
        (
            ["film.wav", "-m", "dcunet-z", "--blend", "b.toml"],
            "error: --model dcunet-z and --blend b.toml: give one of",
        ),
        (["film.wav", "--device", "tpu"], "error: --device tpu: unknown"),
        (["text.wav"], "error: text.wav: not an audio file"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(
    cli: Cli, mixed: Path, separator: str, arguments: list[str], message: str
):
    Path("text.wav").write_text("no sound")
    defaults = [] if "-m" in arguments else ["-m", separator]
    output = [] if "-o" in arguments else ["-o", "out"]
    code, out, err = cli("separate", *arguments, *output, *defaults)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path("out").exists()


def test_nothing_is_overwritten_unasked(cli: Cli, mixed: Path, separator: str):
    target = Path("out/film/music.wav")
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    code, _, err = cli("separate", mixed, "-o", "out", "-m", separator)
    assert (code, target.read_text()) == (2, "mine")
    assert "out/film/music.wav: exists: choose another name with -o, or add --force or --skip-existing" in err
    assert cli("separate", mixed, "-o", "out", "-m", separator, "--force")[0] == 0
    assert soundfile.info(target).frames == 44100


def test_what_exists_is_left_out_and_what_is_there_in_part_stays(cli: Cli, mixed: Path, separator: str):
    audio.write("talk.wav", noise(0.5, 16000), 16000)
    arguments = ("separate", "film.wav", "talk.wav", "-o", "out", "-m", separator, "--skip-existing")
    mine = Path("out/film/music.wav")
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    code, _, err = cli(*arguments)
    assert (code, mine.read_text(), files("out/film")) == (1, "mine", ["music.wav"])
    what = "out/film/music.wav: there already, while other outputs of film.wav are to be made"
    assert f"error: {what}: remove it, or take --force in place of --skip-existing\n" in err
    assert files("out/talk") == ["music.wav", "noise.wav", "speech.wav"]
    assert cli(*arguments[:2], *arguments[3:])[0] == 2  # nothing else to do
    mine.unlink()
    code, _, err = cli(*arguments)
    assert (code, err.splitlines()[-1], len(files())) == (0, "1 file exists and is left out", 6)
    assert cli(*arguments) == (0, "", "2 files exist and are left out\n")


def test_a_picture_is_an_output_like_the_others(cli: Cli, mixed: Path, separator: str):
    picture = Path("out/film/spectrograms.png")
    picture.parent.mkdir(parents=True)
    picture.write_text("mine")
    killed = picture.with_name(f".spectrograms.png.{MACHINE}.2000000000.part.png")  # left by a process that is gone
    killed.write_text("half")
    arguments = ("separate", mixed, "-o", "out", "-m", separator, "--sources", "speech", "--plot", "--json")
    code, _, err = cli(*arguments)
    assert (code, picture.read_text(), killed.exists()) == (2, "mine", True)
    hint = "choose another name with -o, or add --force or --skip-existing"
    assert err == f"error: out/film/spectrograms.png: exists: {hint}\n"
    code, out, _ = cli(*arguments, "--force")
    assert (code, json.loads(out)["plot"]) == (0, "out/film/spectrograms.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert files() == ["film/spectrograms.png", "film/speech.wav"]


def test_a_full_disk_leaves_no_folder(cli: Cli, mixed: Path, separator: str, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError("no room")

    before = sorted(Path().iterdir())
    monkeypatch.setattr(audio.SoundFileWriter, "write", full)
    code, _, err = cli("separate", mixed, "-o", "out", "-m", separator)
    assert code == 2
    assert "cannot be written (no room)" in err
    assert sorted(Path().iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_cleans_up(
    environment: dict[str, str], mixed: Path, separator: str, signal_: signal.Signals, code: int
):
    audio.write("long.wav", noise(900, 16000), 16000)
    command = [sys.executable, "-m", "enhance.cli", "separate", "long.wav", "-o", "out", "-m", separator, "--plot"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + DEADLINE
        while not any(path.stat().st_size for path in Path("out/long").glob(".*.part.wav")):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal_)
        _, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert "Traceback" not in err
    assert not Path("out").exists()


def test_what_does_not_go_together_is_refused(cli: Cli, mixed: Path, separator: str):
    for arguments, message in (
        (["-o", "out", "--wiener", "--independent"], "error: --wiener and --independent: choose one"),
        (["-o", "speech.wav"], "error: speech.wav: is the name of a file: give a folder with -o"),
    ):
        code, _, err = cli("separate", mixed, *arguments, "-m", separator)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err
    assert sorted(path.name for path in Path().iterdir()) == ["film.wav"]


def test_talkers_without_names_are_not_mixed_up_between_channels(cli: Cli, mixed: Path):
    from enhance.models import create, presets
    from enhance.models.checkpoint import save

    size = {"widths": [4, 4, 8], "hidden": 8, "blocks": 1, "sources": ["s1", "s2"]}
    save(Path("talkers.safetensors"), create("separator-s", **size), {**presets()["separator-s"][1], **size}, {})
    code, _, err = cli("separate", mixed, "-o", "out", "-m", "talkers.safetensors")
    assert code == 2
    assert "film.wav: has 2 channels, and in each the talkers would have an order of their own" in err
    assert not Path("out").exists()
    assert cli("separate", mixed, "-o", "out", "-m", "talkers.safetensors", "--independent")[0] == 0
    audio.write("mono.wav", noise(0.5, 16000), 16000)
    assert cli("separate", "mono.wav", "-o", "out", "-m", "talkers.safetensors")[0] == 0
    assert files() == ["film/s1.wav", "film/s2.wav", "mono/s1.wav", "mono/s2.wav"]
