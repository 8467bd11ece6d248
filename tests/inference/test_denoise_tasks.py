"""From names on the command line to tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from enhance.errors import EnhanceError
from enhance.inference.tasks import Task, check_folders, plan


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "in/b.wav",
        "in/a.flac",
        "in/deep/er/c.MP3",
        "in/notes.txt",
        "in/.hidden.wav",
        "in/.git/x.wav",
        "other/b.wav",
        "film.mp4",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(*inputs: str, output: str | None = None, **options: bool | str) -> list[tuple[str, str]]:
    tasks = plan(inputs, output, **options)  # pyright: ignore[reportArgumentType]
    return [(str(task.source), str(task.target)) for task in tasks]


def refuse(tasks: Iterator[Task]) -> None:
    """Raise the first problem, as is done before the work."""
    listed = list(tasks)
    for task in listed:
        if task.problem:
            raise EnhanceError(task.problem)
    check_folders(listed)


def test_one_file(corpus: Path):
    assert names("in/b.wav") == [("in/b.wav", "in/b.clean.wav")]
    assert names("in/b.wav", output="x.flac") == [("in/b.wav", "x.flac")]
    assert names("in/b.wav", output="other", force=True) == [("in/b.wav", "other/b.wav")]
    assert names("in/b.wav", output="new/") == [("in/b.wav", "new/b.wav")]
    assert names("film.mp4") == [("film.mp4", "film.clean.mp4")]


def test_a_folder_keeps_its_structure_and_order(corpus: Path):
    expected = [
        ("in/a.flac", "out/a.flac"),
        ("in/b.wav", "out/b.wav"),
        ("in/deep/er/c.MP3", "out/deep/er/c.MP3"),
    ]
    assert names("in", output="out") == expected
    assert names("in", "in/b.wav", output="out") == expected  # each once


def test_outputs_below_the_input_are_no_inputs(corpus: Path):
    (corpus / "in/clean").mkdir()
    (corpus / "in/clean/b.wav").touch()
    assert len(names("in", output="in/clean", force=True)) == 3


def test_patterns(corpus: Path):
    assert names("in/*.wav", output="out/") == [("in/b.wav", "out/b.wav")]
    assert names("**/*.flac", "film.mp4", output="out") == [
        ("in/a.flac", "out/a.flac"),
        ("film.mp4", "out/film.mp4"),
    ]
    (corpus / "take [1].wav").touch()
    assert names("take [1].wav") == [("take [1].wav", "take [1].clean.wav")]  # a file rather than a pattern


def test_noise_and_plot_lie_beside_the_output(corpus: Path):
    task = next(plan(["in/b.wav"], "x.flac", keep_noise=True, plot=True))
    assert (task.noise, task.plot) == (Path("x.noise.flac"), Path("x.png"))


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["nope.wav"], None, r"nope\.wav: no such file"),
        (["*.ogg"], "out", r"\*\.ogg: no file matches"),
        (["in", "nope.wav"], "out", r"nope\.wav: no such file"),
        (["empty"], "out", "empty: no audio files in this folder"),
        (["in"], None, "several inputs: give a folder"),
        (["in/a.flac", "in/b.wav"], None, "several inputs: give a folder"),
        (["in/a.flac", "in/b.wav"], "x.wav", r"x\.wav: is one file, but there are several inputs"),
        (["in", "other"], "out", r"out/b\.wav: would be written from both in/b\.wav and other/b\.wav"),
        (["in/b.wav"], "in/b.wav", r"in/b\.wav: is an input as well as an output"),
        (["in"], "in", r"in/a\.flac: is an input as well as an output"),
        (["in/b.wav"], "link.wav", r"link\.wav: is an input as well as an output"),
        (["in/b.wav"], "film.mp4", r"film\.mp4: exists: .*--force"),
        (["in/b.wav"], "./A/../in/b.wav", r"A/\.\./in/b\.wav: is an input as well as an output"),
        (["in/b.wav"], "nope/../film.mp4", r"nope/\.\./film\.mp4: exists: .*--force or --skip-existing"),
        (["in/b.wav"], "nope/../other", r"nope/\.\./other/b\.wav: exists: "),
        (["in/b.wav"], "film.mp4/A/../../film.mp4", r"film\.mp4: exists: "),
        (["in/b.wav"], "nope/../film.mp4/x.wav", r"film\.mp4: cannot write there \(Not a directory\)"),
        (["in"], "nope/../film.mp4", r"film\.mp4: is one file, but there are several inputs"),
        (["in/b.wav"], "/dev/null", "/dev/null: exists and is not a file"),
        (["in/b.wav"], "film.mp4/x.wav", r"film\.mp4: cannot write there \(Not a directory\)"),
    ],
)
def test_refused_before_the_work(corpus: Path, inputs: list[str], output: str | None, message: str):
    (corpus / "empty").mkdir()
    (corpus / "link.wav").symlink_to(corpus / "in/b.wav")
    with pytest.raises(EnhanceError, match=message):
        refuse(plan(inputs, output))
    assert not (corpus / "out").exists()


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_an_original_behind_a_link_is_not_overwritten(corpus: Path, link: str):
    (corpus / "picked").mkdir()
    getattr(corpus / "picked/b.wav", link)((corpus / "in/b.wav").resolve())
    [task] = plan(["picked"], "in", force=True)
    assert "in/b.wav: is an input as well as an output" in task.problem


def test_all_in_another_format(corpus: Path):
    expected = [
        ("in/a.flac", "out/a.flac"),
        ("in/b.wav", "out/b.flac"),
        ("in/deep/er/c.MP3", "out/deep/er/c.flac"),
    ]
    assert names("in", output="out", ending=".flac") == expected
    assert names("in/*.wav", output="out/", ending=".ogg") == [("in/b.wav", "out/b.ogg")]
    assert names("film.mp4", ending=".flac") == [("film.mp4", "film.clean.flac")]
    assert names("in/b.wav", output="x.FLAC", ending=".flac") == [("in/b.wav", "x.FLAC")]
    task = next(plan(["in/b.wav"], None, ".flac", keep_noise=True))
    assert task.noise == Path("in/b.clean.noise.flac")
    with pytest.raises(EnhanceError, match=r"x\.wav: does not end in \.flac, as --format says: leave --format out"):
        names("in/b.wav", output="x.wav", ending=".flac")
    (corpus / "in/b.flac").touch()
    with pytest.raises(EnhanceError, match=r"out/b\.flac: would be written from both in/b\.flac and in/b\.wav"):
        refuse(plan(["in"], "out", ".flac"))


def test_noise_of_one_may_be_the_output_of_another(corpus: Path):
    (corpus / "in/b.noise.wav").touch()
    with pytest.raises(EnhanceError, match=r"out/b\.noise\.wav: would be written from both"):
        refuse(plan(["in"], "out", keep_noise=True))


def test_links_to_folders_are_followed_each_once(corpus: Path):
    (corpus / "in/deep/up").symlink_to(corpus / "in")
    (corpus / "in/linked").symlink_to(corpus / "other")
    (corpus / "in/twice").symlink_to(corpus / "other")
    found = [source for source, _ in names("in", output="out")]
    assert found == ["in/a.flac", "in/b.wav", "in/deep/er/c.MP3", "in/linked/b.wav"]


def test_a_folder_that_cannot_be_listed_is_not_passed_over(corpus: Path, monkeypatch: pytest.MonkeyPatch):
    scandir = os.scandir

    def locked(path):
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    assert [source for source, _ in names("in", output="out")] == ["in/a.flac", "in/b.wav", "in/deep"]


def test_what_the_system_does_not_even_look_at_is_one_line(corpus: Path):
    long = "x" * 300 + ".wav"
    for inputs, output in ((long, None), ("in/b.wav", long), ("in", f"{long}/out")):
        with pytest.raises(EnhanceError, match="File name too long: check the name"):
            refuse(plan([inputs], output))
