"""``--help`` of every command shows all that it has to say: brackets would be taken for markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.main import get_command

from enhance.cli import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group, by the words that call it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


COMMANDS = dict(commands(get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "enhance")
def test_no_text_of_the_help_is_lost(
    path: tuple[str, ...], cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "500")
    code, out, _ = cli(*path, "--help")
    assert code == 0
    shown = " ".join(re.sub(r"\x1b\[[\d;]*m|│", " ", out).split())
    texts = [parameter.help for parameter in COMMANDS[path].params if getattr(parameter, "help", None)]
    assert texts or path
    for text in [*texts, COMMANDS[path].help or ""]:
        assert " ".join(text.split()) in shown
