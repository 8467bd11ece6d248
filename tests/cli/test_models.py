"""``enhance models``."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from enhance.models import presets


@pytest.mark.slow
def test_json_has_a_line_for_each_preset(cli: Callable[..., tuple[int, str, str]]):
    code, out, _ = cli("models", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["name"] for row in rows] == list(presets())
    for row in rows:
        assert row["parameters"] > 10_000
        assert row["macs_per_second"] > row["sample_rate"]
        assert row["sources"]
        assert row["citation"]
        assert isinstance(row["weights"], bool)


def test_the_table_has_a_line_for_each_preset(
    cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
):
    def refused(_: object) -> None:
        raise AssertionError("counting operations takes seconds")

    monkeypatch.setattr("enhance.models.cost.macs_per_second", refused)
    code, out, err = cli("models")
    assert (code, err) == (0, "")
    for name in presets():
        assert f"\n{name} " in out
    assert "138,520  16000  speech" in out


def test_the_table_with_costs(cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("enhance.models.cost.macs_per_second", lambda model: 1.5e9)
    code, out, err = cli("models", "--cost")
    assert (code, err) == (0, "")
    assert "GMAC/s" in out
    assert "138,520   1.500  16000  speech" in out
