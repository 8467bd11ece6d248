"""Downloads from a server that breaks off, ignores ranges, lies about lengths and damages what it sends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from voicebank_toys import Server, serving

from enhance.data import download
from enhance.data.download import fetch
from enhance.errors import EnhanceError

DATA = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(DATA).hexdigest()
HALF = len(DATA) // 2


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited."""
    found: list[float] = []
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=found.append))
    return found


@pytest.fixture
def server(waits: list[float]) -> Iterator[Server]:
    with serving({"a.zip": DATA}) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "archives" / "a.zip"


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def get(server: Server, target: Path, md5: str | None = MD5, **options) -> None:
    fetch([f"{server.address}/a.zip"], target, md5, **options)


def test_a_file_comes_whole_with_a_stamp_and_only_once(server, target):
    seen: list[tuple[int, int | None]] = []
    get(server, target, progress=lambda there, total: seen.append((there, total)))
    assert target.read_bytes() == DATA
    assert names(target) == ["a.zip", "a.zip.md5"]
    assert (target.parent / "a.zip.md5").read_text() == f"{MD5}  a.zip\n"
    assert seen[0] == (0, len(DATA))
    assert seen[-1] == (len(DATA), len(DATA))
    get(server, target)
    assert len(server.requests) == 1


def test_what_was_put_there_by_hand_is_checked_and_not_fetched(server, target):
    target.parent.mkdir()
    target.write_bytes(DATA)
    get(server, target)
    assert server.requests == []
    assert names(target) == ["a.zip", "a.zip.md5"]
    target.write_bytes(DATA[:-1])  # after the stamp
    with pytest.raises(EnhanceError, match=f"a.zip: has the MD5 .* instead of {MD5}: delete it"):
        get(server, target)
    assert target.read_bytes() == DATA[:-1]


def test_a_broken_download_goes_on_where_it_broke(server, target):
    server.plan = ["breaks"] * 3
    get(server, target)
    assert target.read_bytes() == DATA
    ranges = [wanted for _, wanted in server.requests]
    assert ranges == ["", "bytes=150000-", "bytes=225000-", "bytes=262500-"]
    assert server.sent == len(DATA)  # no byte twice


def test_another_run_goes_on_with_what_an_earlier_one_left(server, target):
    server.plan = ["breaks", "404"]
    with pytest.raises(EnhanceError, match=r"a.zip: cannot be downloaded \(.*HTTP 404"):
        get(server, target)
    assert names(target) == ["a.zip.part", "a.zip.part.json"]
    get(server, target)
    assert server.requests[-1][1] == f"bytes={HALF}-"
    assert target.read_bytes() == DATA
    assert names(target) == ["a.zip", "a.zip.md5"]


def test_where_ranges_are_ignored_it_starts_again(server, target):
    server.plan = ["breaks", "ignores ranges"]
    get(server, target)
    assert target.read_bytes() == DATA
    assert server.sent == HALF + len(DATA)


def test_a_server_that_always_breaks_at_the_same_place_is_given_up(server, target, waits):
    server.plan = ["ignores ranges, breaks"] * 20
    with pytest.raises(EnhanceError, match=r"broke off after 150,000 of 300,000 bytes"):
        get(server, target)
    assert len(server.requests) == 1 + download.TRIES
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("md5", [MD5, None])
def test_a_file_that_changed_meanwhile_is_not_glued_to_the_old_one(server, target, md5):
    old = bytes(len(DATA))
    server.files["a.zip"] = old
    server.plan = ["breaks", "404"]
    with pytest.raises(EnhanceError):
        get(server, target, md5)
    server.files["a.zip"] = DATA
    get(server, target, md5)
    assert target.read_bytes() == DATA
    assert server.requests[-1][1] == f"bytes={HALF}-"  # it asked for the rest, of the old one only


def test_without_tag_and_checksum_nothing_is_continued(server, target):
    server.tagged = False
    server.plan = ["breaks"]
    get(server, target, None)
    assert [wanted for _, wanted in server.requests] == ["", ""]
    assert target.read_bytes() == DATA
    assert names(target) == ["a.zip"]


