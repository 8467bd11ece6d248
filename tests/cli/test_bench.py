"""``enhance bench``: tables, formats, what goes wrong, and runs that are broken off."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import voice

from enhance.bench.records import Record, load
from enhance.bench.run import Request, prepare, run
from enhance.metrics.pesq import pesq_wb
from enhance.metrics.si_sdr import si_sdr

Cli = Callable[..., tuple[int, str, str]]
RATE = 16000
SNRS = (0, 5, 10, 15, 20, 25)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pairs of 2 s with a CSV of tags, and estimates of another tool: the clean files, half as loud."""
    root = tmp_path_factory.mktemp("pairs")
    for folder in ("noisy", "clean", "theirs"):
        (root / folder).mkdir()
    rng = np.random.default_rng(0)
    rows = ["id,noise,snr_db"]
    for number, snr in enumerate(SNRS):
        clean = 0.3 * voice(2.0, number)
        noise = rng.standard_normal(len(clean)).astype(np.float32)
        noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-snr / 20)
        write(root / "clean" / f"c{number}.wav", clean)
        write(root / "noisy" / f"c{number}.wav", clean + noise)
        write(root / "theirs" / f"c{number}.wav", 0.5 * clean)
        rows.append(f"c{number},{'hiss' if number % 2 else 'rain'},{snr}")
    (root / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    facts = {"name": "oracle", "rtf": 0.25, "version": "1.0", "note": "knows the answer"}
    (root / "theirs" / "system.json").write_text(json.dumps(facts), encoding="utf-8")
    return root


def write(path: Path, wave: np.ndarray, rate: int = RATE, subtype: str = "FLOAT") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.T, rate, subtype=subtype)


def rows_of(out: str) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(out)["systems"]}


def test_scores_are_those_of_the_metrics(cli: Cli, pairs: Path):
    code, out, _ = cli("bench", pairs, "-e", pairs / "theirs", "--json", "-j", "1")
    assert code == 0
    rows = rows_of(out)
    assert list(rows) == ["untouched", "oracle"]
    noisy = [soundfile.read(pairs / "noisy" / f"c{n}.wav", dtype="float32")[0] for n in range(6)]
    clean = [soundfile.read(pairs / "clean" / f"c{n}.wav", dtype="float32")[0] for n in range(6)]
    both = list(zip(clean, noisy, strict=True))
    scores = rows["untouched"]["scores"]
    assert scores["pesq_wb"]["mean"] == pytest.approx(np.mean([pesq_wb(c, n, RATE) for c, n in both]))
    assert scores["si_sdr"]["mean"] == pytest.approx(np.mean([si_sdr(c, n) for c, n in both]))
    assert rows["oracle"]["scores"]["pesq_wb"]["mean"] == pytest.approx(4.644, abs=1e-3)
    assert rows["oracle"]["rtf"] == 0.25
    # A scaled copy of the reference has no finite SI-SDR: said, and not in any mean.
    assert rows["oracle"]["scored"] < 6


def test_a_model_that_does_nothing_is_the_untouched_row(cli: Cli, pairs: Path, untrained: str):
    code, out, _ = cli("bench", pairs, "-m", untrained, "--json", "-j", "1")
    assert code == 0
    untouched, model = rows_of(out).values()
    for metric in ("pesq_wb", "stoi", "si_sdr"):
        assert model["scores"][metric]["mean"] == pytest.approx(untouched["scores"][metric]["mean"], abs=1e-3)
    assert model["parameters"] > 100_000
    assert model["macs_per_second"] > 1e8
    assert 0 < model["rtf"] < 5


def test_by_limit_and_formats(cli: Cli, pairs: Path):
    options = ("bench", pairs, "-e", pairs / "theirs", "-j", "1", "--metrics", "stoi,llr")
    code, out, _ = cli(*options, "--by", "snr", "--csv")
    assert code == 0
    tables = {row["table"] for row in csv.DictReader(io.StringIO(out))}
    assert {f"snr {snr}" for snr in SNRS} < tables
    code, out, _ = cli(*options, "--by", "noise", "--markdown")
    assert code == 0
    assert "**noise hiss**" in out
    assert "| oracle | 3/3 | **1.000** (1.000–1.000) |" in out
    code, out, _ = cli(*options, "--limit", "4")
    assert code == 0
    assert "4 clips" in out
    assert "4/4" in out
    assert "oracle: knows the answer" in out
    assert max(map(len, out.splitlines())) <= 100


def test_processes_change_nothing(pairs: Path):
    found = []
    for jobs in (1, 2):
        bench = prepare(Request(pairs, estimates=(str(pairs / "theirs"),), metrics=("stoi", "estoi"), jobs=jobs))
        found.append(run(bench))
    assert found[0] == found[1]
    assert len(found[0]) == 12


