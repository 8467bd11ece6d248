"""Rich consoles: results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn


@functools.cache
def stdout() -> Console:
    """Console for results: tables and lists; 100 columns wide where no terminal says otherwise."""
    from rich.console import Console

    console = Console(emoji=False)
    return console if console.is_terminal else Console(width=100, emoji=False)


@functools.cache
def stderr() -> Console:
    """Console for progress, warnings and errors."""
    from rich.console import Console

    return Console(stderr=True, emoji=False)


def progress(*columns: str | ProgressColumn, quiet: bool = False) -> Progress:
    """Progress bar on stderr with time left, silent where stderr is not a terminal or ``quiet`` is set.

    ``columns`` stand between the bar and the time left, for instance ``"{task.fields[speed]}"``.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = stderr()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        *columns,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    )


def note(message: str) -> None:
    """A line of information on stderr."""
    stderr().print(message, highlight=False, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """A line on stderr that begins with ``warning:``."""
    stderr().print(f"warning: {message}", style="yellow", highlight=False, markup=False, soft_wrap=True)