def test_with_a_wrong_part_the_checksum_makes_it_start_again(server, target, capsys):
    target.parent.mkdir()
    (target.parent / "a.zip.part").write_bytes(bytes(1000))
    get(server, target)
    assert [wanted for _, wanted in server.requests] == ["bytes=1000-", ""]
    assert target.read_bytes() == DATA
    assert f"instead of {MD5}; trying again" in capsys.readouterr().err


def test_a_part_longer_than_the_file_is_thrown_away(server, target):
    target.parent.mkdir()
    (target.parent / "a.zip.part").write_bytes(DATA + b"more")
    get(server, target)
    assert target.read_bytes() == DATA


def test_a_part_that_is_the_whole_file_is_taken(server, target):
    target.parent.mkdir()
    (target.parent / "a.zip.part").write_bytes(DATA)
    get(server, target)
    assert target.read_bytes() == DATA
    assert server.sent == 0


@pytest.mark.parametrize(
    "plan",
    [["too long"], ["too long"] * 20, ["too long, ignores ranges"] * 20, ["too short"], ["damages"]],
    ids=["too long once", "too long", "too long without ranges", "too short once", "damages once"],
)
def test_lies_and_damage_are_seen_by_the_checksum(server, target, plan):
    server.plan = plan
    get(server, target)
    assert target.read_bytes() == DATA
    assert names(target) == ["a.zip", "a.zip.md5"]


@pytest.mark.parametrize("lie", ["too short", "damages"])
def test_a_server_that_never_gives_the_file_is_given_up_and_nothing_stays(server, target, lie, capsys):
    server.plan = [lie] * 20
    with pytest.raises(EnhanceError) as caught:
        get(server, target)
    assert f"instead of {MD5}" in caught.value.what
    assert "\n" not in str(caught.value)
    assert str(target) in caught.value.hint
    assert names(target) == []
    assert len(server.requests) == download.WRONG


def test_without_checksum_a_length_that_is_too_long_is_an_error(server, target):
    server.plan = ["too long, ignores ranges"] * 20
    with pytest.raises(EnhanceError, match="broke off after 300,000 of 301,000 bytes"):
        get(server, target, None)
    assert not target.exists()


def test_a_size_that_cannot_be_right_is_refused_before_the_download(server, target):
    with pytest.raises(EnhanceError, match="offers 300,000 bytes instead of 1,000"):
        get(server, target, size=1000)
    assert names(target) == []


def test_the_next_address_goes_on_with_the_part_of_the_first(server, target):
    server.plan = ["breaks", "404"]
    with serving({"copy/a.zip": DATA}) as other:
        fetch([f"{server.address}/a.zip", f"{other.address}/copy/a.zip"], target, MD5)
        assert other.requests == [("/copy/a.zip", f"bytes={HALF}-")]
    assert target.read_bytes() == DATA


def test_a_server_that_is_busy_is_asked_again_when_it_says(server, target, waits):
    server.plan = ["503", "429"]
    get(server, target)
    assert target.read_bytes() == DATA
    assert waits == [7.0, 7.0]


def test_a_connection_that_stalls_is_given_up_and_taken_up_again(server, target, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.plan = ["stalls"]
    get(server, target)
    assert target.read_bytes() == DATA
    assert [wanted for _, wanted in server.requests] == ["", f"bytes={HALF}-"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.zip", "ftp://example.org/a.zip", "nonsense", "http://[/a.zip"])
def test_an_address_that_does_not_answer_is_one_line(waits, target, url):
    with pytest.raises(EnhanceError) as caught:
        fetch([url], target, MD5)
    assert caught.value.what.startswith("a.zip: cannot be downloaded (")
    assert url in caught.value.what
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_said_before_the_download(server, target, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(EnhanceError, match=r"0\.0 GB free, but a\.zip needs 0\.0 GB: make room"):
        get(server, target)
    assert not target.exists()
    assert (target.parent / "a.zip.part").exists() is False