@pytest.mark.slow
def test_killed_and_resumed_is_as_if_it_had_not_stopped(
    cli: Cli, pairs: Path, tmp_path: Path, environment: dict[str, str]
):
    options = ["bench", str(pairs), "-e", str(pairs / "theirs"), "--metrics", "pesq_wb,estoi,wss"]
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    assert cli(*options, "-j", "1", "--records", whole)[0] == 0
    command = [sys.executable, "-m", "enhance.cli", *options, "-j", "2", "--records", str(broken)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if broken.exists() and broken.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    _, before = load(broken)
    assert 0 < len(before) < 12
    code, _, error = cli(*options, "-j", "1", "--records", broken, "--resume")
    assert code == 0, error

    def sorted_records(path: Path) -> list[Record]:
        return sorted(load(path)[1], key=lambda record: record.key)

    assert sorted_records(broken) == sorted_records(whole)


def test_resuming_something_else_is_refused(cli: Cli, pairs: Path, tmp_path: Path):
    records = tmp_path / "records.jsonl"
    options = ("bench", pairs, "-e", pairs / "theirs", "-j", "1", "--records", records)
    assert cli(*options, "--metrics", "stoi")[0] == 0
    size = records.stat().st_size
    for arguments, message in (
        (("--metrics", "stoi"), "exists: give --resume"),
        (("--metrics", "estoi", "--resume"), "records of another run: its metrics differ"),
        (("--metrics", "stoi", "--align", "--resume"), "its align differ"),
    ):
        code, _, error = cli(*options, *arguments)
        assert code == 2
        assert message in error
    assert records.stat().st_size == size
    code, _, error = cli("bench", pairs, "-e", pairs / "theirs", "--resume")
    assert (code, "--resume without --records" in error) == (2, True)


def test_a_run_grows_from_a_limit_to_all_clips(cli: Cli, pairs: Path, tmp_path: Path):
    data, records = tmp_path / "data", tmp_path / "records.jsonl"
    shutil.copytree(pairs, data)
    options = ("bench", data, "-e", data / "theirs", "-j", "1", "--metrics", "stoi", "--json", "--records", records)

    def lines() -> list[str]:
        return records.read_text(encoding="utf-8").splitlines()

    assert cli(*options, "--limit", "3")[0] == 0
    first = lines()
    assert len(first) == 1 + 6
    code, out, _ = cli(*options, "--resume")
    assert (code, rows_of(out)["oracle"]["total"]) == (0, 6)
    whole = lines()
    assert whole[1:7] == first[1:]
    assert len(whole) == 1 + 12
    code, out, _ = cli(*options, "--limit", "2", "--resume")
    assert (code, rows_of(out)["oracle"]["total"]) == (0, 2)
    assert lines() == whole
    mixture = next((data / "noisy").iterdir())
    write(mixture, 0.5 * soundfile.read(mixture)[0])
    for limit in ([], ["--limit", "2"]):
        code, _, error = cli(*options, *limit, "--resume")
        assert (code, "its data differ" in error) == (2, True)
    assert lines() == whole


def test_against_names_the_system_that_all_are_compared_with(cli: Cli, pairs: Path):
    options = ("bench", pairs, "-e", pairs / "theirs", "-j", "1", "--metrics", "stoi")
    code, out, _ = cli(*options, "--json", "--against", "untouched")
    (row,) = json.loads(out)["comparisons"]
    assert (code, row["system"], row["against"]) == (0, "oracle", "untouched")
    code, _, error = cli(*options, "--against", "nobody")
    assert code == 2
    assert "--against nobody: is none of the systems: they are untouched, oracle" in error


def test_only_what_is_new_or_has_changed_is_scored_again(cli: Cli, pairs: Path, tmp_path: Path):
    records = tmp_path / "records.jsonl"
    made = tmp_path / "made"
    for path in (pairs / "noisy").iterdir():
        write(made / path.name, soundfile.read(path)[0])
    options = ("bench", pairs, "-j", "1", "--metrics", "estoi", "--json", "--records", records)
    assert cli(*options, "-e", pairs / "theirs")[0] == 0
    first = records.read_text(encoding="utf-8").splitlines()[1:]
    code, out, _ = cli(*options, "-e", made, "--resume")
    assert code == 0
    assert list(rows_of(out)) == ["untouched", "made"]
    before = rows_of(out)["made"]["scores"]["estoi"]["mean"]
    second = records.read_text(encoding="utf-8").splitlines()[1:]
    assert second[: len(first)] == first  # those of the other system too
    assert len(second) == 18
    for path in made.iterdir():
        write(path, soundfile.read(pairs / "clean" / path.name)[0], subtype="DOUBLE")
    code, out, _ = cli(*options, "-e", made, "-e", pairs / "theirs", "--resume")
    assert code == 0
    rows = rows_of(out)
    assert rows["made"]["scores"]["estoi"]["mean"] == pytest.approx(1.0)
    assert before < 0.95
    assert rows["oracle"]["scored"] == 6


def test_scores_in_place_of_estimates(cli: Cli, pairs: Path, tmp_path: Path):
    """The table and its paired differences are those of the sounds; scores of something else are refused."""
    options = ("bench", pairs, "-j", "1", "--metrics", "estoi,snr", "--json")
    records, kept = tmp_path / "records.jsonl", tmp_path / "kept"
    code, sounds, _ = cli(*options, "-e", pairs / "theirs", "--records", records)
    assert code == 0
    header, *lines = records.read_text(encoding="utf-8").splitlines()
    kept.mkdir()
    (kept / "system.json").write_bytes((pairs / "theirs" / "system.json").read_bytes())
    theirs = [line for line in lines if json.loads(line)["system"] == "oracle"]
    (kept / "scores.jsonl").write_text("\n".join((header, *theirs)) + "\n", encoding="utf-8")
    again = tmp_path / "again.jsonl"
    code, scores, _ = cli(*options, "-e", kept, "--records", again)
    assert code == 0
    assert sorted(again.read_text(encoding="utf-8").splitlines()[1:]) == sorted(lines)
    code, resumed, _ = cli(*options, "-e", kept, "--records", again, "--resume")
    assert code == 0
    for part in ("systems", "comparisons"):
        assert json.loads(scores)[part] == json.loads(resumed)[part] == json.loads(sounds)[part]
    (kept / "scores.jsonl").write_bytes(records.read_bytes())  # of the untouched mixtures as well
    code, whole, _ = cli(*options, "-e", kept)
    assert code == 0
    assert json.loads(whole)["systems"] == json.loads(sounds)["systems"]
    others = [line.replace('"oracle"', '"another"') for line in theirs]
    renamed = [line.replace('"oracle"', '"third"') for line in theirs]
    (kept / "scores.jsonl").write_text("\n".join((header, *others, *renamed)) + "\n", encoding="utf-8")
    code, _, error = cli(*options, "-e", kept)
    assert (code, "scores of another, third, none of them oracle" in error) == (2, True)
    (kept / "scores.jsonl").write_text("\n".join((header, *theirs)) + "\n", encoding="utf-8")
    assert rows_of(scores)["oracle"]["scores"]["estoi"]["n"] == 6
    for changes, what in ((("--limit", "3"), "its data differ"), (("--metrics", "estoi"), "its metrics differ")):
        code, _, error = cli(*options, "-e", kept, *changes)
        assert (code, f"scores of another benchmark: {what}" in error) == (2, True)


def test_scores_older_than_the_sounds_beside_them_or_by_another_package_are_refused(
    cli: Cli, pairs: Path, tmp_path: Path
):
    kept = tmp_path / "oracle"
    shutil.copytree(pairs / "theirs", kept)
    options = ("bench", pairs, "-j", "1", "-e", kept, "--json")
    scores = kept / "scores.jsonl"
    assert cli(*options, "--metrics", "estoi", "--records", scores)[0] == 0
    assert cli(*options, "--metrics", "estoi")[0] == 0
    header, *lines = scores.read_text(encoding="utf-8").splitlines()
    about = json.loads(header)
    about["bench"]["versions"] |= {"pystoi": "0.0.1"}
    scores.write_text("\n".join((json.dumps(about), *lines)) + "\n", encoding="utf-8")
    code, _, error = cli(*options, "--metrics", "estoi")
    assert code == 2
    assert f"scores by pystoi 0.0.1, but here is {importlib.metadata.version('pystoi')}: pip install" in error
    about["bench"]["versions"] |= {"pystoi": importlib.metadata.version("pystoi"), "speechmos": "0", "museval": "0"}
    scores.write_text("\n".join((json.dumps(about), *lines)) + "\n", encoding="utf-8")
    assert cli(*options, "--metrics", "estoi")[0] == 0  # ESTOI does not come from these
    later = scores.stat().st_mtime + 5
    os.utime(kept / "c3.wav", (later, later))
    code, _, error = cli(*options, "--metrics", "estoi")
    assert code == 2
    assert "c3.wav: newer than" in error
    assert f"delete {scores} to score the sounds" in error


def test_without_references_only_what_needs_none(cli: Cli, pairs: Path, tmp_path: Path):
    write(tmp_path / "noisy" / "a.wav", soundfile.read(pairs / "noisy" / "c1.wav")[0])
    code, out, _ = cli("bench", tmp_path, "-e", pairs / "theirs", "--json", "-j", "1", "--metrics", "dnsmos_ovrl")
    assert code == 1  # the other tool made no a.wav
    assert rows_of(out)["untouched"]["scores"]["dnsmos_ovrl"]["n"] == 1
    code, _, error = cli("bench", tmp_path, "--metrics", "pesq_wb")
    assert code == 2
    assert "pesq_wb needs clean references" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 100}, "c3.wav: 100 samples longer than the clip: cut or pad it"),
        ({"rate": 8000}, "c3.wav: 8000 Hz, but the clip has 16000 Hz"),
        ({"channels": 2}, "c3.wav: 2 channels, but the clip has 1"),
        ({"value": np.nan}, "NaN"),
        ({"missing": True}, "c3"),
    ],
)
def test_a_bad_estimate_is_named_and_the_others_are_scored(cli: Cli, pairs: Path, tmp_path: Path, change, message):
    for path in (pairs / "noisy").iterdir():
        write(tmp_path / path.name, soundfile.read(path)[0])
    wave = np.zeros((change.get("channels", 1), 2 * RATE + change.get("length", 0))) + change.get("value", 0.1)
    write(tmp_path / "c3.wav", wave, change.get("rate", RATE))
    if "missing" in change:
        (tmp_path / "c3.wav").unlink()
    code, out, error = cli("bench", pairs, "-e", f"theirs={tmp_path}", "--json", "--metrics", "stoi", "-j", "1")
    assert rows_of(out)["theirs"]["scored"] == 5
    assert message in error
    assert code == 1


