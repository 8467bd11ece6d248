"""From names on the command line to folders of parts: what they are called, and what is no input."""

from __future__ import annotations

from pathlib import Path

import pytest

from enhance.errors import EnhanceError
from enhance.inference.tasks import SeparationTask, plan, plan_separation


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def tasks(*inputs: str, output: str = "out", **options: bool | str) -> list[SeparationTask]:
    return list(plan_separation(inputs, output, ["speech"], **options))  # pyright: ignore[reportArgumentType]


def targets(*inputs: str, output: str = "out") -> dict[str, str]:
    """Of each input the folder of its parts; raises the first problem, as is done before the work."""
    for task in tasks(*inputs, output=output):
        if task.problem:
            raise EnhanceError(task.problem)
    return {str(task.source): str(task.target) for task in tasks(*inputs, output=output)}


@pytest.mark.parametrize(
    ("name", "output", "problem"),
    [
        ("rec", "rec", "rec/a/speech.wav: would be an input the next time"),
        ("rec", ".", None),
        ("rec/*.wav", "rec", None),
        ("rec/**/*.wav", "rec", "rec/a/speech.wav: would be an input the next time"),
        ("rec/*/*.wav", "rec", "rec/b/speech.wav: would be an input the next time"),
        ("rec", "rec/parts", None),
        ("rec/**/*.wav", "rec/parts", None),
        ("**/*.wav", "parts", None),
    ],
)
def test_a_rerun_takes_the_same_inputs_or_there_is_no_first_run(here: Path, name: str, output: str, problem):
    touch("rec/a.wav", "rec/deep/b.wav")
    first = tasks(name, output=output)
    if problem:
        assert first[0].problem.startswith(problem)
        return
    assert not any(task.problem for task in first)
    touch(*(str(path) for task in first for path in task.outputs))
    again = tasks(name, output=output, force=True)
    assert [(task.source, task.problem) for task in again] == [(task.source, "") for task in first]


def test_patterns_leave_out_what_an_earlier_run_cleaned(here: Path):
    touch("rec/a.wav", "clean/a.wav")
    found = list(plan(["**/*.wav"], "clean/", force=True))
    assert [(str(task.source), str(task.target), task.problem) for task in found] == [("rec/a.wav", "clean/a.wav", "")]


def test_what_is_inside_of_one_input_folder_and_is_another_is_not_overwritten(here: Path):
    touch("rec/a.wav", "rec/deep/b.wav")
    (_, deep) = plan(["rec", "rec/deep"], "rec/deep", force=True)
    assert deep.problem.startswith("rec/deep/b.wav: is an input as well as an output")


def test_a_mixture_is_called_after_its_folder(here: Path, monkeypatch: pytest.MonkeyPatch):
    touch("set/A - one.v2/mixture.wav", "set/two/mixture.flac", "set/two/vocals.flac", "set/three.wav")
    songs = {"set/A - one.v2/mixture.wav": "out/A - one.v2", "set/two/mixture.flac": "out/two"}
    assert targets("set/*/mixture.*") == targets(*songs) == songs
    assert targets("set") == {**songs, "set/three.wav": "out/three"}  # and no stems
    assert targets("set/two") == {"set/two/mixture.flac": "out/two"}
    assert [str(task.source) for task in plan(["set/two"], "out")] == ["set/two/mixture.flac", "set/two/vocals.flac"]
    monkeypatch.chdir("set/two")
    assert targets("mixture.flac") == {"mixture.flac": "out/two"}
    assert targets("../two/mixture.flac") == {"../two/mixture.flac": "out/two"}


@pytest.mark.parametrize("inputs", [["rec"], ["rec/*.*"], ["rec/talk.flac", "rec/talk.wav", "rec/x.wav"]])
def test_what_differs_in_its_ending_alone_keeps_it(here: Path, inputs: list[str]):
    touch("rec/talk.wav", "rec/talk.flac", "rec/x.wav")
    expected = {"rec/talk.flac": "out/talk.flac", "rec/talk.wav": "out/talk.wav", "rec/x.wav": "out/x"}
    assert targets(*inputs) == expected
    touch("out/talk.flac/speech.flac")  # what is done already changes nothing
    assert [str(task.target) for task in tasks(*inputs, ending=".wav")] == list(expected.values())


def test_an_output_is_where_it_is_written(here: Path):
    touch("rec/a.wav", "out/a/speech.wav")
    with pytest.raises(EnhanceError, match=r"nope/\.\./out/a/speech\.wav: exists: "):
        targets("rec", output="nope/../out")
    with pytest.raises(EnhanceError, match=r"nope/\.\./rec/a\.wav: is a file"):
        targets("rec", output="nope/../rec/a.wav")


def test_the_same_name_in_two_folders_is_refused(here: Path):
    touch("one/talk.wav", "two/talk.wav")
    with pytest.raises(EnhanceError, match=r"would be written from both one/talk\.wav and two/talk\.wav"):
        targets("one", "two")