@pytest.mark.parametrize("late", [300, 12000])
def test_align_takes_a_delay_out(cli: Cli, pairs: Path, tmp_path: Path, late: int):
    for path in (pairs / "noisy").iterdir():
        write(tmp_path / path.name, np.concatenate((np.zeros(late), soundfile.read(path)[0])))
    code, out, _ = cli("bench", pairs, "-e", f"late={tmp_path}", "--json", "--metrics", "si_sdr", "-j", "1", "--align")
    assert code == 0
    untouched, made = rows_of(out).values()
    assert made["scores"]["si_sdr"]["mean"] == pytest.approx(untouched["scores"]["si_sdr"]["mean"], abs=1e-4)
    assert made["delay"] == dict.fromkeys(("median", "low", "high"), late / RATE)
    assert "delay" not in untouched


def test_a_pair_that_does_not_fit_is_named_and_the_others_are_scored(cli: Cli, pairs: Path, tmp_path: Path):
    for kind in ("noisy", "clean"):
        for number in range(4):
            write(tmp_path / kind / f"c{number}.wav", soundfile.read(pairs / kind / f"c{number}.wav")[0])
    write(tmp_path / "clean" / "c1.wav", np.zeros(2 * RATE))
    write(tmp_path / "clean" / "c2.wav", 0.1 * voice(1.0, 3))
    (tmp_path / "clean" / "c3.wav").unlink()
    made = pairs / "theirs"
    code, out, error = cli("bench", tmp_path, "-e", made, "--json", "--metrics", "stoi", "-j", "1")
    assert code == 1
    assert rows_of(out)["untouched"]["scores"]["stoi"]["n"] == 1
    assert "c3" in error
    assert "16000" in error  # samples that c2 is shorter
    assert "silent" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere: no such file or folder"),
        (("{tmp}",), "not a data set"),
        (("{pairs}", "-m", "dcunet-x"), "unknown model 'dcunet-x'"),
        (("{pairs}", "-m", "blend.toml"), "blend.toml: cannot be read"),
        (("{pairs}", "--metrics", "pesk_wb"), "unknown metric 'pesk_wb': did you mean 'pesq_wb'?"),
        (("{pairs}", "-e", "nowhere"), "nowhere: no such folder"),
        (("{pairs}", "-e", "untouched={pairs}/theirs"), "two systems are called 'untouched'"),
        (("{pairs}", "--by", "moon"), "no clip says its moon"),
        (("{pairs}", "--json", "--csv"), "choose one of them"),
        (("{pairs}", "--device", "gpu"), "gpu"),
        (("{pairs}", "--html", "{pairs}"), "--html takes the name of a page"),
        (("{pairs}", "-e", "{pairs}/theirs", "--metrics", "stoi", "--records", "/proc/x/r.jsonl"), "cannot be written"),
    ],
)
def test_wrong_usage_is_found_before_the_work(cli: Cli, pairs: Path, tmp_path: Path, arguments, message):
    code, out, error = cli("bench", *(text.format(pairs=pairs, tmp=tmp_path) for text in arguments))
    assert code == 2
    assert message in error
    assert out == ""
